"""Find faces with MTCNN (Zhang et al., 2016), in images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from facesync.faces.boxes import overlap
from facesync.faces.mtcnn import AreaSampler, Candidates, refine, search
from facesync.faces.mtcnn_nets import load_mtcnn

if TYPE_CHECKING:
    import torch

FOLLOW_SHIFTS = np.array([[0, 0], [-0.15, 0], [0.15, 0], [0, -0.15], [0, 0.15]])
FOLLOW_SCALES = np.array([0.95, 1.2])
"""Where `follow` looks: squares shifted and scaled by these multiples of the box's longer side."""

SAME_FACE_IOU = 0.3
"""IoU of a face's box with its previous one above which it is the same face."""


@dataclass(frozen=True)
class Face:
    """Where a face is, in the pixels of the image it was found in.

    Attributes:
        box_xyxy: float32 (4,): left, top, right, bottom; may extend slightly outside the image.
        landmarks: float32 (5, 2), x and y of: left eye, right eye, nose tip, left and right corner
            of the mouth; left and right as seen in the image.
        probability: that it is a face, according to the detector, 0…1.
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
    """Anything that finds faces, such as `FaceDetector`."""

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Find all faces in an image, uint8 RGB (height, width, 3), largest first."""
        ...


class FaceDetector:
    """MTCNN with facenet-pytorch's weights, which ship.

    On a CPU its networks run in ONNX Runtime, elsewhere in torch.

    Args:
        device: where the networks run: `cpu` or another torch device.
        min_face: side in pixels of the smallest face to find.
        max_side: for the search, larger images are shrunk to this many pixels on their longer side,
            so that a photo from a phone takes no longer than a camera frame. Faces are returned in
            the pixels of the original image.
        min_probability: faces with a lower probability are left out.
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
        self._nets = load_mtcnn(str(device))

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Find all faces, largest first.

        Args:
            image_rgb: uint8, (height, width, 3). BGR finds fewer faces: convert frames first.
        """
        image_rgb, shrink = self._shrunk(image_rgb)
        if min(image_rgb.shape[:2]) < self.min_face:
            # No face of that size fits in, and MTCNN's pyramid would have no level.
            return []
        found = search(self._nets, image_rgb, self.min_face)
        faces = [face for face in _faces(found, shrink) if face.probability >= self.min_probability]
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def follow(self, image_rgb: np.ndarray, faces: Sequence[Face]) -> list[Face | None]:
        """Find faces again that have moved a little, without searching the whole image.

        R-Net and O-Net look at a few squares around each face's previous position. New faces are
        not found: run `detect` from time to time.

        Returns:
            For each face of the previous frame, in the same order: the face now, or None if it is
            lost.
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
        """Shrink the image to `max_side` if it is larger; return it and its scale."""
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
    """Return the squares, float32 (N, 4), in which to look for a face that had this box."""
    centre = (box_xyxy[:2] + box_xyxy[2:]) / 2
    side = (box_xyxy[2:] - box_xyxy[:2]).max()
    middles = centre + side * FOLLOW_SHIFTS
    halves = side / 2 * FOLLOW_SCALES
    squares = [np.concatenate([middles - half, middles + half], axis=1) for half in halves]
    return np.concatenate(squares).astype(np.float32)


def _distinct(before: Sequence[Face], after: list[Face | None]) -> list[Face | None]:
    """If two faces were followed to the same one, keep it only for the nearer of the two."""
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
    """Return the main face of an image: large and near the middle.

    The score is the area minus twice the squared distance from the centre, as in D. Sandberg's
    facenet. Among faces equally far from the centre the largest wins, and a bystander at the edge
    does not win by being closer to the camera.
    """
    middle = np.array(image_rgb.shape[1::-1]) / 2

    def score(face: Face) -> float:
        offset = (face.box_xyxy[:2] + face.box_xyxy[2:]) / 2 - middle
        return face.area - 2.0 * float(offset @ offset)

    return max(faces, key=score)
