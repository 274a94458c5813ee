"""The TensorBoard log of a training, if requested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
SHOWN = ("train_loss", "train_acc", "val_loss", "val_acc", "val_tar", "images_per_second",
         "input_share", "skipped")  # fmt: skip


class Board:
    """Writes the curves of a run.

    Args:
        folder: where to; None writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def step(self, number: int, loss: float, lr: float) -> None:
        """Write the mean loss of the epoch so far and the learning rate."""
        if self._writer is not None:
            self._writer.add_scalar("step/loss", loss, number)
            self._writer.add_scalar("step/lr", lr, number)

    def epoch(self, row: dict[str, Any]) -> None:
        """Write a row of the history."""
        if self._writer is not None:
            for name in SHOWN:
                if row[name] is not None:
                    self._writer.add_scalar(f"epoch/{name}", row[name], row["epoch"])
            self._writer.flush()
