"""How far a training has come, and which model the next cells use."""

from __future__ import annotations

import pytest

import train_model
from facesync.errors import ModelError
from facesync.faces.trust import Trust
from facesync.notebook import models
from facesync.training import model as networks
from tests.training.stand_ins import TinyNetwork, draw_identity


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a model that was trained for an epoch with people held out."""
    folder = tmp_path_factory.mktemp("trained")
    for number in range(20):
        draw_identity(folder / "images" / str(number), number, 5)
    given = ["--data", folder / "images", "--output", folder / "m", "--weights", "none"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "new_network", TinyNetwork)
        assert train_model.main([str(each) for each in [*given, "--workers", 0]]) == 0
    return folder / "m"


def test_a_run_is_finished_when_it_has_its_epochs(trained, tmp_path, capsys):
    assert not models.finished(tmp_path, 1, 1)
    assert capsys.readouterr().out == ""
    assert models.finished(trained, 1, 1)
    assert "has 1 epoch of it" in capsys.readouterr().out
    assert not models.finished(trained, 1, 2)
    assert not models.finished(trained, 2, 1)


def test_the_best_model_else_what_an_interruption_left(trained, tmp_path, capsys):
    with pytest.raises(ModelError, match="run the cells under Train first"):
        models.model_in(tmp_path)
    (tmp_path / "final_face_model.pth").touch()
    assert models.model_in(tmp_path).name == "final_face_model.pth"
    assert "stopped in its first epoch" in capsys.readouterr().out
    assert models.model_in(trained).name == "best_face_model.pth"
    assert capsys.readouterr().out == ""


def test_it_is_evaluated_on_those_held_out_if_there_are_any(trained, capsys):
    assert models.on_whom(trained / "best_face_model.pth") == ("--held-out", "--calibrate", "0.001")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("trusted", [True, False])
def test_it_says_whether_the_app_takes_it(trained, monkeypatch, trusted):
    monkeypatch.setattr(models, "of_file", lambda path: Trust(trusted, "so its figures say"))
    said = models.taking_home(trained / "best_face_model.pth")
    assert "put it at models/best_face_model.pth" in said
    takes = "it unasked" if trusted else "it only if you name it with --model"
    assert said.endswith(f"The app takes {takes}: so its figures say.")
