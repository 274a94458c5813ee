"""Track faces from frame to frame.

Each track predicts its box at constant velocity; the boxes of a new frame are assigned to the
predicted ones so that the total overlap is largest (Hungarian assignment, as in SORT, Bewley et
al., 2016). A face that comes back after a gap is recognised by its embedding, see `Tracker.rejoin`.
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
"""A track not seen for this long has ended, but can be rejoined for `REJOIN_SECONDS`."""

REJOIN_SECONDS = 8.0

_SMOOTHING = 0.5  # Weight of the latest velocity in the average.
_COAST_SECONDS = 0.5  # Longest prediction without a new box.


@dataclass
class Track:
    """One face over time.

    Attributes:
        number: 1, 2, … in order of appearance.
        face: where it was last seen.
        seconds: when it was last seen.
        hits: number of frames it was seen in.
        embedding: float32 (512,) of unit length, over the frames so far; None before the first.
    """

    number: int
    face: Face
    seconds: float
    hits: int = 1
    embedding: np.ndarray | None = None
    _velocity: np.ndarray = field(default_factory=lambda: np.zeros(4))

    def box_at(self, seconds: float) -> np.ndarray:
        """Predict the box, float64 (4,) xyxy, a little after it was last seen."""
        ahead = min(max(0.0, seconds - self.seconds), _COAST_SECONDS)
        return self.face.box_xyxy + self._velocity * ahead

    def seen(self, face: Face, seconds: float) -> None:
        """Update with where the face is now."""
        passed = seconds - self.seconds
        if passed > 0:
            velocity = (face.box_xyxy - self.face.box_xyxy) / passed
            if self.hits > 1:
                velocity = _SMOOTHING * velocity + (1 - _SMOOTHING) * self._velocity
            self._velocity = velocity
        self.face, self.seconds = face, seconds
        self.hits += 1


class Tracker:
    """Tracks of all faces in view.

    Attributes:
        tracks: those that have not ended, oldest first.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._ended: list[Track] = []
        self._count = 0

    def update(self, faces: Sequence[Face], seconds: float) -> list[Track]:
        """Return the track of each face of a new frame; `seconds` must not decrease."""
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
        ended = [track for track in self.tracks if seconds - track.seconds > LOST_SECONDS]
        self.tracks = [track for track in self.tracks if track not in ended]
        recent = [track for track in self._ended if seconds - track.seconds <= REJOIN_SECONDS]
        self._ended = recent + [track for track in ended if track.embedding is not None]
        return [found[column] for column in range(len(faces))]

    def rejoin(self, track: Track, embedding: np.ndarray, threshold: float) -> np.ndarray | None:
        """Let a new track continue the most similar of those that ended recently.

        The new track, which `update` has just started, takes the old one's number. From the
        threshold on, two embeddings of unit length show the same person.

        Returns:
            The old track's embedding; None if none is that similar.
        """
        alike = [
            (float(old.embedding @ embedding), place)
            for place, old in enumerate(self._ended)
            if old.embedding is not None
        ]
        similarity, place = max(alike, default=(-1.0, 0))
        if not (alike and similarity >= threshold):
            return None
        old = self._ended.pop(place)
        track.number = old.number
        return old.embedding


def _assign(overlap: np.ndarray) -> list[tuple[int, int]]:
    """Pair rows with columns so that the sum of their overlaps is largest.

    The Hungarian method with shortest augmenting paths, as in `scipy.optimize`, for which the app
    would be a quarter larger. Column 0 stands for the row that is being added.
    """
    if len(overlap) > overlap.shape[1]:
        return [(row, column) for column, row in _assign(overlap.T)]
    rows, columns = overlap.shape
    cost = np.pad(-np.nan_to_num(overlap), ((1, 0), (1, 0)))
    row_price, column_price = np.zeros(rows + 1), np.zeros(columns + 1)
    owner = np.zeros(columns + 1, np.intp)  # the row that each column is paired with; 0 is none
    for row in range(1, rows + 1):
        owner[0], at = row, 0
        least = np.full(columns + 1, np.inf)
        before = np.zeros(columns + 1, np.intp)
        open_columns = np.ones(columns + 1, bool)
        while owner[at]:
            open_columns[at] = False
            reduced = cost[owner[at]] - row_price[owner[at]] - column_price
            better = open_columns & (reduced < least)
            least[better], before[better] = reduced[better], at
            at = int(np.argmin(np.where(open_columns, least, np.inf)))
            step = least[at]
            row_price[owner[~open_columns]] += step
            column_price[~open_columns] -= step
            least[open_columns] -= step
        while at:
            owner[at], at = owner[before[at]], before[at]
    return [
        (int(owner[column]) - 1, column - 1) for column in range(1, columns + 1) if owner[column]
    ]
