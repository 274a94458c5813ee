from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import continue_training
import train_model
from facesync.training.settings import ContinueSettings, TrainSettings

NEEDED = {
    train_model: ["--data", "d"],
    continue_training: ["--data", "d", "--model", "m.pth"],
}


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        (train_model, TrainSettings(data=Path("d"))),
        (continue_training, ContinueSettings(data=Path("d"), model=Path("m.pth"))),
    ],
    ids=["train", "continue"],
)
def test_options_and_settings_have_the_same_names_and_defaults(script, settings):
    options = vars(script.build_parser().parse_args(NEEDED[script]))
    assert options == {
        field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)
    }


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
        ["--lr", "0"],
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
