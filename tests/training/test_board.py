from __future__ import annotations

import pytest

from facesync.training.board import SHOWN, Board
from facesync.training.history import COLUMNS


def row(epoch: int, **values):
    return {**dict.fromkeys(COLUMNS), "epoch": epoch, "run": 1, **values}


def test_curves_can_be_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Board(tmp_path / "tensorboard") as board:
        for number, loss in enumerate((1.5, 1.25, 1.0), 1):
            board.step(number, loss, 0.01)
        for epoch, loss in ((1, 0.5), (2, 0.25)):
            board.epoch(row(epoch, train_loss=loss, val_acc=0.75, skipped=0))
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()

    def curve(tag):
        return [(event.step, pytest.approx(event.value)) for event in read.Scalars(tag)]

    assert curve("epoch/train_loss") == [(1, 0.5), (2, 0.25)]
    assert curve("epoch/val_acc") == [(1, 0.75), (2, 0.75)]
    assert curve("epoch/skipped") == [(1, 0), (2, 0)]
    assert curve("step/loss") == [(1, 1.5), (2, 1.25), (3, 1.0)]
    assert curve("step/lr")[-1][1] == 0.01
    assert "epoch/val_tar" not in read.Tags()["scalars"]  # nobody measured it


def test_what_is_shown_is_in_the_history():
    assert set(SHOWN) <= set(COLUMNS)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Board(None) as board:
        board.step(1, 0.5, 0.01)
        board.epoch(row(1, train_loss=0.5))
    assert list(tmp_path.iterdir()) == []
