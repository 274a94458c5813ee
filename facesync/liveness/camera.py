"""What a camera does to the passive score, learnt from its live owner at enrolment.

Cameras differ in noise, sharpening and compression, and the score with them. The median of each
enrolment is kept beside the store in `<store>.liveness`, JSON, by the camera's source; from those
comes an offset on the logit of the score, of at most ±1.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from facesync.cli import masked
from facesync.files import locked, read_regular, write_json
from facesync.liveness.passive import PassiveModel, PassiveThresholds

log = logging.getLogger(__name__)

FORMAT = 1

LARGEST_OFFSET = 1.0
"""Of the offset, on the logit: a score of 0.5 becomes at least 0.27 and at most 0.73."""

_ABOVE = 1.0  # The owner's score is moved to this much above `live_from`, on the logit.
_KEPT = 10  # Enrolments remembered for each camera.
_MOST_BYTES = 1 << 20
_EDGE = 1e-6  # The logit of 0 and 1 is infinite.


@dataclass(frozen=True)
class CameraLiveness:
    """A camera that somebody has enrolled with.

    Attributes:
        offset: added to the logit of its scores, -1…1.
    """

    offset: float


def file_of(store: Path) -> Path:
    """Return the file that remembers the cameras of a store."""
    return store.with_name(store.name + ".liveness")


def calibrated(raw: float, offset: float, thresholds: PassiveThresholds) -> float:
    """Move a score, 0…1, by a camera's offset, but never across `spoof_below`."""
    if offset == 0 or raw < thresholds.spoof_below:
        return raw  # exactly: rounding must not move it across a threshold
    return max(thresholds.spoof_below, _logistic(_logit(raw) + offset))


def known(store: Path, source: str, passive: PassiveModel) -> CameraLiveness | None:
    """Return what was learnt about a camera with this model; None if it is unknown."""
    scores = _read(store, passive).get(masked(source))
    if not scores:
        return None
    wanted = _logit(passive.thresholds.live_from) + _ABOVE
    offset = wanted - _logit(median(scores))
    return CameraLiveness(max(-LARGEST_OFFSET, min(LARGEST_OFFSET, offset)))


def learn(store: Path, source: str, passive: PassiveModel, raw_score: float) -> None:
    """Remember the score of a live owner who has just enrolled with a camera.

    Args:
        store: the store that they enrolled in.
        source: the camera, as in the settings.
        passive: the model that gave the score.
        raw_score: `Evidence.raw_score` of the enrolment.

    Raises:
        FileError: it cannot be written.
    """
    with locked(file_of(store)):
        cameras = _read(store, passive)
        key = masked(source)  # an address may hold a password
        cameras[key] = [*cameras.get(key, []), raw_score][-_KEPT:]
        content = {"format": FORMAT, "model": passive.fingerprint, "cameras": cameras}
        write_json(file_of(store), content, private=True)


def _read(store: Path, passive: PassiveModel) -> dict[str, list[float]]:
    """Read the scores of each camera; none of another model's, nor where the file is damaged."""
    path = file_of(store)
    try:
        data = json.loads(read_regular(path, most=_MOST_BYTES))
        if data["format"] != FORMAT:
            raise ValueError("unknown format")
        if data["model"] != passive.fingerprint:
            return {}
        return {str(name): _scores(values) for name, values in data["cameras"].items()}
    except FileNotFoundError:
        return {}
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        OverflowError,
    ):
        log.warning("%s cannot be read: every camera counts as unknown", path)
        return {}


def _scores(values: list[float]) -> list[float]:
    scores = [float(value) for value in values]
    if not all(0 <= score <= 1 for score in scores):
        raise ValueError("no scores")
    return scores


def _logit(score: float) -> float:
    score = min(1 - _EDGE, max(_EDGE, score))
    return math.log(score / (1 - score))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))
