"""A training run: what is trained, on which data, and how far it has got."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from facesync.errors import ModelError
from facesync.faces.crops import CropSpec
from facesync.processes import Ranks
from facesync.training.batches import Batch, EpochOrder, SplitData, make_loader
from facesync.training.history import INVALID, History
from facesync.training.learner import Learner
from facesync.training.settings import Recipe
from facesync.training.unseen import Start, checked_unseen
from facesync.training.workers import Loader


@dataclass
class Totals:
    """The sums of one pass over images.

    Attributes:
        images: how many went through the network.
        loss_sum: sum of their losses.
        right: how many were correctly classified.
        seconds: wall time.
        waited: the part of it spent waiting for images.
        skipped: steps skipped because their loss was not finite.
        undecodable: a line for each image that could not be decoded.
    """

    images: int = 0
    loss_sum: float = 0.0
    right: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    skipped: int = 0
    undecodable: list[str] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Mean loss."""
        return self.loss_sum / self.images

    @property
    def accuracy(self) -> float:
        """Share correctly classified, 0…1."""
        return self.right / self.images

    @property
    def images_per_second(self) -> float:
        """Speed of the pass."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def input_share(self) -> float:
        """Share of the time spent waiting for images, 0…1."""
        return self.waited / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the values for a checkpoint."""
        plain = asdict(self)
        plain["pictures"] = plain.pop("images")  # the key that checkpoints have always had
        return plain

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> Totals:
        """Read what `to_dict` returned."""
        values = {**plain, "images": plain["pictures"]}
        del values["pictures"]
        return Totals(**values)


@dataclass
class Progress:
    """How far a run has got.

    Attributes:
        first_epoch: how many epochs the model had been trained before.
        epochs_done: epochs completed, over all runs.
        batch: batches of the current epoch that are done.
        totals: what they measured.
        best: what the best model in the output folder reached in the measure that selects.
        best_unseen: how that one does on people it has never seen (`facesync.training.unseen`).
        epochs_without_improvement: since the best model.
        from_scratch: the network started from random weights, so BatchNorm is renewed.
    """

    first_epoch: int = 0
    epochs_done: int = 0
    batch: int = 0
    totals: Totals = field(default_factory=Totals)
    best: float | None = None
    best_unseen: dict[str, Any] | None = None
    epochs_without_improvement: int = 0
    from_scratch: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the values for a checkpoint."""
        plain = {**asdict(self), "totals": self.totals.to_dict()}
        plain["epochs_without"] = plain.pop("epochs_without_improvement")  # as above
        return plain

    @staticmethod
    def from_dict(plain: dict[str, Any]) -> Progress:
        """Read what `to_dict` returned.

        Raises:
            KeyError, or one of `INVALID`: it is something else.
        """
        if plain["best"] is not None and not math.isfinite(plain["best"]):
            raise ValueError("what was best is not a number")
        return Progress(
            first_epoch=int(plain["first_epoch"]),
            epochs_done=int(plain["epochs_done"]),
            batch=int(plain["batch"]),
            totals=Totals.from_dict(plain["totals"]),
            best=plain["best"],
            best_unseen=checked_unseen(plain.get("best_unseen")),
            epochs_without_improvement=int(plain["epochs_without"]),
            from_scratch=bool(plain["from_scratch"]),
        )


@dataclass
class Run:
    """A learner, its data and its progress.

    Attributes:
        learner: what is trained.
        data: what it is trained and evaluated on.
        order: of the training images.
        output: folder for all files.
        settings: the effective settings as plain values, saved with everything that is written.
        history: grows by a row per epoch.
        progress: how far it has come.
        started_from: the weights that its model began with, in words.
        start: what these make of the unseen people; None before that is measured.
        kept: its checkpoints, oldest first; none before the first is written.
        reported: the undecodable images already reported.
    """

    learner: Learner
    data: SplitData
    order: EpochOrder
    output: Path
    settings: dict[str, Any]
    history: History = field(default_factory=History)
    progress: Progress = field(default_factory=Progress)
    started_from: str = ""
    start: Start | None = None
    kept: list[Path] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)

    @property
    def recipe(self) -> Recipe:
        """How the learner is trained."""
        return self.learner.recipe

    @property
    def crop(self) -> CropSpec:
        """What the images are."""
        return self.learner.inputs.crop

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.learner.device

    @property
    def ranks(self) -> Ranks:
        """The processes that train together."""
        return self.learner.ranks

    @cached_property
    def loader(self) -> Loader[Batch]:
        """Loads its images, with the same workers from start to end."""
        return make_loader(
            self.data, self.crop, self.order.batch_size,
            workers=self.recipe.workers, device=self.device,
        )  # fmt: skip

    @property
    def selects_by(self) -> str:
        """The column of the history that the best model is selected by."""
        by_tar = self.data.holdout and self.recipe.select != "val_accuracy"
        return "val_tar" if by_tar else "val_acc"

    @property
    def last_epoch(self) -> int:
        """The epoch after which the run ends."""
        return self.progress.first_epoch + self.recipe.epochs

    @property
    def title(self) -> str:
        """The current epoch in words."""
        return f"epoch {self.progress.epochs_done + 1}/{self.last_epoch}"

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs, besides the model, to resume; every process calls."""
        return {
            **self.learner.state_dict(),
            "script": self.recipe.script,
            **self.progress.to_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Resume where `state_dict` was taken.

        Raises:
            ModelError: it lacks something.
        """
        self.learner.load_state_dict(state, source)
        try:
            self.progress = Progress.from_dict(state)
        except (KeyError, *INVALID) as error:
            raise ModelError(f"cannot resume from {source}: {error!r:.100}") from error
