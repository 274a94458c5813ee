"""What `distill_model.py` can be told. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.options import device_option, option, positive_float, positive_int, rate

GROUPS = ("data", "models", "training")


@dataclass(frozen=True)
class DistillSettings:
    """Settings of one distillation."""

    data: tuple[Path, ...] = option(
        (), "photographs in which faces are found", metavar="DIR|PACK", group="data"
    )
    aligned: tuple[Path, ...] = option(
        (),
        "faces already aligned on five points, as in CASIA-WebFace's pack",
        metavar="DIR|PACK",
        group="data",
    )
    leave_out: Path | None = option(
        None,
        "names of images that are not trained on, one a line, relative to their source",
        metavar="FILE",
        group="data",
    )
    output: Path = option(
        Path("models/student"), "folder for the student", metavar="DIR", group="data"
    )
    cache: Path | None = option(
        None,
        "folder for faces and the teacher's embeddings, computed once",
        metavar="DIR",
        group="data",
        shown_default="OUTPUT/cache",
    )
    teacher: str = option(
        "vggface2", "whom the student learns from", metavar="vggface2|FILE", group="models"
    )
    blocks: int = option(
        2,
        "of the teacher's ten 17 x 17 blocks, how many the student keeps; each is 0.7 MB",
        parse=positive_int,
        choices=range(1, 11),
        group="models",
    )
    offline: bool = option(False, "open no socket", group="models")
    epochs: int = option(
        20, "passes over the faces", parse=positive_int, metavar="N", group="training"
    )
    batch_size: int = option(
        64, "faces per step", parse=positive_int, metavar="N", group="training"
    )
    lr: float = option(
        1e-3, "AdamW's highest learning rate", parse=positive_float, metavar="F", group="training"
    )
    validation: float = option(
        0.02,
        "share of the faces that is measured and not trained on",
        parse=rate,
        metavar="F",
        group="training",
    )
    resume: bool = option(
        False, "resume from the checkpoint in OUTPUT", group="training", kept=False
    )
    seed: int = option(42, "of the order and the augmentation", metavar="N", group="training")
    workers: int = option(
        0,
        "processes that augment; 0 does it in the main process",
        metavar="N",
        group="training",
    )
    device: str = device_option("training")

    @property
    def cache_folder(self) -> Path:
        """Where the faces and the teacher's embeddings are kept."""
        return self.cache or self.output / "cache"
