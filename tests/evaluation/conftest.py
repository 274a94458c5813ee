"""A model and a detector that need no weights, and images to recognise with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facesync.faces.crops import CropSpec
from facesync.faces.detection import Face
from facesync.faces.embedding import FaceModel
from facesync.images import save_jpeg

CROP = CropSpec("square", crop_size=32, scale=1.0, input_size=32)
PEOPLE, IMAGES = 6, 5


def blocks(batch: np.ndarray) -> np.ndarray:
    """Embed by the mean colours of 8 x 8 blocks: (N, 3, 32, 32) to (N, 512) of unit length."""
    means = batch.reshape(len(batch), 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(len(batch), -1)
    means -= means.mean(axis=1, keepdims=True)
    padded = np.pad(means, [(0, 0), (0, 512 - means.shape[1])])
    return (padded / np.linalg.norm(padded, axis=1, keepdims=True)).astype(np.float32)


class MiddleDetector:
    """Finds a face in the middle half of an image, unless the image is black."""

    min_face, max_side, min_probability = 40, 1280, 0.9

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        self.looks += 1
        if image_rgb.max() < 20:
            return []
        height, width = image_rgb.shape[:2]
        box = np.array([width / 4, height / 4, width * 3 / 4, height * 3 / 4], np.float32)
        places = [(0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.42, 0.62), (0.58, 0.62)]
        points = np.array(places, np.float32) * (width, height)
        return [Face(box, points.astype(np.float32), 0.99)]


def photograph(who: int, variant: int) -> np.ndarray:
    """64 x 64 RGB: a pattern for each person, slightly different in each variant."""
    pattern = np.random.default_rng(who).integers(0, 256, (8, 8, 3))
    noise = np.random.default_rng(1000 * who + variant).integers(-40, 41, (8, 8, 3))
    small = np.clip(pattern + noise, 30, 255).astype(np.uint8)
    return small.repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture
def model() -> FaceModel:
    return FaceModel(blocks, CROP, "0123456789abcdef", "block colours")


@pytest.fixture
def detector() -> MiddleDetector:
    return MiddleDetector()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`Name_0/Name_0_0001.jpg` and so on."""
    for who in range(PEOPLE):
        for variant in range(IMAGES):
            name = f"Name_{who}"
            path = tmp_path / "images" / name / f"{name}_{variant + 1:04d}.jpg"
            save_jpeg(photograph(who, variant), path)
    return tmp_path / "images"


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    """Three folds of two genuine and two impostor pairs, people disjoint between folds."""
    lines = ["3\t2"]
    for fold in range(3):
        one, other = f"Name_{2 * fold}", f"Name_{2 * fold + 1}"
        lines += [
            f"{one}\t1\t2",
            f"{other}\t3\t4",
            f"{one}\t1\t{other}\t1",
            f"{one}\t5\t{other}\t2",
        ]
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
