"""What the app can be told on the command line, with every default stated once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.faces.calibration import DEFAULT_FMR

VERIFY_FRAMES = 5
"""Frames of a camera that one verification looks at."""


@dataclass(frozen=True)
class AppSettings:
    """Settings of one run of the app.

    Attributes:
        model: `vggface2`, `embedded` or a checkpoint's path; None for the usual order
            (`facesync.faces.weights.load_face_model`).
        embeddings: the store of registered faces.
        faces: folder of their sample images.
        threshold: cosine similarity in (-1, 1] that accepts; None for the model's own.
        fmr: how often a stranger may be taken for somebody registered, by the model's calibration.
        margin: how much more similar the best must be than the second.
        camera: number, video, image, folder of images or stream address.
        offline: open no connection.
        device: auto, cpu or cuda.
        encrypt: encrypt the store and the images by the next save.
        audit_log: a file to which every verification is added; None for none.
    """

    model: str | None = None
    embeddings: Path = Path("models/face_embeddings.pkl")
    faces: Path = Path("faces")
    threshold: float | None = None
    fmr: float = DEFAULT_FMR
    margin: float = 0.05
    camera: str = "0"
    offline: bool = False
    device: str = "auto"
    encrypt: bool = True
    audit_log: Path | None = None
