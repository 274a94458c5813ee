from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from PIL import Image

from facesync.errors import FileError
from facesync.pickles import load_plain, save_plain
from facesync.training.history import COLUMNS, MEASURES, History, load_history
from facesync.training.plots import draw_curves
from facesync.training.saving import save_history

OLDER = {"train_loss": [2.0, 1.5], "train_acc": [0.5, 0.6], "val_loss": [2.1, 1.6]} | {
    "val_acc": [0.4, 0.55]
}


def history(epochs: int, runs: list[int] | None = None) -> History:
    values = {name: [0.5 / (epoch + 1) for epoch in range(epochs)] for name in MEASURES}
    return History.from_dict(values | ({"run": runs} if runs else {}))


def test_files_hold_the_same_rows(tmp_path):
    written = history(3, [1, 1, 2])
    save_history(written, tmp_path)
    data = load_plain(tmp_path / "training_history.pkl")
    assert type(data) is dict and tuple(data) == COLUMNS
    assert all(type(column) is list and len(column) == 3 for column in data.values())
    assert load_history(tmp_path / "training_history.pkl").rows == written.rows
    with open(tmp_path / "training_history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["val_acc"]) == data["val_acc"][2]
    with Image.open(tmp_path / "training_history.png") as image:
        assert image.format == "PNG" and image.width >= 1000


def test_nothing_is_drawn_without_an_epoch(tmp_path):
    save_history(History(), tmp_path)
    assert load_history(tmp_path / "training_history.pkl").rows == []
    assert not (tmp_path / "training_history.png").exists()


def test_older_form_opens(tmp_path):
    save_plain(OLDER, tmp_path / "h.pkl")
    opened = load_history(tmp_path / "h.pkl")
    assert opened.column("epoch") == [1, 2] and opened.column("run") == [1, 1]
    assert opened.column("val_acc") == [0.4, 0.55] and opened.column("lr") == [None, None]
    assert (opened.last_epoch(), opened.last_run(), opened.best("val_acc")) == (2, 1, 0.55)


def test_what_nobody_measured_stays_unknown_and_is_never_the_best(tmp_path):
    measured = History.from_dict({**OLDER, "val_tar": [0.25, None], "skipped": [0, 3]})
    save_history(measured, tmp_path)
    opened = load_history(tmp_path / "training_history.pkl")
    assert opened.column("val_tar") == [0.25, None] and opened.best("val_tar") == 0.25
    assert opened.column("skipped") == [0, 3] and opened.best("images_per_second") is None


def test_the_run_under_way_is_the_last_one():
    assert history(3, [1, 1, 2]).last_run() == 2
    empty = History()
    assert (empty.last_epoch(), empty.last_run(), empty.best("val_acc")) == (0, 0, None)


def test_percent_and_numpy_numbers_of_the_older_form_become_plain_shares():
    percent = {**OLDER, "val_acc": list(np.float32([40, 55])), "train_acc": [50.0, 60.0]}
    opened = History.from_dict(percent)
    assert opened.column("val_acc") == pytest.approx([0.4, 0.55])
    assert all(type(value) is float for value in opened.column("val_acc"))


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [1, 2],
        {"train_loss": [1.0]},
        {**OLDER, "val_acc": [0.4]},
        {**OLDER, "val_acc": [0.4, math.nan]},
        {**OLDER, "val_acc": [0.4, -1]},
        {**OLDER, "val_acc": [0.4, "good"]},
        {**OLDER, "epoch": [1, None]},
        {**OLDER, "lr": [[], {}]},
        {**OLDER, "val_tar": [0.5, 101]},
        {**OLDER, "skipped": ["some", 0]},
    ],
    ids=[
        "none",
        "list",
        "missing",
        "short",
        "nan",
        "negative",
        "text",
        "no epoch",
        "odd lr",
        "odd tar",
        "odd skipped",
    ],
)
def test_what_is_no_history_is_one_line(tmp_path, odd):
    save_plain(odd, tmp_path / "h.pkl")
    with pytest.raises(FileError, match="not a training history"):
        load_history(tmp_path / "h.pkl")


def test_begins_with():
    assert history(3).begins_with(history(2)) and history(3).begins_with(History())
    assert not history(2).begins_with(history(3))
    other = history(2)
    other.rows[1]["val_loss"] = 9.0
    assert not history(3).begins_with(other)


@pytest.mark.parametrize(
    ("runs", "dashed"),
    [([1], []), ([1, 1, 1], []), ([1, 1, 2], [2.5]), ([1, 2, 3, 3], [1.5, 2.5])],
    ids=["one epoch", "one run", "continued", "continued twice"],
)
def test_curves_show_every_epoch_and_where_training_was_continued(runs, dashed):
    figure = draw_curves(history(len(runs), runs))
    assert len(figure.axes) == 2
    for axes in figure.axes:
        curves = [line for line in axes.lines if line.get_marker() == "o"]
        assert [len(curve.get_xdata()) for curve in curves] == [len(runs)] * 2
        assert [line.get_xdata()[0] for line in axes.lines if line not in curves] == dashed
        assert all(line.get_linestyle() == "--" for line in axes.lines if line not in curves)


def test_unseen_identities_are_drawn_where_they_were_measured():
    values = {name: [0.5, 0.4, 0.3] for name in MEASURES}
    _, accuracy = draw_curves(History.from_dict({**values, "val_tar": [0.1, None, 0.2]})).axes
    (curve,) = [line for line in accuracy.lines if line.get_marker() == "s"]
    drawn = list(curve.get_ydata())
    assert (drawn[0], drawn[2]) == (0.1, 0.2) and math.isnan(drawn[1])
    assert "0.001 on unseen identities: 0.2000" in curve.get_label()
    for axes in draw_curves(history(3)).axes:
        assert not [line for line in axes.lines if line.get_marker() == "s"]


def test_a_loss_of_zero_can_be_drawn():
    zero = History.from_dict({name: [0.0] for name in MEASURES})
    assert draw_curves(zero).axes[0].get_ylim()[1] > 0


def test_drawing_leaves_pyplot_alone(tmp_path):
    import matplotlib.pyplot as plt

    before = (plt.get_fignums(), plt.get_backend())
    save_history(history(2), tmp_path)
    assert (plt.get_fignums(), plt.get_backend()) == before
