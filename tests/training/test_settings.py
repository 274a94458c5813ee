from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import continue_training
import train_model
from facesync.training.options import continue_settings, train_settings
from facesync.training.settings import PRESETS, ContinueSettings, TrainSettings

NEEDED = {
    train_model: ["--data", "d"],
    continue_training: ["--data", "d", "--model", "m.pth"],
}


BOTH = pytest.mark.parametrize(
    ("script", "settings"),
    [(train_model, train_settings), (continue_training, continue_settings)],
    ids=["train", "continue"],
)


@BOTH
def test_every_setting_is_an_option_and_no_option_is_more(script, settings):
    actions = {action.dest for action in script.build_parser()._actions} - {"help"}
    wanted = settings(script.build_parser(), NEEDED[script])
    assert actions == {field.name for field in dataclasses.fields(wanted)}


@BOTH
def test_what_is_not_given_is_the_settings_default(script, settings):
    made = settings(script.build_parser(), NEEDED[script])
    for field in dataclasses.fields(made):
        if field.default is not dataclasses.MISSING:
            assert getattr(made, field.name) == field.default, field.name


def test_a_preset_gives_way_to_what_is_given():
    parser = train_model.build_parser
    best = train_settings(parser(), ["--data", "d", "--preset", "best"])
    assert best.loss == PRESETS["best"]["loss"] != TrainSettings.loss
    assert best.select == "tar" and best.holdout_identities == 0.05
    options = ["--data", "d", "--preset", "best", "--loss", "softmax", "--no-imprint"]
    given = train_settings(parser(), [*options, "--batch-size", "auto"])
    assert (given.loss, given.imprint, given.batch_size) == ("softmax", False, None)
    assert given.ema == best.ema


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_name_settings_only(preset):
    TrainSettings(data=Path("d"), **PRESETS[preset])


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("0", 0.0)])
def test_the_share_of_strangers_may_be_in_percent(text, share):
    given = ["--data", "d", "--holdout-identities", text]
    assert train_settings(train_model.build_parser(), given).holdout_identities == share


def test_the_defaults_are_the_recipe():
    settings = TrainSettings(data=Path("d"))
    assert (settings.batch_size, settings.lr, settings.seed, settings.epochs) == (16, 1e-4, 42, 1)
    assert (settings.min_images, settings.max_images, settings.weights) == (5, 100, "vggface2")
    assert ContinueSettings(data=Path("d"), model=Path("m")).lr == 3e-5


@pytest.mark.parametrize("script", [train_model, continue_training], ids=["train", "continue"])
@pytest.mark.parametrize(
    "wrong",
    [
        ["--batch-size", "1"],
        ["--epochs", "0"],
        ["--batch-size", "some"],
        ["--lr", "0"],
        ["--ema", "1"],
        ["--clip-norm", "-1"],
        ["--schedule", "train"],
        ["--keep", "0"],
        ["--lr", "nan"],
        ["--lr", "fast"],
        ["--workers", "-1"],
        ["--seed", "-1"],
        ["--seed", str(2**32)],
        ["--device", "abacus"],
        ["--min-images", "0"],
        ["--colour", "blue"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(script, wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main([*NEEDED[script], *wrong])
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["train_model", "continue_training"])
def test_help_loads_nothing_heavy(script):
    code = (
        f"import sys, {script}; {script}.build_parser().format_help(); "
        "heavy = {'torch', 'numpy', 'matplotlib', 'cv2', 'PIL'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    root = Path(train_model.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
