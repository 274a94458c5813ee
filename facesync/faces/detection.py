"""Find faces: facenet-pytorch's MTCNN (Zhang et al., 2016), guarded against odd pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import torch


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


class FaceDetector:
    """MTCNN with its weights, which ship inside facenet-pytorch.

    Args:
        device: where the three nets run.
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
        import torch
        from facenet_pytorch import MTCNN

        self.min_face = min_face
        self.max_side = max_side
        self.min_probability = min_probability
        self._mtcnn = MTCNN(keep_all=True, min_face_size=min_face, device=torch.device(device))

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Find all faces, largest first.

        Args:
            image_rgb: uint8, (height, width, 3). BGR finds fewer faces: convert frames first.
        """
        shrink = min(1.0, self.max_side / max(image_rgb.shape[:2]))
        if shrink < 1:
            size_wh = [max(1, round(side * shrink)) for side in image_rgb.shape[1::-1]]
            image_rgb = cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA)
        if min(image_rgb.shape[:2]) < self.min_face:
            # MTCNN's pyramid would have no level: no face of the size looked for fits in.
            return []
        boxes, probabilities, points = self._mtcnn.detect(image_rgb, landmarks=True)
        if boxes is None:
            return []
        faces = [
            Face(
                np.asarray(box, dtype=np.float32) / shrink,
                np.asarray(landmarks, dtype=np.float32) / shrink,
                float(probability),
            )
            for box, landmarks, probability in zip(boxes, points, probabilities, strict=True)
            if probability >= self.min_probability
        ]
        return sorted(faces, key=lambda face: face.area, reverse=True)


def main_face(faces: list[Face], image_rgb: np.ndarray) -> Face:
    """Pick the face a picture is about: large and near the middle.

    Area minus twice the squared distance from the centre, the rule of facenet's own alignment
    (Schroff et al.'s reimplementation by D. Sandberg): between faces at about the same distance the
    largest wins, and a bystander at the edge does not win by standing nearer to the camera.
    """
    middle = np.array(image_rgb.shape[1::-1]) / 2

    def prominence(face: Face) -> float:
        offset = (face.box_xyxy[:2] + face.box_xyxy[2:]) / 2 - middle
        return face.area - 2.0 * float(offset @ offset)

    return max(faces, key=prominence)
