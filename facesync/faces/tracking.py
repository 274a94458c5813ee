"""Follow faces from frame to frame: which box is whom was where before.

Each track has a box that moves at a constant velocity; boxes found in a new frame are assigned to
the predicted ones so that the overlap in all is largest (Hungarian assignment, as in SORT, Bewley
et al., 2016). What comes back after a gap is told by its embedding, see `Tracker.rejoin`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from facesync.faces.boxes import iou
from facesync.faces.detection import Face

SAME_TRACK_IOU = 0.2
"""IoU below which two boxes are not the same face."""

LOST_SECONDS = 0.8
"""A track that was not seen for so long is over, but may be rejoined for `REJOIN_SECONDS`."""

REJOIN_SECONDS = 8.0

_MEMORY = 0.5  # Share of the new velocity in the kept one.
_COAST_SECONDS = 0.5  # A box moves on by itself for so long.


@dataclass
class Track:
    """One face over time.

    Attributes:
        number: 1, 2, … in order of appearance.
        face: where it was seen last.
        seconds: when that was.
        hits: in how many frames it was seen.
        embedding: float32 (512,) of unit length, of its looks so far; None before the first.
    """

    number: int
    face: Face
    seconds: float
    hits: int = 1
    embedding: np.ndarray | None = None
    _velocity: np.ndarray = field(default_factory=lambda: np.zeros(4))

    def box_at(self, seconds: float) -> np.ndarray:
        """Predict the box, float64 (4,) xyxy, at a time a little later than it was seen."""
        ahead = min(max(0.0, seconds - self.seconds), _COAST_SECONDS)
        return self.face.box_xyxy + self._velocity * ahead

    def seen(self, face: Face, seconds: float) -> None:
        """Note where the face is now."""
        passed = seconds - self.seconds
        if passed > 0:
            now = (face.box_xyxy - self.face.box_xyxy) / passed
            self._velocity = now if self.hits == 1 else self._mixed(now)
        self.face, self.seconds = face, seconds
        self.hits += 1

    def _mixed(self, now: np.ndarray) -> np.ndarray:
        return _MEMORY * now + (1 - _MEMORY) * self._velocity


class Tracker:
    """Tracks of all faces in view.

    Attributes:
        tracks: those not over yet, oldest first.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._left: list[Track] = []
        self._count = 0

    def update(self, faces: Sequence[Face], seconds: float) -> list[Track]:
        """Take the faces of a new frame.

        Args:
            faces: all that were found, in any order.
            seconds: the frame's time; never less than before.

        Returns:
            tracks, one for each face, in the order of `faces`.
        """
        overlap = iou(
            np.array([track.box_at(seconds) for track in self.tracks]).reshape(-1, 4),
            np.array([face.box_xyxy for face in faces]).reshape(-1, 4),
        )
        found: dict[int, Track] = {}
        for row, column in _assign(overlap):
            if overlap[row, column] >= SAME_TRACK_IOU:
                found[column] = self.tracks[row]
                found[column].seen(faces[column], seconds)
        for column, face in enumerate(faces):
            if column not in found:
                self._count += 1
                found[column] = Track(self._count, face, seconds)
                self.tracks.append(found[column])
        over = [track for track in self.tracks if seconds - track.seconds > LOST_SECONDS]
        self.tracks = [track for track in self.tracks if track not in over]
        recent = [t for t in self._left if seconds - t.seconds <= REJOIN_SECONDS]
        self._left = recent + [track for track in over if track.embedding is not None]
        return [found[column] for column in range(len(faces))]

    def rejoin(self, track: Track, embedding: np.ndarray, threshold: float) -> np.ndarray | None:
        """Let a new track continue the one it is most like of those that left not long ago.

        The new track takes the old one's number.

        Args:
            track: one that `update` has just begun.
            embedding: of its face, (512,) of unit length.
            threshold: cosine similarity from which two faces are one person.

        Returns:
            The old track's embedding; None where nobody who left is so alike.
        """
        alike = [
            (float(old.embedding @ embedding), place)
            for place, old in enumerate(self._left)
            if old.embedding is not None
        ]
        similarity, place = max(alike, default=(-1.0, 0))
        if similarity < threshold or not alike:
            return None
        old = self._left.pop(place)
        track.number = old.number
        return old.embedding


def _assign(overlap: np.ndarray) -> list[tuple[int, int]]:
    """Rows and columns that go together so that the sum of their overlaps is largest."""
    if not overlap.size:
        return []
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-overlap)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
