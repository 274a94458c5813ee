"""What the models can be told, with every default stated once. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from facesync.faces.calibration import DEFAULT_FMR


@dataclass(frozen=True)
class RecognizerSettings:
    """Which models are loaded, and when a face is accepted.

    Attributes:
        model: `vggface2`, `embedded` or a checkpoint's path; None for the usual order
            (`facesync.faces.weights.load_face_model`).
        threshold: cosine similarity in (-1, 1] that accepts; None for the model's own.
        fmr: how often a stranger may be taken for somebody registered, by the model's calibration.
        offline: open no connection.
        device: auto, cpu or cuda.
    """

    model: str | None = None
    threshold: float | None = None
    fmr: float = DEFAULT_FMR
    offline: bool = False
    device: str = "auto"
