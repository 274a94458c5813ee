"""The student's checkpoint, `student.pth`, and its history, `distill_history.csv`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from facesync.distillation.settings import DistillSettings
from facesync.distillation.student import CROP, Student
from facesync.errors import ModelError
from facesync.faces.torch_model import load_state, read_checkpoint, write_checkpoint
from facesync.files import write_csv

ARCHITECTURE = "FaceSync student"
CHECKPOINT_NAME = "student.pth"
HISTORY_NAME = "distill_history.csv"


def load_student(student: Student, path: Path) -> dict[str, Any]:
    """Load the weights in a student's checkpoint and return all that it holds.

    Raises:
        ModelError: it is missing, damaged, or of a student with other blocks.
    """
    data = read_checkpoint(path)
    blocks = data.get("blocks")
    if type(blocks) is int and blocks != student.blocks:
        raise ModelError(f"{path} is a student of {blocks} blocks: use --blocks {blocks}")
    load_state(student, data["model_state_dict"], str(path), f"a {ARCHITECTURE}")
    return data


@dataclass
class TrainingState:
    """The state of a distillation between two epochs.

    Attributes:
        student: the network being trained.
        optimizer: of its weights.
        scheduler: of the learning rate.
        history: one row per epoch: epoch, loss, cosine, seconds.
    """

    student: Student
    optimizer: torch.optim.Optimizer
    scheduler: Any
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, settings: DistillSettings) -> None:
        """Write checkpoint and history to the output folder.

        Raises:
            FileError: they cannot be written.
        """
        write_checkpoint(
            settings.output / CHECKPOINT_NAME,
            {
                "format": 1,
                "architecture": ARCHITECTURE,
                "blocks": self.student.blocks,
                "model_state_dict": self.student.state_dict(),
                "optimizer_state_dict": self.optimizer.state_dict(),
                "scheduler_state_dict": self.scheduler.state_dict(),
                "history": self.history,
                "crop": CROP.to_dict(),
                "settings": {name: str(value) for name, value in asdict(settings).items()},
            },
        )
        rows = [row.values() for row in self.history]
        write_csv(settings.output / HISTORY_NAME, self.history[0], rows)

    def resume(self, settings: DistillSettings) -> None:
        """Continue from the checkpoint in the output folder.

        Raises:
            ModelError: it is missing, damaged, or of a run with other settings.
        """
        path = settings.output / CHECKPOINT_NAME
        data = load_student(self.student, path)
        try:
            epochs = data["settings"]["epochs"]
            if epochs != str(settings.epochs):
                raise ModelError(f"{path} is from a run of {epochs} epochs: use --epochs {epochs}")
            self.optimizer.load_state_dict(data["optimizer_state_dict"])
            self.scheduler.load_state_dict(data["scheduler_state_dict"])
            self.history = list(data["history"])
            if not all(map(math.isfinite, chain(*(row.values() for row in self.history)))):
                raise ValueError("its history holds no numbers")
        except (
            KeyError,
            TypeError,
            ValueError,
            RuntimeError,
            AttributeError,
            OverflowError,
        ) as error:
            raise ModelError(f"{path} is not a checkpoint of this student ({error})") from error
