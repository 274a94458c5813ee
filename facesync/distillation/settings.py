"""What `distill_model.py` can be told. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DistillSettings:
    """Settings of one distillation.

    Attributes:
        data: photographs to find faces in: folders (searched whole) or packs.
        aligned: face images cut on five points, as CASIA-WebFace's pack: folders or packs.
        leave_out: file that names images, one a line, which are not trained on.
        output: folder for the student, its checkpoint and the history.
        cache: folder for the faces and the teacher's embeddings, computed once.
        teacher: `vggface2`, or a file.
        blocks: Inception blocks of 17 x 17 (see `facesync.distillation.student`) that are kept.
        epochs: times the faces are gone through.
        batch_size: faces a step.
        lr: AdamW's highest learning rate.
        validation: share of the faces that is only measured.
        workers: processes that augment; 0 does it in the main process.
        device: `auto`, `cpu` or `cuda`.
        offline: open no socket.
        resume: go on from the checkpoint in `output`.
        seed: of the order, the augmentation and the validation faces.
    """

    data: tuple[Path, ...] = ()
    aligned: tuple[Path, ...] = ()
    leave_out: Path | None = None
    output: Path = Path("models/student")
    cache: Path = Path("models/student/cache")
    teacher: str = "vggface2"
    blocks: int = 2
    epochs: int = 20
    batch_size: int = 64
    lr: float = 1e-3
    validation: float = 0.02
    workers: int = 0
    device: str = "auto"
    offline: bool = False
    resume: bool = False
    seed: int = 42
