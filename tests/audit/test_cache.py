from __future__ import annotations

import shutil

import numpy as np
import pytest

from facesync.audit import cache as audit_cache
from facesync.audit.cache import embed_set
from facesync.data.conversion import convert_pack
from facesync.data.datasets import FaceDataset
from facesync.data.recordio import write_pack
from facesync.images import read_image_rgb
from tests.evaluation.drawn_people import DrawnModel, fill, people, photograph


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "set", people(2, 3) | {"p1/7.jpg": photograph(0, 1)})


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(audit_cache, "_PER_FILE", 2)
    monkeypatch.setattr(audit_cache, "_BATCH", 2)


def load(folder) -> FaceDataset:
    return FaceDataset(folder, min_images=1)


def test_every_image_is_embedded_as_it_is_and_equal_bytes_once(folder, tmp_path):
    model, dataset = DrawnModel(), load(folder)
    done = embed_set(dataset, model, tmp_path / "cache")
    crops = [read_image_rgb(path) for path in dataset.image_paths]
    assert np.array_equal(done.vectors, DrawnModel().embed_crops(crops))
    assert done.computed == 6 and model.embedded == 6 and len(done.ids) == 7
    assert done.ids[dataset.names.index("p1/7")] == done.ids[dataset.names.index("p0/1")]


def test_a_second_run_computes_nothing_nor_does_the_pack(folder, tmp_path):
    first = embed_set(load(folder), DrawnModel(), tmp_path / "cache")
    again, model = embed_set(load(folder), DrawnModel(), tmp_path / "cache"), DrawnModel()
    assert again.computed == 0 and np.array_equal(again.vectors, first.vectors)
    images = [(n, photograph(n, number)) for n in range(2) for number in (2, 0, 1)]
    pack = write_pack(tmp_path / "pack", images)
    assert embed_set(load(pack), model, tmp_path / "cache").computed == 0
    convert_pack(pack, tmp_path / "renamed", workers=1)
    assert embed_set(load(tmp_path / "renamed"), model, tmp_path / "cache").computed == 0
    assert model.embedded == 0


def test_another_model_has_its_own_embeddings(folder, tmp_path):
    embed_set(load(folder), DrawnModel(), tmp_path / "cache")
    assert embed_set(load(folder), DrawnModel("other"), tmp_path / "cache").computed == 6


def test_an_interrupted_run_goes_on_where_it_stopped(folder, tmp_path):
    class Interrupted(DrawnModel):
        def embed_crops(self, crops_rgb, batch_size=32):
            if self.embedded == 4:
                raise KeyboardInterrupt
            return super().embed_crops(crops_rgb, batch_size)

    with pytest.raises(KeyboardInterrupt):
        embed_set(load(folder), Interrupted(), tmp_path / "cache")
    done = embed_set(load(folder), DrawnModel(), tmp_path / "cache")
    assert done.computed == 2
    assert np.array_equal(
        done.vectors, embed_set(load(folder), DrawnModel(), tmp_path / "fresh").vectors
    )


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", None], ids=["empty", "zip", "half"])
def test_a_damaged_file_is_made_again(folder, tmp_path, caplog, damage):
    first = embed_set(load(folder), DrawnModel(), tmp_path / "cache")
    path = sorted((tmp_path / "cache" / "drawn").glob("*.npz"))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    again = embed_set(load(folder), DrawnModel(), tmp_path / "cache")
    assert again.computed == 2 and "damaged and made again" in caplog.text
    assert np.array_equal(again.vectors, first.vectors)
    assert path.read_bytes() != damage


def test_a_pickle_in_a_file_is_not_opened(folder, tmp_path, caplog):
    embed_set(load(folder), DrawnModel(), tmp_path / "cache")
    path = sorted((tmp_path / "cache" / "drawn").glob("*.npz"))[0]
    np.savez(path, ids=np.array([{}], dtype=object), vectors=np.zeros((1, 512), np.float32))
    assert embed_set(load(folder), DrawnModel(), tmp_path / "cache").computed == 2
    assert "damaged" in caplog.text


def test_what_cannot_be_decoded_or_read_is_told(folder, tmp_path):
    damaged = b"\xff\xd8\xff\xe0" + bytes(range(200)) + b"\xff\xd9"
    fill(folder, {"p0/8.jpg": damaged, "p0/9.jpg": damaged, "p1/9.jpg": photograph(1, 9)})
    dataset = load(folder)
    (folder / "p1" / "9.jpg").unlink()
    done = embed_set(dataset, DrawnModel(), tmp_path / "cache")
    names = {dataset.names[index]: reason for index, reason in done.undecodable.items()}
    assert set(names) == {"p0/8", "p0/9", "p1/9"}
    assert "cannot be read" in names["p1/9"]
    assert not done.vectors[list(done.undecodable)].any()
    shutil.copy(folder / "p0" / "1.jpg", folder / "p0" / "8.jpg")
    mended = embed_set(load(folder), DrawnModel(), tmp_path / "cache")
    assert len(mended.undecodable) == 1 and mended.computed == 0
