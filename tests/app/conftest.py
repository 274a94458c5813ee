import pytest

from facesync.gallery.store import Gallery
from tests.app.fakes import FakeRecognizer


@pytest.fixture
def gallery(tmp_path) -> Gallery:
    return Gallery(tmp_path / "models" / "face_embeddings.pkl", tmp_path / "faces")


@pytest.fixture
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()
