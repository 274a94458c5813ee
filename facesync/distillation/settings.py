"""Settings of `distill_model.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.errors import UsageError
from facesync.options import device_option, option, positive_float, positive_int, rate

GROUPS = ("data", "models", "training")


@dataclass(frozen=True)
class DistillSettings:
    """Settings of one distillation."""

    data: tuple[Path, ...] = option(
        (), "photographs; faces are detected in them", metavar="DIR|PACK", group="data"
    )
    aligned: tuple[Path, ...] = option(
        (),
        "faces already aligned on five points, as in CASIA-WebFace's pack",
        metavar="DIR|PACK",
        group="data",
    )
    leave_out: Path | None = option(
        None,
        "text file with images to leave out, one per line, as paths relative to their source",
        metavar="FILE",
        group="data",
    )
    output: Path = option(
        Path("models/student"), "folder for the student", metavar="DIR", group="data"
    )
    cache: Path | None = option(
        None,
        "folder for the crops and the teacher's embeddings, which are computed once",
        metavar="DIR",
        group="data",
        shown_default="OUTPUT/cache",
    )
    teacher: str = option(
        "vggface2", "model that the student learns from", metavar="vggface2|FILE", group="models"
    )
    blocks: int = option(
        2,
        "how many of the teacher's ten 17 x 17 blocks the student keeps; each is 0.7 MB",
        parse=positive_int,
        choices=range(1, 11),
        group="models",
    )
    offline: bool = option(False, "make no network connection", group="models")
    epochs: int = option(
        20, "passes over the faces", parse=positive_int, metavar="N", group="training"
    )
    batch_size: int = option(
        64, "faces per step", parse=positive_int, metavar="N", group="training"
    )
    lr: float = option(
        1e-3, "AdamW's peak learning rate", parse=positive_float, metavar="F", group="training"
    )
    validation: float = option(
        0.02,
        "share of the faces held out for validation",
        parse=rate,
        metavar="F",
        group="training",
    )
    resume: bool = option(
        False, "resume from the checkpoint in OUTPUT", group="training", kept=False
    )
    seed: int = option(42, "seed of the order and the augmentation", metavar="N", group="training")
    workers: int = option(
        0,
        "processes that load faces; 0 loads them in the main process",
        metavar="N",
        group="training",
    )
    device: str = device_option("training")

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: the message names them.
        """
        if not (self.data or self.aligned):
            raise UsageError("name images of faces with --data or --aligned")
        if self.workers < 0:
            raise UsageError(f"--workers {self.workers} is not 0 or more")

    @property
    def cache_folder(self) -> Path:
        """Where the crops and the teacher's embeddings are kept."""
        return self.cache or self.output / "cache"
