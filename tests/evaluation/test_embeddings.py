"""Images are embedded once: cached results are reused, failures are named."""

from dataclasses import replace

import numpy as np
import pytest

from facesync.data.conversion import convert_pack
from facesync.data.datasets import FaceDataset
from facesync.data.recordio import write_pack
from facesync.evaluation.embeddings import Embedder, mirrored
from facesync.evaluation.images import DatasetImages, file_image_ref
from facesync.images import save_jpeg
from tests.evaluation.conftest import MiddleDetector


def refs(folder):
    return DatasetImages(FaceDataset(folder))


def test_a_second_run_computes_nothing(folder, model, detector, tmp_path):
    images = refs(folder)
    first = Embedder(model, detector, tmp_path / "cache").embed(images)
    assert first.computed == detector.looks == len(images) == 30
    np.testing.assert_allclose(np.linalg.norm(first.vectors, axis=1), 1, atol=1e-5)
    assert not first.failures
    second = Embedder(model, detector, tmp_path / "cache").embed(images)
    assert second.computed == 0 and detector.looks == 30
    np.testing.assert_array_equal(first.vectors, second.vectors)


def test_a_pack_or_a_renamed_folder_is_in_the_cache_too(folder, model, tmp_path):
    first = Embedder(model, None, tmp_path / "cache").embed(refs(folder))
    images = [(n // 5, path.read_bytes()) for n, path in enumerate(sorted(folder.glob("*/*.jpg")))]
    pack = write_pack(tmp_path / "pack", images)
    convert_pack(pack, tmp_path / "renamed", workers=1)
    for source in (pack, tmp_path / "renamed"):
        again = Embedder(model, None, tmp_path / "cache").embed(refs(source))
        assert again.computed == 0
        np.testing.assert_array_equal(again.vectors, first.vectors)
    other = replace(model, fingerprint="another")
    assert Embedder(other, None, tmp_path / "cache").embed(refs(folder)).computed == 30


def test_equal_bytes_are_embedded_once(folder, model, tmp_path):
    images = refs(folder)[:3] + refs(folder)[1:2]
    found = Embedder(model, None, tmp_path / "cache").embed(images)
    assert found.computed == 3 and found.ids[3] == found.ids[1] != found.ids[0]
    np.testing.assert_array_equal(found.vectors[3], found.vectors[1])


def test_processes_decode_as_this_one_does(folder, model, detector, tmp_path, monkeypatch):
    monkeypatch.setattr("facesync.evaluation.embeddings._MANY", 1)
    monkeypatch.setattr("facesync.evaluation.embeddings._TASK_BYTES", 1)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    images = [*refs(folder), file_image_ref(broken, "broken"), refs(folder)[0]]
    alone = Embedder(model, detector, tmp_path / "alone").embed(images)
    found = Embedder(model, detector, tmp_path / "cache", workers=2).embed(images)
    np.testing.assert_array_equal(found.vectors, alone.vectors)
    assert found.failures == alone.failures and list(found.failures) == [30]
    assert found.computed == alone.computed == 30


def test_an_interrupted_run_resumes(folder, model, detector, tmp_path, monkeypatch):
    monkeypatch.setattr("facesync.evaluation.embeddings._BATCH", 16)
    images = refs(folder)

    class Interrupted(MiddleDetector):
        def detect(self, image_rgb):
            if self.looks == 20:
                raise KeyboardInterrupt
            return super().detect(image_rgb)

    with pytest.raises(KeyboardInterrupt):
        Embedder(model, Interrupted(), tmp_path / "cache").embed(images)
    found = Embedder(model, detector, tmp_path / "cache").embed(images)
    assert found.computed == 30 - 16  # whole batches are kept, and all faces found
    assert detector.looks == 30 - 20
    fresh = Embedder(model, detector, tmp_path / "fresh").embed(images)
    np.testing.assert_array_equal(found.vectors, fresh.vectors)


def test_other_crops_have_their_own_embeddings(folder, model, detector, tmp_path):
    images = refs(folder)
    plain = Embedder(model, detector, tmp_path / "cache").embed(images)
    turned = Embedder(
        model, detector, tmp_path / "cache", label="mirrored", crop=mirrored(model.crop.cut)
    ).embed(images)
    assert turned.computed == 30 and detector.looks == 30  # the faces are the same
    assert not np.allclose(plain.vectors, turned.vectors)
    image_rgb = images[0].decode()
    (face,) = detector.detect(image_rgb)
    crop_rgb = model.crop.cut(image_rgb, face)
    np.testing.assert_array_equal(mirrored(model.crop.cut)(image_rgb, face), crop_rgb[:, ::-1])


def test_failures_to_enrol_are_named(folder, model, detector, tmp_path):
    black, broken = tmp_path / "black.jpg", tmp_path / "broken.jpg"
    save_jpeg(np.zeros((64, 64, 3), np.uint8), black)
    broken.write_bytes(b"no image")
    images = [
        file_image_ref(black, "black"),
        file_image_ref(broken, "broken"),
        file_image_ref(tmp_path / "gone.jpg", "gone"),
        *refs(folder)[:1],
    ]
    for _ in range(2):  # the second time from the cache
        found = Embedder(model, detector, tmp_path / "cache").embed(images)
        assert np.isnan(found.vectors[:, 0]).tolist() == [True, True, True, False]
        assert sorted(found.failures) == [0, 1, 2]
        assert found.failures[0] == "no face found" and "cannot be read" in found.failures[2]
    assert detector.looks == 2


def test_ready_crops_are_taken_as_they_are(folder, model, tmp_path):
    images = refs(folder)
    found = Embedder(model, None, tmp_path / "cache").embed(images)
    whole = [model.crop.array(image.decode()) for image in images]
    np.testing.assert_allclose(found.vectors, model.network(np.stack(whole)), atol=1e-6)
