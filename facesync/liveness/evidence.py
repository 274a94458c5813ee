"""Evidence: what the frames of one attempt say about whether the face is alive."""

from __future__ import annotations

from collections import Counter, deque
from statistics import median

import numpy as np

from facesync.cli import decimals
from facesync.faces.detection import Face
from facesync.liveness import flatness
from facesync.liveness.camera import calibrated
from facesync.liveness.challenge import Look
from facesync.liveness.passive import PassiveModel, PassiveScore
from facesync.liveness.settings import LOOKS

RECENT = 7
"""Frames of a challenge whose median score is checked; a single turned face may score low."""


class Evidence:
    """What the frames of one attempt say about whether the face is alive.

    Args:
        passive: scores each frame.
        same_person: least cosine of a frame's embedding to the first one's.
        offset: of the camera, on the logit of the score; see `CameraLiveness`.

    Attributes:
        looks: frames so far, without those of a challenge.
        same: every frame shows the person of the first, those of a challenge too.
    """

    def __init__(self, passive: PassiveModel, same_person: float, offset: float = 0.0) -> None:
        self._passive = passive
        self._same_person = same_person
        self._offset = offset
        self._first: np.ndarray | None = None
        self._scores: list[PassiveScore] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._turns = flatness.Turns()
        self.same = True

    @property
    def looks(self) -> int:
        """Frames looked at, without those of a challenge."""
        return len(self._scores)

    @property
    def raw_score(self) -> float | None:
        """Median of the passive scores, 0…1, without the camera's offset; None before LOOKS."""
        return median(score.live for score in self._scores) if self.looks >= LOOKS else None

    @property
    def score(self) -> float | None:
        """Median of the passive scores, 0…1, with the camera's offset; None before LOOKS."""
        raw = self.raw_score
        return None if raw is None else self._calibrated(raw)

    @property
    def attack(self) -> str:
        """The attack that most frames look like, were it one: `print` or `replay`."""
        return Counter(score.attack for score in self._scores).most_common(1)[0][0]

    @property
    def surroundings(self) -> float:
        """Median share of the surroundings that is seen, 0…1; 0 before the first look."""
        return median(score.surroundings for score in self._scores) if self._scores else 0.0

    @property
    def depth(self) -> float:
        """Nose error of the turns that happened by themselves; see `flatness.depth`."""
        return self._turns.depth

    @property
    def moves_with_background(self) -> bool:
        """Whether what is around the face moves as the face does, as with a held print."""
        return False

    def look(
        self, image_rgb: np.ndarray, face: Face, embedding: np.ndarray, seconds: float
    ) -> None:
        """Take in one frame.

        Args:
            image_rgb: uint8, (height, width, 3).
            face: the face that is verified or enrolled.
            embedding: of it, (512,), unit length.
            seconds: in the camera's clock.
        """
        self._check(embedding)
        (score,) = self._passive.score(image_rgb, [face])
        self._scores.append(score)
        self._recent.append(score.live)
        self._turns.add(face.landmarks)

    def glance(
        self, image_rgb: np.ndarray, face: Face, embedding: np.ndarray, seconds: float
    ) -> Look:
        """Check one frame of a challenge, for `Challenge.update`; arguments as of `look`.

        Its score is not counted in the median of the attempt: turned faces score lower.
        """
        same = self._check(embedding)
        self._recent.append(self._passive.score(image_rgb, [face])[0].live)
        recent = self._calibrated(median(self._recent))
        live = len(self._recent) < LOOKS or recent >= self._passive.thresholds.spoof_below
        return Look(seconds, face.landmarks, same, live)

    def in_words(self) -> tuple[str, ...]:
        """Say what was seen, a few words each."""
        words = [f"{self.looks} looks"]
        if self.score is not None:
            words.append(f"passive score {decimals(self.score, 2)}")
        if self._scores and self.surroundings < 1:
            words.append(f"{round(100 * self.surroundings)} % of the surroundings seen")
        if self.depth >= flatness.DEPTH:
            words.append("the face has depth")
        if not self.same:
            words.append("more than one person")
        return tuple(words)

    def _check(self, embedding: np.ndarray) -> bool:
        if self._first is None:
            self._first = embedding
        same = bool(self._first @ embedding >= self._same_person)
        self.same = self.same and same
        return same

    def _calibrated(self, raw: float) -> float:
        return calibrated(raw, self._offset, self._passive.thresholds)
