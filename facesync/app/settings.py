"""What the app can be told on the command line, with every default stated once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.faces.settings import RecognizerSettings

VERIFY_FRAMES = 5
"""Frames of a camera that one verification looks at."""


@dataclass(frozen=True)
class AppSettings(RecognizerSettings):
    """Settings of one run of the app.

    Attributes:
        embeddings: the store of registered faces.
        faces: folder of their sample images.
        margin: how much more similar the best must be than the second.
        camera: number, video, image, folder of images or stream address.
        encrypt: encrypt the store and the images by the next save.
        audit_log: a file to which every verification is added; None for none.
    """

    embeddings: Path = Path("models/face_embeddings.pkl")
    faces: Path = Path("faces")
    margin: float = 0.05
    camera: str = "0"
    encrypt: bool = True
    audit_log: Path | None = None
