from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from facesync.gallery.on_files import FileGallery
from tests.app.fakes import FakeRecognizer, image


@pytest.fixture
def gallery(tmp_path) -> FileGallery:
    return FileGallery(tmp_path / "models" / "face_embeddings.pkl", tmp_path / "faces")


@pytest.fixture
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture
def shot(tmp_path) -> Callable[..., Path]:
    """Write an image and return its path."""

    def write(name: str, **shown: int) -> Path:
        path = tmp_path / f"{name}.png"
        Image.fromarray(image(**shown)).save(path)
        return path

    return write
