"""Settings of `distill_model.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from facesync.errors import UsageError
from facesync.options import device_option, option, positive_float, positive_int, rate, seed, whole

GROUPS = ("data", "models", "training")

_data, _models, _training = (partial(option, group=name) for name in GROUPS)
STUDENTS = ("small", "vggface2-head")

_COUNT: dict[str, Any] = {"parse": positive_int, "metavar": "N"}


@dataclass(frozen=True)
class DistillSettings:
    """Settings of one distillation."""

    data: tuple[Path, ...] = _data(
        (), "photographs; faces are detected in them", metavar="DIR|PACK"
    )
    aligned: tuple[Path, ...] = _data(
        (), "faces already aligned on five points, as in CASIA-WebFace's pack", metavar="DIR|PACK"
    )
    leave_out: Path | None = _data(
        None,
        "text file with images to leave out, one per line, as paths relative to their source",
        metavar="FILE",
    )
    output: Path = _data(Path("models/student"), "folder for the student", metavar="DIR")
    cache: Path | None = _data(
        None,
        "folder for the crops and the teacher's embeddings, which are computed once",
        metavar="DIR",
        shown_default="OUTPUT/cache",
    )
    teacher: str = _models(
        "vggface2", "model that the student learns from", metavar="edgeface-xs|vggface2|FILE"
    )
    student: str = _models(
        "small",
        "a small network, or a new last layer for the VGGFace2 weights, for which only data and "
        "models matter",
        choices=STUDENTS,
    )
    start: Path | None = _models(
        None,
        "student.pth of another run, to start from its weights and not from VGGFace2's",
        metavar="FILE",
    )
    blocks: int = _models(
        5,
        "how many of VGGFace2's ten 17 x 17 blocks the student keeps; each has 0.7 M weights",
        parse=positive_int,
        choices=range(1, 11),
    )
    offline: bool = _models(False, "make no network connection")
    epochs: int = _training(20, "passes over the faces", **_COUNT)
    batch_size: int = _training(64, "faces per step", **_COUNT)
    lr: float = _training(5e-4, "AdamW's peak learning rate", parse=positive_float, metavar="F")
    validation: float = _training(
        0.02, "share of the faces held out for validation", parse=rate, metavar="F"
    )
    resume: bool = _training(False, "resume from the checkpoint in OUTPUT", kept=False)
    seed: int = _training(42, "seed of the order and the augmentation", parse=seed, metavar="N")
    workers: int = _training(
        0, "processes that load faces; 0 loads them in the main process", parse=whole, metavar="N"
    )
    device: str = device_option("training")

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: the message names them.
        """
        if not (self.data or self.aligned):
            raise UsageError("name images of faces with --data or --aligned")
        if self.student != "small" and (self.start or self.resume):
            raise UsageError(f"--start and --resume cannot be used with --student {self.student}")

    @property
    def cache_folder(self) -> Path:
        """Where the crops and the teacher's embeddings are kept."""
        return self.cache or self.output / "cache"
