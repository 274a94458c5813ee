from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import continue_training
import train_model
from facesync.errors import UsageError
from facesync.options import parse_settings
from facesync.training.settings import PRESETS, ContinueSettings, TrainSettings, check

NEEDED = {
    train_model: ["--data", "d"],
    continue_training: ["--data", "d", "--model", "m.pth"],
}


def parsed(script, *more: str):
    if script is train_model:
        return parse_settings(
            script.build_parser(), TrainSettings, [*NEEDED[script], *more], PRESETS
        )
    return parse_settings(script.build_parser(), ContinueSettings, [*NEEDED[script], *more])


BOTH = pytest.mark.parametrize("script", [train_model, continue_training], ids=["train", "cont"])


@BOTH
def test_every_setting_is_an_option_and_no_option_is_more(script):
    actions = {action.dest for action in script.build_parser()._actions} - {
        "help",
        "version",
        "config",
    }
    assert actions == {field.name for field in dataclasses.fields(parsed(script))}


def test_a_preset_gives_way_to_what_is_given():
    paper = parsed(train_model, "--preset", "paper")
    assert paper.loss == PRESETS["paper"]["loss"] != TrainSettings.loss
    more = ("--preset", "paper", "--loss", "arcface", "--imprint", "--batch-size", "auto")
    given = parsed(train_model, *more)
    assert (given.loss, given.imprint, given.batch_size) == ("arcface", True, None)
    assert given.ema == paper.ema != TrainSettings.ema


def test_best_is_the_default_and_paper_the_recipe_of_the_original_system():
    assert parsed(train_model) == parsed(train_model, "--preset", "best")
    paper = parsed(train_model, "--preset", "paper")
    assert (paper.batch_size, paper.lr, paper.schedule, paper.loss) == (16, 1e-4, "step", "softmax")
    assert (paper.backbone_lr, paper.warmup_steps, paper.weight_decay) == (None, 0, 0)
    assert (paper.freeze_batchnorm, paper.imprint, paper.ema, paper.clip_norm) == (False,) * 2 + (
        0,
    ) * 2
    assert (paper.augment, paper.precision, paper.teacher) == ("basic", "fp32", "none")
    assert (paper.holdout_identities, paper.select) == (0, "val_accuracy")


def test_weights_from_scratch_have_nothing_to_protect():
    settings = parsed(train_model, "--weights", "none").for_its_weights()
    assert (settings.freeze_batchnorm, settings.backbone_lr) == (False, None)
    settings = parsed(train_model, "--weights", "none", "--backbone-lr", "0.1").for_its_weights()
    assert settings.backbone_lr == 0.1
    settings = parsed(train_model, "--weights", "none", "--preset", "paper", "--freeze-batchnorm")
    assert settings.for_its_weights() == settings  # asked for
    settings = parsed(train_model).for_its_weights()
    assert (settings.freeze_batchnorm, settings.backbone_lr) == (True, 3e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_name_settings_only(preset):
    TrainSettings(data=Path("d"), **PRESETS[preset])


@BOTH
def test_a_file_beats_the_preset_and_the_command_line_beats_the_file(script, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text('batch-size = "auto"\nlr = 0.5\nema = 0.25\n')
    given = parsed(script, "--config", str(file), "--lr", "0.125")
    assert (given.batch_size, given.lr, given.ema) == (None, 0.125, 0.25)
    file.write_text('preset = "paper"\nema = 0.25\n')
    if script is train_model:
        given = parsed(script, "--config", str(file))
        assert (given.loss, given.ema, given.clip_norm) == ("softmax", 0.25, 0.0)
    else:
        with pytest.raises(UsageError, match="preset"):
            parsed(script, "--config", str(file))


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("0", 0.0)])
def test_the_held_out_share_may_be_in_percent(text, share):
    assert parsed(train_model, "--holdout-identities", text).holdout_identities == share


def test_the_defaults_are_the_recipe():
    settings = parsed(train_model)
    assert (settings.batch_size, settings.lr, settings.seed, settings.epochs) == (16, 1e-3, 42, 1)
    assert (settings.min_images, settings.max_images, settings.weights) == (5, 100, "vggface2")
    settings = parsed(continue_training)
    assert (settings.lr, settings.schedule, settings.augment) == (3e-5, "plateau", "strong")
    assert settings.batch_size == 16 and settings.seed is None
    assert (settings.backbone_lr, settings.warmup_steps, settings.precision) == (None, 0, "fp32")


@pytest.mark.parametrize(
    ("settings", "processes", "named"),
    [
        ({"select": "tar", "holdout_identities": 0.0}, 1, "--holdout-identities"),
        ({"freeze_steps": 3, "loss": "triplet"}, 1, "--freeze-steps"),
        ({"sync_batchnorm": True}, 2, "--sync-batchnorm needs CUDA"),
        ({"batch_size": None}, 1, "--batch-size auto needs a CUDA device.* a number"),
        ({"batch_size": 4}, 3, "--batch-size 4 gives 3 processes fewer than two .* at least 6"),
        ({"batch_size": 12, "loss": "triplet"}, 2, "multiple of 8"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(settings, processes, named):
    effective = dataclasses.asdict(TrainSettings(data=Path("d"), **settings))
    with pytest.raises(UsageError, match=named):
        check(effective, "cpu", processes)


def test_what_needs_cuda_is_allowed_there():
    settings = TrainSettings(data=Path("d"), batch_size=None, sync_batchnorm=True)
    check(dataclasses.asdict(settings), "cuda", 2)


def test_a_missing_tensorboard_is_one_line(monkeypatch):
    # A module that is None there cannot be imported.
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    settings = TrainSettings(data=Path("d"), tensorboard=True)
    with pytest.raises(UsageError, match="--tensorboard needs: pip install tensorboard"):
        check(dataclasses.asdict(settings), "cpu", 1)


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [
        ["--batch-size", "1"],
        ["--batch-size", "some"],
        ["--epochs", "0"],
        ["--lr", "0"],
        ["--lr", "nan"],
        ["--ema", "1"],
        ["--clip-norm", "-1"],
        ["--schedule", "train"],
        ["--workers", "-1"],
        ["--seed", str(2**32)],
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
