"""`make demo` gives the right answers, and says so when a step does not."""

import subprocess
import sys

import numpy as np
import pytest

from facesync import demo
from facesync.errors import FaceSyncError
from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["vggface2", "none"])
def test_demo_gives_the_right_answers(tmp_path, weights, request, monkeypatch):
    if weights == "vggface2":
        monkeypatch.setenv("TORCH_HOME", str(request.getfixturevalue("shared") / "torch_home"))
    else:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
        # A proxy that refuses stands for a machine without a network.
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    result = subprocess.run(
        [sys.executable, "-m", "facesync.demo", "--output", str(tmp_path / "demo")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=500,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "recognised: similarity" in result.stdout
    assert "refused: similarity" in result.stdout
    assert "Every step gave the right answer" in result.stdout
    assert ("with the embedded model" in result.stderr) == (weights == "none")


def test_a_wrong_answer_fails_the_demo(capsys):
    with pytest.raises(demo.StepFailed, match="wrong result"):
        demo.check(False, "0 images")
    with pytest.raises(demo.StepFailed, match="exit code 2, not 0"):
        demo.run("train_model.py", "--no-such-option")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FaceSyncError, match="not the demo's own folder"):
        demo.demo(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_copies_vary_but_stay_images_of_the_face():
    photo = demo.photographs()[demo.KNOWN]
    random = np.random.default_rng(0)
    one, two = demo.vary(photo, random), demo.vary(photo, random)
    assert one.shape == two.shape == photo.shape
    assert one.dtype == np.uint8
    assert np.abs(one.astype(int) - two).mean() > 5
