"""What can be done about a bad image before it is given up: light and size.

None of them is free of harm: each changes what the model sees. Which of them helps against what is
measured by `evaluate_model.py --conditions`, and only what helps there belongs into the app.
"""

from __future__ import annotations

import cv2
import numpy as np

from facesync.faces.detection import Detector, Face

MIDDLE_GREY = 0.45
"""Mean brightness, 0…1, that `correct_gamma` aims at."""

DARK = 0.10
"""Mean brightness under which `relit` evens out the light: none of 3,811 images of LFW lies
there, all of them at an eighth of the light do."""

_ENLARGE = 2.0


def brightness(image_rgb: np.ndarray) -> float:
    """Mean brightness of an image, 0…1 (luma of Rec. 601)."""
    return float(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY).mean()) / 255


def equalize(image_rgb: np.ndarray) -> np.ndarray:
    """Even out light region by region: CLAHE (Zuiderveld, 1994) on lightness, colours kept.

    Takes and returns uint8 RGB (height, width, 3).
    """
    lab = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def relit(image_rgb: np.ndarray) -> np.ndarray:
    """Even out the light of a dark image, and leave any other as it is.

    The one remedy that the app has turned on: `evaluate_model.py --conditions` shows what it wins
    in the dark, and what it costs in blurred, noisy and covered images.
    """
    return equalize(image_rgb) if brightness(image_rgb) < DARK else image_rgb


def correct_gamma(image_rgb: np.ndarray) -> np.ndarray:
    """Bring an image's mean brightness to `MIDDLE_GREY` by a power of its values.

    Takes and returns uint8 RGB (height, width, 3). The power stays between 1/4 and 4: what is
    black or white altogether cannot be brought back.
    """
    mean = min(max(brightness(image_rgb), 1e-3), 1 - 1e-3)
    gamma = min(max(np.log(MIDDLE_GREY) / np.log(mean), 0.25), 4.0)
    table = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return cv2.LUT(image_rgb, table)


def detect_enlarged(detector: Detector, image_rgb: np.ndarray) -> list[Face]:
    """Find faces; where there are none, look once more in the image at twice its size.

    Finds faces half as large as the smallest that the detector looks for, at the price of a second
    and longer search of images without any. Faces are given in the image's own pixels.
    """
    faces = detector.detect(image_rgb)
    if faces:
        return faces
    larger = cv2.resize(image_rgb, None, fx=_ENLARGE, fy=_ENLARGE, interpolation=cv2.INTER_CUBIC)
    return [
        Face(face.box_xyxy / _ENLARGE, face.landmarks / _ENLARGE, face.probability)
        for face in detector.detect(larger)
    ]
