"""The history of a model's training: one row per epoch, over all runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from facesync.errors import FileError
from facesync.pickles import load_plain

HISTORY_NAME = "training_history.pkl"

MEASURES = ("train_loss", "train_acc", "val_loss", "val_acc")
COLUMNS = (
    "epoch", "run", *MEASURES, "val_tar", "start_tar",
    "lr", "seconds", "images_per_second", "input_share", "skipped",
)  # fmt: skip

_SHARES = ("train_acc", "val_acc", "val_tar", "start_tar")

INVALID = (TypeError, ValueError, OverflowError, RuntimeError)
"""What making plain numbers of a file's values raises; RuntimeError is a tensor's."""

Row = dict[str, int | float | None]


class History:
    """Rows of `COLUMNS`, oldest first.

    `epoch` counts from 1 over all runs, and `run` says which run an epoch belongs to: 1 is
    train_model.py, 2 the first continue_training.py and so on. Losses are mean cross-entropies,
    accuracies shares between 0 and 1, `val_tar` the TAR at a FAR of 1e-3 on unseen identities,
    `start_tar` that of the weights it started from, on the same images, `lr` the head's learning
    rate at the end of an epoch, `seconds` its wall time, `images_per_second` the speed of training
    alone, `input_share` the share of that time spent waiting for images, `skipped` the steps
    skipped because their loss was not finite. What was not measured, or is missing from a history
    in the older format, is None.
    """

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows = list(rows or [])

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[Any]:
        """Return one column, oldest epoch first."""
        return [row[name] for row in self.rows]

    def best(self, name: str) -> float | None:
        """Return the highest value of a column, or None if there is none."""
        return max((value for value in self.column(name) if value is not None), default=None)

    def last_epoch(self) -> int:
        """Return the number of the last epoch, 0 if there is none."""
        return int(self.rows[-1]["epoch"] or 0) if self.rows else 0

    def last_run(self) -> int:
        """Return the number of the run that the last epoch belongs to, 0 if there is none."""
        return int(self.rows[-1]["run"] or 0) if self.rows else 0

    def begins_with(self, other: History) -> bool:
        """Tell whether the first epochs measured the same as another history's."""
        return len(other) <= len(self) and all(
            math.isclose(mine[name] or 0, theirs[name] or 0, rel_tol=1e-9)
            for mine, theirs in zip(self.rows, other.rows, strict=False)
            for name in MEASURES
        )

    def to_dict(self) -> dict[str, list[int | float | None]]:
        """Return a list for each column, as in `training_history.pkl` and checkpoints."""
        return {name: self.column(name) for name in COLUMNS}

    @staticmethod
    def from_dict(data: Any) -> History:
        """Read what `to_dict` returned, or the older format, which has only `MEASURES`.

        Raises:
            ValueError: it is neither; or another of `INVALID`.
        """
        if not isinstance(data, dict) or not all(
            isinstance(data.get(name), list | tuple) for name in MEASURES
        ):
            raise ValueError(f"it does not hold lists of {', '.join(MEASURES)}")
        length = len(data["train_loss"])
        lists: dict[str, list[Any]] = {"epoch": list(range(1, length + 1)), "run": [1] * length}
        for name in COLUMNS:
            lists[name] = list(data.get(name, lists.get(name, [None] * length)))
            if len(lists[name]) != length:
                raise ValueError(f"its lists differ in length: {name} has {len(lists[name])}")
        return History([_row(*values) for values in zip(*map(lists.get, COLUMNS), strict=True)])


def _row(*values: Any) -> Row:
    """Make a row of values in the order of `COLUMNS`, all checked and plain."""
    row: Row = {}
    for name, value in zip(COLUMNS, values, strict=True):
        if value is None and name not in ("epoch", "run", *MEASURES):
            row[name] = None
        elif name in ("epoch", "run", "skipped"):
            row[name] = int(value)
        else:
            number = float(value)
            if not math.isfinite(number):
                raise ValueError(f"{name} is {value}")
            row[name] = share(number) if name in _SHARES else number
    return row


def share(accuracy: float) -> float:
    """Return an accuracy as a share, 0…1; the older format may give it in percent.

    Raises:
        ValueError: it is neither.
    """
    if not 0 <= accuracy <= 100:
        raise ValueError(f"an accuracy is {accuracy}")
    return accuracy / 100 if accuracy > 1 else accuracy


def load_history(path: Path) -> History:
    """Read `training_history.pkl`, in this or the older format.

    Raises:
        FileError: missing, damaged, or something else.
    """
    data = load_plain(path)
    try:
        return History.from_dict(data)
    except INVALID as error:
        raise FileError(f"{path} is not a training history: {error}") from error
