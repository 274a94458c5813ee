"""Made-up people: templates are unit vectors, images are flat colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import Person, now
from facesync.gallery.store import Gallery


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=512)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def person(name: str, seed: int = 1, fingerprint: str | None = "model-a", samples: int = 2):
    return Person(name, unit(seed), fingerprint, now(), samples)


def images(number: int = 2, shade: int = 100) -> list[np.ndarray]:
    return [np.full((40, 40, 3), shade + i, dtype=np.uint8) for i in range(number)]


def enrolled(name: str, seed: int = 1, number: int = 3) -> Person:
    """A person with single samples beside the template."""
    rows = np.stack([unit(1000 * seed + i) for i in range(number)])
    mean = rows.mean(axis=0)
    template = (mean / np.linalg.norm(mean)).astype(np.float32)
    qualities = np.linspace(0.5, 1, number, dtype=np.float32)
    return Person(name, template, "model-a", now(), number, None, rows, qualities)


@pytest.fixture
def gallery(tmp_path) -> FileGallery:
    """A gallery whose files are plain, so that tests can look into them."""
    store = tmp_path / "models" / "face_embeddings.pkl"
    return FileGallery(store, tmp_path / "faces", encrypt=False)


@pytest.fixture
def sealed(gallery) -> FileGallery:
    """The same place, encrypted as by default."""
    return FileGallery(gallery.path, gallery.faces)


@pytest.fixture(params=["plain", "sealed"])
def either(request) -> FileGallery:
    return request.getfixturevalue({"plain": "gallery", "sealed": "sealed"}[request.param])


@pytest.fixture
def door(request, tmp_path):
    """Opens doors of one gallery on a real server; all have the key."""
    url, opened = request.getfixturevalue("postgres_url"), []

    def open_door(log: Path | None = None) -> Gallery:
        from facesync.gallery.server.gallery import ServerGallery

        opened.append(ServerGallery(url, tmp_path / "face_embeddings.pkl", audit_log=log))
        return opened[-1]

    yield open_door
    for each in opened:
        each.close()


@pytest.fixture(params=["plain", "sealed", "server"])
def anywhere(request) -> Gallery:
    """A gallery in files or on a server: what a test says of it holds for all."""
    if request.param == "server":
        return request.getfixturevalue("door")()
    return request.getfixturevalue({"plain": "gallery", "sealed": "sealed"}[request.param])
