"""Data and a network for the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facesync.data.recordio import write_pack
from facesync.training import batches, model, saving
from tests.training.stand_ins import TinyNetwork, draw_identity


@pytest.fixture(autouse=True)
def one_thread():
    """Spare the small tensors here the hand-over between threads, slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the tests the wait for the disk; that files are flushed is tested elsewhere."""
    monkeypatch.setattr("facesync.files.os.fsync", lambda handle: None)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folder of 3 identities with 6 images each: 14 to train on, 4 to validate."""
    folder = tmp_path / "images"
    for number in range(3):
        draw_identity(folder / str(number), number, 6)
    return folder


@pytest.fixture
def pack(tmp_path: Path, images: Path) -> Path:
    """The same images as a RecordIO pack; its keys are 1 to 18."""
    files = [(n, sorted((images / str(n)).iterdir(), key=_key)) for n in range(3)]
    records = [(n, file.read_bytes()) for n, of_one in files for file in of_one]
    write_pack(tmp_path / "pack", records)
    return tmp_path / "pack"


def _key(path: Path) -> int:
    return int(path.stem)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> type[TinyNetwork]:
    """Let the scripts train `TinyNetwork`, and spare them the drawing of curves."""
    monkeypatch.setattr(model, "new_network", TinyNetwork)
    monkeypatch.setattr(saving, "save_curves", lambda history, path: path.touch())
    return TinyNetwork


@pytest.fixture
def small_split(images: Path) -> batches.SplitData:
    return batches.load_split(images, seed=42, min_images=5, max_images=100)


@pytest.fixture
def damaged_image():
    """Replace an image by one with valid markers and undecodable content."""

    def damage(path: Path) -> None:
        path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(200)) + b"\xff\xd9")

    return damage
