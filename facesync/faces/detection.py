"""Find faces: MTCNN (Zhang et al., 2016), guarded against odd images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from facesync.faces.boxes import overlap
from facesync.faces.mtcnn import AreaSampler, Candidates, refine
from facesync.faces.mtcnn_nets import load_mtcnn

if TYPE_CHECKING:
    import torch

FOLLOW_SHIFTS = np.array([[0, 0], [-0.15, 0], [0.15, 0], [0, -0.15], [0, 0.15]])
FOLLOW_SCALES = np.array([0.95, 1.2])
"""Where `follow` looks: squares moved and scaled by these parts of the box's longer side."""

SAME_FACE_IOU = 0.3
"""IoU of a face's box with its last one from which on it is the same face."""


@dataclass(frozen=True)
class Face:
    """Where a face is, in the pixels of the image it was found in.

    Attributes:
        box_xyxy: float32 (4,): left, top, right, bottom; may reach a little outside the image.
        landmarks: float32 (5, 2), x and y of: the eye, then the other eye (as seen, left then
            right), nose tip, left and right corner of the mouth.
        probability: the detector's own, 0…1.
    """

    box_xyxy: np.ndarray
    landmarks: np.ndarray
    probability: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box_xyxy
        return float((right - left) * (bottom - top))


class Detector(Protocol):
    """What finds faces: `FaceDetector`, and what stands in for it."""

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Find all faces in an image, uint8 RGB (height, width, 3), largest first."""
        ...


class FaceDetector:
    """MTCNN with its weights, which ship inside facenet-pytorch.

    On a CPU its nets run in ONNX Runtime, elsewhere in torch.

    Args:
        device: where the three nets run, `cpu` or what torch calls another device.
        min_face: side in pixels of the smallest face looked for.
        max_side: larger images are shrunk to this many pixels on their longer side for the
            search, so that a photograph of a phone costs no more than a camera's frame. Faces are
            given in the pixels of the image as it came.
        min_probability: faces of which the detector is less sure are left out.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        min_face: int = 40,
        max_side: int = 1280,
        min_probability: float = 0.9,
    ) -> None:
        self.min_face = min_face
        self.max_side = max_side
        self.min_probability = min_probability
        self._nets, self._search = load_mtcnn(str(device))

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Find all faces, largest first.

        Args:
            image_rgb: uint8, (height, width, 3). BGR finds fewer faces: convert frames first.
        """
        image_rgb, shrink = self._shrunk(image_rgb)
        if min(image_rgb.shape[:2]) < self.min_face:
            # MTCNN's pyramid would have no level: no face of the size looked for fits in.
            return []
        found = self._search(image_rgb, self.min_face)
        faces = [face for face in _faces(found, shrink) if face.probability >= self.min_probability]
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def follow(self, image_rgb: np.ndarray, faces: Sequence[Face]) -> list[Face | None]:
        """Find faces again that have moved a little, without searching the whole image.

        R-Net and O-Net look around the places where the faces were, a few squares for each. New
        faces are not found: search with `detect` from time to time.

        Args:
            image_rgb: uint8, (height, width, 3): the next frame of a video.
            faces: where they were in the last one.

        Returns:
            For each of them, in the same order: the face now, or None where it is lost.
        """
        image_rgb, shrink = self._shrunk(image_rgb)
        sampler = AreaSampler(image_rgb)
        again: list[Face | None] = []
        for face in faces:
            found = _faces(refine(self._nets, sampler, _around(face.box_xyxy * shrink)), shrink)
            near = [new for new in found if overlap(face.box_xyxy, new.box_xyxy) > SAME_FACE_IOU]
            best = max(near, key=lambda new: new.probability, default=None)
            sure = best is not None and best.probability >= self.min_probability
            again.append(best if sure else None)
        return _distinct(faces, again)

    def _shrunk(self, image_rgb: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the image no larger than `max_side`, and its scale."""
        shrink = min(1.0, self.max_side / max(image_rgb.shape[:2]))
        if shrink < 1:
            size_wh = [max(1, round(side * shrink)) for side in image_rgb.shape[1::-1]]
            image_rgb = cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA)
        return image_rgb, shrink


def _faces(found: Candidates, shrink: float) -> list[Face]:
    return [
        Face(box / np.float32(shrink), landmarks / np.float32(shrink), float(probability))
        for box, landmarks, probability in zip(*found, strict=True)
    ]


def _around(box_xyxy: np.ndarray) -> np.ndarray:
    """Squares, float32 (N, 4), in which a face may be whose box was this one."""
    centre = (box_xyxy[:2] + box_xyxy[2:]) / 2
    side = (box_xyxy[2:] - box_xyxy[:2]).max()
    middles = centre + side * FOLLOW_SHIFTS
    halves = side / 2 * FOLLOW_SCALES
    squares = [np.concatenate([middles - half, middles + half], axis=1) for half in halves]
    return np.concatenate(squares).astype(np.float32)


def _distinct(before: Sequence[Face], after: list[Face | None]) -> list[Face | None]:
    """Where two faces have ended on one, leave it to the one that was nearer."""
    kept = list(after)
    for i, one in enumerate(after):
        for j, other in enumerate(after[:i]):
            if one is None or other is None or overlap(one.box_xyxy, other.box_xyxy) < 0.5:
                continue
            mine = overlap(before[i].box_xyxy, one.box_xyxy)
            theirs = overlap(before[j].box_xyxy, other.box_xyxy)
            kept[i if mine < theirs else j] = None
    return kept


def main_face(faces: list[Face], image_rgb: np.ndarray) -> Face:
    """Pick the face an image is about: large and near the middle.

    Area minus twice the squared distance from the centre, the rule of facenet's own alignment
    (Schroff et al.'s reimplementation by D. Sandberg): between faces at about the same distance the
    largest wins, and a bystander at the edge does not win by standing nearer to the camera.
    """
    middle = np.array(image_rgb.shape[1::-1]) / 2

    def prominence(face: Face) -> float:
        offset = (face.box_xyxy[:2] + face.box_xyxy[2:]) / 2 - middle
        return face.area - 2.0 * float(offset @ offset)

    return max(faces, key=prominence)
