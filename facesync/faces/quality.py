"""Image quality of a face: size, sharpness, light and pose, and one number for all of them.

The limits were chosen by measurement (`python -m benchmarks.quality`): nearly all ordinary
photographs pass, and few do once they are blurred or darkened until their embeddings suffer.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facesync.faces.detection import Face

_SIDE = 96  # pixels; light and sharpness are measured at this size, whatever the size of the face

# Eyes, nose tip and mouth corners of a head seen from the front, in millimetres to the right, down
# and towards the camera. Averages of adults; only the proportions matter.
_HEAD = np.array([[-32, -32, 0], [32, -32, 0], [0, 0, 38], [-26, 34, 4], [26, 34, 4]], np.float64)
_HEAD -= _HEAD.mean(axis=0)


@dataclass(frozen=True)
class Pose:
    """Direction that a face looks in, in degrees.

    Attributes:
        yaw: to the right of the image, which is the person's left unless it is mirrored.
        pitch: upwards.
        roll: tilt of the head, clockwise in the image.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Quality:
    """What was measured on one face.

    Attributes:
        size: the shorter side of its box in pixels.
        sharpness: standard deviation of the Laplacian over that of the grey values.
        brightness: mean grey value, 0…255.
        contrast: standard deviation of the grey values.
        pose: where it looks.
    """

    size: float
    sharpness: float
    brightness: float
    contrast: float
    pose: Pose

    @property
    def overall(self) -> float:
        """All of it as one number, 0…1: the weight of a sample in matching."""
        light = min(_ramp(self.brightness, 25, 70), _ramp(255 - self.brightness, 15, 55))
        parts = (
            _ramp(self.size, 30, 100),
            _ramp(self.sharpness, 0.04, 0.16),
            light * _ramp(self.contrast, 6, 25),
            max(0.0, float(np.cos(np.radians(self.pose.yaw) * 1.2))),
            max(0.0, float(np.cos(np.radians(self.pose.pitch) * 1.2))),
        )
        return float(np.prod(parts) ** (1 / len(parts)))


@dataclass(frozen=True)
class Limits:
    """What a sample must have, in the units of `Quality`."""

    size: float
    sharpness: float
    darkest: float
    brightest: float
    contrast: float
    turn: float


CAMERA = Limits(size=70, sharpness=0.10, darkest=45, brightest=215, contrast=15, turn=50)
"""In front of a camera, a better image is only a moment away."""

PHOTOGRAPH = Limits(size=36, sharpness=0.055, darkest=25, brightest=240, contrast=8, turn=65)
"""A photograph cannot be retaken: only what would harm the template is refused."""


def measure(image_rgb: np.ndarray, face: Face) -> Quality:
    """Measure a face in the image, uint8 RGB (height, width, 3), that it was found in."""
    grey = _grey(image_rgb, face, _SIDE)
    contrast = float(grey.std())
    left, top, right, bottom = face.box_xyxy
    return Quality(
        size=float(min(right - left, bottom - top)),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).std()) / max(1.0, contrast),
        brightness=float(grey.mean()),
        contrast=contrast,
        pose=pose(face.landmarks),
    )


def pose(landmarks: np.ndarray) -> Pose:
    """Estimate where a face looks from its landmarks, (5, 2) in the order of `Face`.

    Fits an affine camera to the points of the head (least squares) and takes the nearest rotation;
    on a video of a turning head it is within a few degrees, up to about 50.
    """
    points = landmarks.astype(np.float64)
    affine = np.linalg.lstsq(_HEAD, points - points.mean(axis=0), rcond=None)[0].T
    u, _, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    ahead = np.append(rows[:, 2], np.cross(rows[0], rows[1])[2])  # where the head points
    eyes = points[1] - points[0]
    return Pose(
        yaw=float(np.degrees(np.arctan2(ahead[0], ahead[2]))),
        pitch=float(np.degrees(np.arcsin(np.clip(-ahead[1], -1, 1)))),
        roll=float(np.degrees(np.arctan2(eyes[1], eyes[0]))),
    )


def complaint(quality: Quality, limits: Limits) -> str | None:
    """Say in a few words what is wrong with a face and what helps; None if it is good."""
    if quality.size < limits.size:
        return "too small: move closer"
    if quality.brightness < limits.darkest:
        return "too dark: turn on a light"
    if quality.brightness > limits.brightest:
        return "too bright: turn from the light"
    if quality.contrast < limits.contrast:
        return "hardly any contrast: change the light"
    if quality.sharpness < limits.sharpness:
        return "blurred: hold still"
    if max(abs(quality.pose.yaw), abs(quality.pose.pitch)) > limits.turn:
        return "turned too far: look towards the camera"
    return None


def appearance(image_rgb: np.ndarray, face: Face) -> np.ndarray:
    """Describe how a face looks in an image; the product of two descriptions detects copies.

    Returns:
        float32 (1024,): its grey values at 32 x 32 minus their mean, of unit length; zeros for a
        uniform image. Darkened, compressed and cropped copies of a frame have a product above
        0.97; three quarters of video frames a second apart are below 0.94.
    """
    grey = _grey(image_rgb, face, 32).astype(np.float32).ravel()
    grey -= grey.mean()
    return grey / max(1.0, float(np.linalg.norm(grey)))


def _grey(image_rgb: np.ndarray, face: Face, side: int) -> np.ndarray:
    """Cut a face's box, clipped to the image, and resize it to side x side grey pixels."""
    height, width = image_rgb.shape[:2]
    left, top, right, bottom = (round(float(value)) for value in face.box_xyxy)
    left, top = min(max(0, left), width - 1), min(max(0, top), height - 1)
    inside = image_rgb[top : max(bottom, top + 1), left : max(right, left + 1)]
    grey = cv2.cvtColor(inside, cv2.COLOR_RGB2GRAY)
    how = cv2.INTER_AREA if min(grey.shape) > side else cv2.INTER_LINEAR
    return cv2.resize(grey, (side, side), interpolation=how)


def _ramp(value: float, zero: float, one: float) -> float:
    """Rise linearly from 0 at `zero` to 1 at `one`."""
    return float(np.clip((value - zero) / (one - zero), 0, 1))
