"""What a training writes for TensorBoard, where it is asked for."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from facesync.errors import UsageError

if TYPE_CHECKING:
    from facesync.training.fit import Run

FOLDER = "tensorboard"
SHOWN = ("train_loss", "train_acc", "val_loss", "val_acc", "val_tar", "images_per_second",
         "input_share", "skipped")  # fmt: skip


def check_installed() -> None:
    """Find out before the long work that the extra is missing.

    Raises:
        UsageError: it is.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError("--tensorboard needs: pip install tensorboard") from error


class Board:
    """Writes the curves of a run; does nothing for one that has not asked for it."""

    def __init__(self, run: Run) -> None:
        self._writer: Any = None
        if run.recipe.tensorboard and run.ranks.first:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(run.output / FOLDER))

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def step(self, run: Run) -> None:
        """Write the mean loss of the epoch so far and the learning rate."""
        if self._writer is not None and run.totals.images:
            step = run.learner.step
            self._writer.add_scalar("step/loss", run.totals.loss, step)
            self._writer.add_scalar("step/lr", run.learner.optimizer.param_groups[-1]["lr"], step)

    def epoch(self, run: Run) -> None:
        """Write the last row of the history."""
        if self._writer is not None:
            row = run.history.rows[-1]
            for name in SHOWN:
                if row[name] is not None:
                    self._writer.add_scalar(f"epoch/{name}", row[name], row["epoch"])
            self._writer.flush()
