"""Synthetic images of synthetic people, with a model and a detector that need no weights."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from facesync.faces.detection import Face

_SIDE = 112
_CELLS = 6


def person_pixels(person: int, number: int) -> np.ndarray:
    """Uint8 (112, 112, 3): coarse colours of the person, fine texture of the photograph."""
    coarse = np.random.default_rng(person).normal(0, 60, (_CELLS, _CELLS, 3))
    fine = np.random.default_rng((person, number)).normal(0, 45, (28, 28, 3))
    total = sum(_enlarged(values) for values in (coarse, fine))
    return np.clip(127.5 + total, 0, 255).astype(np.uint8)


def _enlarged(values: np.ndarray) -> np.ndarray:
    channels = [
        np.asarray(Image.fromarray(values[..., c].astype(np.float32)).resize((_SIDE, _SIDE)))
        for c in range(3)
    ]
    return np.stack(channels, axis=-1)


def jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


@cache
def photograph(person: int, number: int) -> bytes:
    return jpeg(person_pixels(person, number))


def faceless(number: int) -> bytes:
    """An almost uniform image: `DrawnDetector` finds nothing in it."""
    colour = np.random.default_rng(number).integers(40, 215, 3)
    noise = np.random.default_rng(number).integers(0, 9, (_SIDE, _SIDE, 3))
    return jpeg((colour + noise).astype(np.uint8))


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def people(count: int, each: int) -> dict[str, bytes]:
    """Files of a dataset without faults: `p<person>/<number>.jpg`."""
    return {
        f"p{who}/{number}.jpg": photograph(who, number)
        for who in range(count)
        for number in range(each)
    }


class DrawnModel:
    """Stands in for `FaceModel`: embeds coarse colours, the mean of an image and its mirror."""

    source = "drawn"

    def __init__(self, fingerprint: str = "drawn") -> None:
        self.fingerprint = fingerprint
        self.embedded = 0

    def embed_crops(self, crops_rgb: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
        vectors = np.zeros((len(crops_rgb), 512), dtype=np.float32)
        for vector, crop in zip(vectors, crops_rgb, strict=True):
            small = Image.fromarray(crop).resize((_CELLS, _CELLS), Image.Resampling.BOX)
            cells = np.asarray(small, dtype=np.float32)
            cells = cells - cells.mean()
            values = (cells + cells[:, ::-1]).ravel()
            vector[: len(values)] = values / max(np.linalg.norm(values), 1e-6)
        self.embedded += len(crops_rgb)
        return vectors


class DrawnDetector:
    """Finds one face wherever there is anything to see."""

    def __init__(self, *args: object) -> None:
        self.asked = 0

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        self.asked += 1
        face = Face(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 1.0)
        return [face] if image_rgb.std(axis=(0, 1)).max() > 12 else []
