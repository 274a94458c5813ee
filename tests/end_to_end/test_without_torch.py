"""The app imports nothing that only training needs, and works where it is not installed."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys

import pytest

import facesync
from facesync import cli
from facesync.errors import TRAINING_PACKAGES
from facesync.faces.models import EDGEFACE, VGGFACE2
from facesync.images import save_jpeg
from facesync.sample_images import COLLINS, HOPPER, photographs
from tests.conftest import ROOT
from tests.end_to_end.driving import random_model
from tests.videos import write_video

RUN = """
import json, sys
commands, packages, hidden, modules = map(json.loads, sys.argv[1:])
if hidden:
    sys.modules.update(dict.fromkeys(packages))
from facesync.main import main
codes = [main(command) for command in commands]
for module in modules:
    __import__(module)
print(json.dumps([codes, [name for name in packages if sys.modules.get(name)]]))
"""


def app(hidden, *commands, modules=(), env=None):
    """Run commands of the app in one new process; return exit codes, packages, what was said."""
    told = (commands, TRAINING_PACKAGES, hidden, modules)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(json.dumps, told)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    codes, imported = json.loads(done.stdout.splitlines()[-1])
    return codes, imported, done.stdout + done.stderr


@pytest.fixture
def images(tmp_path):
    photo, other = (photographs()[name] for name in (COLLINS, HOPPER))
    for name, image_rgb in (("a", photo), ("b", photo[4:, 3:]), ("c", other)):
        save_jpeg(image_rgb, tmp_path / f"{name}.jpg")
    return [str(tmp_path / f"{name}.jpg") for name in "abc"]


@pytest.fixture
def options(tmp_path):
    video = write_video(tmp_path / "video.avi", [photographs()[COLLINS]] * 8)
    return ["--offline", "--no-encrypt", "--embeddings", str(tmp_path / "people.pkl"),
            "--faces", str(tmp_path / "faces"), "--camera", str(video)]  # fmt: skip


@pytest.mark.parametrize("hidden", [False, True], ids=["as it is", "hidden"])
def test_every_command_and_the_page(hidden, images, options, tmp_path):
    one, again, other = images
    expected = {
        ("register", "Eileen", "--images", one): 0,
        ("list",): 0,
        ("verify", "--image", again): 0,
        ("verify", "--image", other): 1,
        ("compare", one, other): 1,
        ("watch", "--no-window"): 0,
        ("doctor",): 0,
        ("models",): 0,
        ("export", "Eileen", "--output", str(tmp_path / "eileen.zip")): 0,
        ("store", "check"): 0,
        ("delete", "Eileen", "--yes"): 0,
    }
    rooms = ("facesync.app.", "facesync.web.", "facesync.gallery.", "facesync.faces.")
    modules = [
        found.name
        for found in pkgutil.walk_packages(facesync.__path__, "facesync.")
        if found.name.startswith(rooms)
    ]
    commands = [[*command, *options, "--model", "embedded"] for command in expected]
    codes, imported, said = app(hidden, *commands, modules=modules)
    assert codes == list(expected.values()), said
    assert imported == [] and "Eileen" in said


def recognises(model, images, options, env=None):
    one, again, other = images
    commands = (
        ["register", "Eileen", "--images", one],
        ["verify", "--image", again],
        ["compare", one, other],
    )
    given = [[*command, *options, "--model", str(model)] for command in commands]
    codes, imported, said = app(True, *given, env=env)
    assert (codes, imported) == ([0, 0, 1], []), said


@pytest.mark.parametrize("model", [VGGFACE2, EDGEFACE], ids=lambda model: model.name)
def test_weights_of_others(shared, model, images, options):
    home = shared / "torch_home"
    if not (home / "checkpoints" / model.path.name).is_file():
        pytest.skip(f"{model.title}: not in the shared folder")
    recognises(model.name, images, options, {"TORCH_HOME": str(home)})


def test_a_checkpoint_trained_here(images, options, tmp_path):
    pytest.importorskip("torch")
    model = random_model(tmp_path / "random.pth")  # knows nobody: all are alike for it
    one, again, _ = images
    command = ["compare", one, again, *options, "--model", str(model)]
    codes, imported, said = app(True, command)
    assert (codes, imported) == ([0], []), said


def test_what_needs_torch_says_so(options):
    (code,), _, said = app(True, ["doctor", *options, "--device", "cuda"])
    assert code == 1 and "model      --device cuda: this needs torch, which" in said


BAD_INPUT = {
    "continue_training.py": ("--model", "x.pth", "--data", "."),
    "distill_model.py": ("--data", ".", "--output", "out"),
    "download_dataset.py": ("--dataset", "some/faces"),
    "evaluate_model.py": ("--data", ".", "--model", "embedded", "--report", "out"),
    "export_model.py": ("--model", "x.pth", "--format", "onnx", "--output", "out"),
    "train_liveness.py": ("--data", ".", "--output", "out"),
    "train_model.py": ("--data", "."),
}


@pytest.mark.parametrize("script", BAD_INPUT)
def test_doors_of_training_are_one_line(script, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.modules.update(dict.fromkeys({TRAINING_PACKAGES}))"
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *BAD_INPUT[script]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    if script not in ("evaluate_model.py", "export_model.py"):  # which look at the files first
        assert done.stderr.endswith("in FaceSync's folder, run: pip install -r requirements.txt\n")


@cli.guarded
def lacking(module):
    raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def test_a_package_that_not_every_installation_has_is_named(capsys):
    assert lacking("starlette.routing") == lacking("facenet_pytorch") == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: the page needs starlette; in FaceSync's folder, run: pip install -r "
        "requirements-app.txt",
        "error: this needs facenet-pytorch, which an installation of the app alone does not have; "
        "in FaceSync's folder, run: pip install -r requirements.txt",
    ]
    with pytest.raises(ModuleNotFoundError):  # a bug, or a broken installation
        lacking("numpy")
