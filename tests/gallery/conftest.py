"""Made-up people: templates are unit vectors, pictures are flat colours."""

from __future__ import annotations

import numpy as np
import pytest

from facesync.gallery.store import Gallery, Person, now


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=512)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def person(name: str, seed: int = 1, fingerprint: str | None = "model-a", samples: int = 2):
    return Person(name, unit(seed), fingerprint, now(), samples)


def pictures(number: int = 2, shade: int = 100) -> list[np.ndarray]:
    return [np.full((40, 40, 3), shade + i, dtype=np.uint8) for i in range(number)]


@pytest.fixture
def gallery(tmp_path) -> Gallery:
    return Gallery(tmp_path / "models" / "face_embeddings.pkl", tmp_path / "faces")
