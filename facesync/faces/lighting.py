"""Correct the lighting of dark images before faces are detected in them.

A correction changes what the model sees and may do harm. `benchmarks.long.conditions` measures
which one helps under which condition; only what helps there belongs in the app.
"""

from __future__ import annotations

import cv2
import numpy as np

DARK = 0.10
"""Mean brightness below which `relit` evens out the light: none of 3,811 images of LFW is below
it, all of them at an eighth of the light are."""


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

    `benchmarks.long.conditions` shows what it wins in the dark, and what it costs in blurred, noisy
    and covered images.
    """
    return equalize(image_rgb) if brightness(image_rgb) < DARK else image_rgb
