from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from facesync.errors import UsageError
from facesync.processes import Ranks
from facesync.training.board import SHOWN, Board, check_installed
from facesync.training.history import COLUMNS, History
from facesync.training.loop import Totals
from facesync.training.settings import Recipe
from tests.training.stand_ins import drawn_batch, tiny_learner


def a_run(output, tensorboard=True, ranks=None):
    return SimpleNamespace(
        recipe=Recipe(tensorboard=tensorboard), ranks=ranks or Ranks(), output=output,
        learner=tiny_learner(), totals=Totals(), history=History(),
    )  # fmt: skip


def row(epoch: int, **values):
    return {**dict.fromkeys(COLUMNS), "epoch": epoch, "run": 1, **values}


def test_curves_can_be_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = a_run(tmp_path)
    with Board(run) as board:
        board.step(run)  # not one image yet: no loss to write
        for seed in range(3):
            outcome = run.learner.learn([drawn_batch(4, seed=seed)])
            run.totals.images += outcome.images
            run.totals.loss_sum += outcome.loss
            board.step(run)
        for epoch, loss in ((1, 0.5), (2, 0.25)):
            run.history.rows.append(row(epoch, train_loss=loss, val_acc=0.75, skipped=0))
            board.epoch(run)
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()

    def curve(tag):
        return [(event.step, pytest.approx(event.value)) for event in read.Scalars(tag)]

    assert curve("epoch/train_loss") == [(1, 0.5), (2, 0.25)]
    assert curve("epoch/val_acc") == [(1, 0.75), (2, 0.75)]
    assert curve("epoch/skipped") == [(1, 0), (2, 0)]
    assert [step for step, _ in curve("step/loss")] == [1, 2, 3]
    assert curve("step/loss")[-1][1] == run.totals.loss
    assert curve("step/lr")[-1][1] == 0.01
    assert "epoch/val_tar" not in read.Tags()["scalars"]  # nobody measured it


def test_what_is_shown_is_in_the_history():
    assert set(SHOWN) <= set(COLUMNS)


@pytest.mark.parametrize(
    "of", [{"tensorboard": False}, {"ranks": Ranks(1, 2)}], ids=["not asked for", "second process"]
)
def test_nothing_is_written_by_others(tmp_path, of):
    run = a_run(tmp_path, **of)
    run.totals = Totals(images=1, loss_sum=1.0)
    run.history.rows.append(row(1, train_loss=0.5))
    with Board(run) as board:
        board.step(run)
        board.epoch(run)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(monkeypatch):
    # What is None there cannot be imported.
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"--tensorboard needs: pip install tensorboard"):
        check_installed()


def test_a_package_that_is_there_is_no_error():
    pytest.importorskip("tensorboard")
    check_installed()
