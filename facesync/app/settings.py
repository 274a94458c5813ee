"""What the app can be told on the command line, with every default stated once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.faces.calibration import DEFAULT_FMR


@dataclass(frozen=True)
class AppSettings:
    """Settings of one run of the app.

    Attributes:
        model: `vggface2`, `embedded` or a checkpoint's path; None for the usual order
            (`facesync.faces.weights.load_face_model`).
        embeddings: the store of registered faces.
        faces: folder of their sample pictures.
        threshold: cosine similarity in (-1, 1] that accepts; None for the model's own.
        fmr: how often a stranger may be taken for somebody registered, by the model's calibration.
        camera: number, video, picture, folder of pictures or stream address.
        offline: open no connection.
        device: auto, cpu or cuda.
    """

    model: str | None = None
    embeddings: Path = Path("models/face_embeddings.pkl")
    faces: Path = Path("faces")
    threshold: float | None = None
    fmr: float = DEFAULT_FMR
    camera: str = "0"
    offline: bool = False
    device: str = "auto"
