"""Evidence: what the frames of one attempt say about whether the face is alive."""

from __future__ import annotations

from collections import Counter, deque
from statistics import median

import numpy as np

from facesync.cli import decimals
from facesync.faces.detection import Face
from facesync.liveness import flatness
from facesync.liveness.background import Background
from facesync.liveness.camera import calibrated
from facesync.liveness.challenge import STRAIGHT, Look, is_frontal, turn_between
from facesync.liveness.passive import PassiveModel, PassiveScore
from facesync.liveness.settings import LOOKS

RECENT = 15
"""Frames whose median score must not be an attack's during a challenge: a turn lasts for fewer."""

_TURNED_SHARE = 0.5
"""Of the similarity asked for, where the face is turned; see `Evidence`."""


_MOST_COMPARED = 100  # frames


class Evidence:
    """What the frames of one attempt say about whether the face is alive.

    Every frame must show the person of the first one. Embeddings of turned faces are less alike
    (with the embedded model a chin lowered by 23 degrees leaves a cosine of .33), so
    there half the similarity is enough, or all of it to the frame before. A swap that hides in a
    turn shows as soon as the face looks straight again, and no challenge ends before that.

    Args:
        passive: scores each frame.
        same_person: least cosine of a frame's embedding to the first one's.
        offset: of the camera, on the logit of the score; see `CameraLiveness`.

    Attributes:
        same: every frame shows the person of the first, those of a challenge too.
    """

    def __init__(self, passive: PassiveModel, same_person: float, offset: float = 0.0) -> None:
        self._passive = passive
        self._same_person = same_person
        self._offset = offset
        self._first: tuple[np.ndarray, np.ndarray] | None = None  # embedding, landmarks
        self._before: tuple[np.ndarray, np.ndarray] | None = None  # those of the last frame
        self._embeddings: list[np.ndarray] = []  # of the first looks
        self._scores: list[PassiveScore] = []
        self._straight: list[float] = []  # those of the frames that look into the camera
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._depth, self._deepest = flatness.Depth(), 0.0
        self._background = Background()
        self.same = True

    @property
    def looks(self) -> int:
        """Frames looked at, without those of a challenge."""
        return len(self._scores)

    @property
    def raw_score(self) -> float | None:
        """Median of the passive scores, 0…1, without the camera's offset; None before LOOKS.

        It is that of the frames that look into the camera, if they are enough: turned faces, as
        at enrolment, score lower.
        """
        if len(self._straight) >= LOOKS:
            return median(self._straight)
        return median(score.live for score in self._scores) if self.looks >= LOOKS else None

    @property
    def score(self) -> float | None:
        """Median of the passive scores, 0…1, with the camera's offset; None before LOOKS."""
        raw = self.raw_score
        return None if raw is None else self._calibrated(raw)

    @property
    def attack(self) -> str:
        """The attack that most frames look like, were it one: `print` or `replay`; `` at first."""
        counted = Counter(score.attack for score in self._scores).most_common(1)
        return counted[0][0] if counted else ""

    @property
    def surroundings(self) -> float:
        """Median share of the surroundings that is seen, 0…1; 0 before the first look."""
        return median(score.surroundings for score in self._scores) if self._scores else 0.0

    @property
    def depth(self) -> float:
        """Nose error of the turns that happened by themselves; see `flatness.Depth`."""
        return max(self._deepest, self._depth.value)

    @property
    def moves_with_background(self) -> bool:
        """Whether what is around the face moves as the face does, as with a held print.

        `python -m benchmarks.liveness_challenge`: 11 of 40 prints of NUAA, none of 136 live videos.
        """
        return self._background.moves_with_face

    def look(self, image_rgb: np.ndarray, face: Face, embedding: np.ndarray) -> None:
        """Take in one frame.

        Args:
            image_rgb: uint8, (height, width, 3).
            face: the face that is verified or enrolled.
            embedding: of it, (512,), unit length.
        """
        if not self._continues(face.landmarks, embedding):
            self._deepest, self._depth = self.depth, flatness.Depth()
        self._check(face.landmarks, embedding)
        self._embeddings = [*self._embeddings, embedding][:_MOST_COMPARED]
        (score,) = self._passive.score(image_rgb, [face])
        self._scores.append(score)
        if is_frontal(face.landmarks):
            self._straight.append(score.live)
        self._recent.append(score.live)
        self._depth.add(face.landmarks)
        self._background.look(image_rgb, face)

    def glance(
        self,
        image_rgb: np.ndarray,
        face: Face,
        embedding: np.ndarray,
        seconds: float,
        *,
        begins: bool = False,
    ) -> Look:
        """Check one frame of a challenge, for `Challenge.update`; arguments as of `look`.

        Its score is not counted in the median of the attempt: turned faces score lower. `begins`:
        the challenge waits for the straight look that it begins with.
        """
        if begins and is_frontal(face.landmarks):
            self._first = embedding, face.landmarks
            self.same = self.same and self._is_like_most(embedding)
        same = self._check(face.landmarks, embedding) and self.same
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
        if self.moves_with_background:
            words.append("what is around the face moves with it")
        if not self.same:
            words.append("more than one person")
        return tuple(words)

    def _check(self, landmarks: np.ndarray, embedding: np.ndarray) -> bool:
        if self._first is None:
            self._first = embedding, landmarks
        first, straight = self._first
        before = embedding if self._before is None else self._before[0]
        self._before = embedding, landmarks
        same = bool(first @ embedding >= self._same_person)
        if not same and max(map(abs, turn_between(straight, landmarks))) > STRAIGHT:
            least = _TURNED_SHARE * self._same_person
            same = bool(first @ embedding >= least or before @ embedding >= self._same_person)
        self.same = self.same and same
        return same

    def _continues(self, landmarks: np.ndarray, embedding: np.ndarray) -> bool:
        """Return whether a frame may show the face of the frame before, a little later."""
        if self._before is None:
            return True
        before, where = self._before
        alike = bool(before @ embedding >= self._same_person)
        return alike and flatness.continues(where, landmarks)

    def _is_like_most(self, embedding: np.ndarray) -> bool:
        alike = [float(each @ embedding) for each in self._embeddings]
        return not alike or median(alike) >= self._same_person

    def _calibrated(self, raw: float) -> float:
        return calibrated(raw, self._offset, self._passive.thresholds)
