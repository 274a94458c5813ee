"""Settings of `train_liveness.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.errors import UsageError
from facesync.options import option, positive_int, rate, seed, whole


@dataclass(frozen=True)
class TrainLivenessSettings:
    """Settings of one training of the passive model."""

    data: tuple[Path, ...] = option(
        (),
        "datasets, each a folder of live/ and of one folder for each kind of attack",
        metavar="DIR",
    )
    live: tuple[Path, ...] = option(
        (),
        "folders of images of live faces, from which attacks are simulated",
        metavar="DIR",
    )
    unseen: Path | None = option(
        None,
        "a dataset of other people: it sets the thresholds, and is not trained on; without one, "
        "a tenth of the people of every dataset is left out instead",
        metavar="DIR",
    )
    output: Path = option(Path("models/liveness"), "folder for the model", metavar="DIR")
    variants: int = option(
        6, "how many varied crops are made of each face", parse=positive_int, metavar="N"
    )
    steps: int = option(
        3000, "batches for each of the two networks", parse=positive_int, metavar="N"
    )
    simulated: float = option(
        0.5, "share of each batch in which attacks are simulated", parse=rate, metavar="F"
    )
    leave_out: int = option(
        0,
        "besides, train so many batches without each dataset in turn and measure on it, with and "
        "without simulated attacks: what the model does with people and cameras it never saw",
        parse=whole,
        metavar="N",
    )
    seed: int = option(42, "seed of crops, weights and batches", parse=seed, metavar="N")

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: there is nothing to learn from, or a dataset is named twice: it would be
                measured on what was learnt from it.
        """
        if not self.data:
            raise UsageError("--data: name at least one dataset of live faces and attacks")
        folders = [folder.resolve() for folder in self.data]
        if len(set(folders)) < len(folders):
            raise UsageError("--data: name each dataset once")
        if self.unseen is not None and self.unseen.resolve() in folders:
            raise UsageError("--unseen must not be one of --data: thresholds need other people")
        if self.leave_out and len(self.data) == 1:
            raise UsageError("--leave-out needs two or more datasets")
