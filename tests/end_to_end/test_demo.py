"""`make demo` gives the right answers, and fails if a step does not."""

import subprocess
import sys

import numpy as np
import pytest

from facesync import demo
from facesync.errors import FaceSyncError
from tests.conftest import ROOT


@pytest.mark.slow
def test_the_demo_gives_the_right_answers(tmp_path, shared, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
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
    assert "with the embedded model" not in result.stderr


@pytest.mark.slow
def test_the_demo_works_without_a_network(tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # refuses, as if there were no network
    # urllib would keep the proxy for the tests that follow, or have kept none from those before.
    monkeypatch.setattr("urllib.request._opener", None)
    monkeypatch.setattr(demo, "TRAINING_COPIES", 8)  # nothing is recognised by the trained model
    demo.demo(tmp_path / "demo")
    printed = capsys.readouterr().out
    assert "recognised: similarity" in printed
    assert "refused: similarity" in printed
    assert "Every step gave the right answer" in printed
    assert "with the embedded model" in caplog.text.replace("\n", " ")


def test_a_wrong_answer_fails_the_demo(capsys):
    with pytest.raises(demo.StepFailed, match="wrong result"):
        demo.check(False, "0 images")
    with pytest.raises(demo.StepFailed, match="exit code 2, not 0"):
        demo.run("train_model.py", "--no-such-option")


def test_one_photograph_makes_no_pack(tmp_path, monkeypatch):
    alone = {demo.STRANGER: demo.photographs()[demo.STRANGER]}
    monkeypatch.setattr(demo, "photographs", lambda: alone)
    with pytest.raises(FaceSyncError, match="pip install scikit-image"):
        demo.make_pack(tmp_path / "pack", np.random.default_rng(0))
    assert not (tmp_path / "pack").exists()


def test_an_output_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FaceSyncError, match="not the demo's own folder"):
        demo.demo(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_copies_differ_but_keep_shape_and_type():
    photo = demo.photographs()[demo.KNOWN]
    random = np.random.default_rng(0)
    one, two = demo.vary(photo, random), demo.vary(photo, random)
    assert one.shape == two.shape == photo.shape
    assert one.dtype == np.uint8
    assert np.abs(one.astype(int) - two).mean() > 5
