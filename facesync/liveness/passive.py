"""The passive model: how surely one frame shows a living face, not a print or a screen.

Two small networks in one ONNX file look at two crops of the face: close, for the texture, and wide,
for the edges of paper and screens and the hands that hold them. Training and figures:
`train_liveness.py`, `evaluate_liveness.py`, docs/liveness.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facesync.errors import ModelError
from facesync.faces import onnx_files
from facesync.faces.detection import Face
from facesync.faces.models import ASSETS
from facesync.faces.onnx_runtime import open_net
from facesync.liveness.crops import SIDE, surroundings, texture_and_context

EMBEDDED = "embedded"
"""The model that ships inside FaceSync."""

KIND = "liveness"

KINDS = ("live", "print", "replay")
"""What the model tells apart, in the order of its outputs."""


@dataclass(frozen=True)
class PassiveScore:
    """What the passive model says about one face in one frame.

    Attributes:
        live: how surely the face is live, 0…1.
        attack: the likelier attack, `print` or `replay`, whatever the score.
        surroundings: share of the context crop within the image, 0…1: where it is small, the face
            fills the frame, and the score says little.
    """

    live: float
    attack: str
    surroundings: float


@dataclass(frozen=True)
class PassiveThresholds:
    """Scores, 0…1, that decide.

    Attributes:
        threshold: a score from here on is live where one number has to decide.
        spoof_below: a score below this is surely an attack.
        live_from: a score from here on is surely live.
    """

    threshold: float
    spoof_below: float
    live_from: float


class PassiveModel:
    """Scores faces; see `load_passive`.

    Attributes:
        name: `embedded`, or the file.
        thresholds: measured when it was trained.
        fingerprint: of its weights; scores of another model mean something else.
        facts: everything the JSON beside the model says.
    """

    def __init__(self, name: str, onnx: Path, facts: dict[str, Any]) -> None:
        self.name = name
        self.facts = facts
        self.fingerprint = str(facts["sha256"])[:16]
        self.thresholds = _thresholds(onnx, facts)
        self._run = open_net(onnx)

    def score(self, image_rgb: np.ndarray, faces: Sequence[Face]) -> list[PassiveScore]:
        """Score faces of an image, uint8 RGB (height, width, 3)."""
        if not faces:
            return []
        crops = np.stack([texture_and_context(image_rgb, face.box_xyxy) for face in faces])
        batch = crops.transpose(0, 1, 4, 2, 3).astype(np.float32)
        chances = self._run(batch)[0]
        if not _are_chances(chances, len(faces)):
            raise ModelError(f"the liveness model {self.name} gives no score; use another one")
        return [
            PassiveScore(
                float(chance[0]),
                KINDS[1 + int(np.argmax(chance[1:]))],
                surroundings(image_rgb, face.box_xyxy),
            )
            for chance, face in zip(chances, faces, strict=True)
        ]


def _are_chances(found: Any, faces: int) -> bool:
    """Whether an output, which may be text or maps in another's file, is the chances of faces."""
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
        return False
    return found.shape == (faces, len(KINDS)) and bool(((found >= 0) & (found <= 1)).all())


def load_passive(choice: str = EMBEDDED) -> PassiveModel:
    """Load the model that ships inside, or an ONNX file by `train_liveness.py`.

    Raises:
        ModelError: it is missing, damaged, or another kind of model.
    """
    onnx = ASSETS / "liveness.onnx" if choice == EMBEDDED else Path(choice)
    if not onnx.is_file():
        raise ModelError(f"the liveness model {choice} is missing; train one: train_liveness.py")
    facts = onnx_files.read_description(onnx)
    if facts.get("kind") != KIND or facts.get("side") != SIDE:
        raise ModelError(f"{onnx} is not a liveness model; train one: train_liveness.py")
    return PassiveModel(choice, onnx, facts)


def _thresholds(onnx: Path, facts: dict[str, Any]) -> PassiveThresholds:
    try:
        found = PassiveThresholds(**facts["thresholds"])
        in_order = 0 < found.spoof_below <= found.threshold <= found.live_from < 1
    except (KeyError, TypeError) as error:
        raise ModelError(f"{onnx} does not say its thresholds; train it again") from error
    if not in_order:
        raise ModelError(f"{onnx} has thresholds out of order; train it again")
    return found
