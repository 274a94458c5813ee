"""Images become embeddings once: what is cached is not computed again, faults are told."""

import numpy as np
import pytest

from facesync.evaluation.cache import VectorCache, content_id
from facesync.evaluation.crop_variants import mirrored
from facesync.evaluation.embeddings import Embedder
from facesync.evaluation.images import ImageRef, file_image_ref, image_refs_of
from facesync.files import temporary_beside
from facesync.images import save_jpeg


def test_vectors_survive_and_damaged_files_cost_only_theirs(tmp_path, caplog):
    cache = VectorCache(tmp_path, 3)
    for number in range(130):  # more than one file's worth
        cache.add(f"id {number}", np.array([number, 0, 1]))
    assert len(list(tmp_path.glob("*.npz"))) == 2  # written on the way, before anybody asks for it
    cache.flush()
    again = VectorCache(tmp_path, 3)
    assert len(again) == 130 and again.get("id 7").tolist() == [7, 0, 1]
    assert again.get("another") is None
    files = sorted(tmp_path.glob("*.npz"))
    files[0].write_bytes(files[0].read_bytes()[:100])
    temporary_beside(files[1]).write_bytes(b"half a file of a killed run")
    assert 0 < len(VectorCache(tmp_path, 3)) < 130
    assert "damaged" in caplog.text


def test_vectors_of_another_width_and_pickles_are_not_taken(tmp_path):
    cache = VectorCache(tmp_path, 3)
    cache.add("a", np.zeros(3))
    cache.flush()
    assert len(VectorCache(tmp_path, 4)) == 0
    np.savez(tmp_path / "evil.npz", ids=np.array([print], dtype=object), vectors=np.zeros((1, 3)))
    assert len(VectorCache(tmp_path, 3)) == 1


def test_a_second_run_computes_nothing(folder, model, detector, tmp_path):
    images = image_refs_of(folder)
    first = Embedder(model, detector, tmp_path / "cache").embed(images)
    assert first.computed == detector.looks == len(images) == 30
    np.testing.assert_allclose(np.linalg.norm(first.vectors, axis=1), 1, atol=1e-5)
    assert first.enrolled.all() and not first.failures
    second = Embedder(model, detector, tmp_path / "cache").embed(images)
    assert second.computed == 0 and detector.looks == 30
    np.testing.assert_array_equal(first.vectors, second.vectors)


def test_an_interrupted_run_goes_on(folder, model, detector, tmp_path):
    images = image_refs_of(folder)

    def interrupt() -> bytes:
        raise KeyboardInterrupt

    stopped = [*images[:20], ImageRef("the one", interrupt), *images[20:]]
    with pytest.raises(KeyboardInterrupt):
        Embedder(model, detector, tmp_path / "cache").embed(stopped)
    found = Embedder(model, detector, tmp_path / "cache").embed(images)
    assert found.computed == 30 - 16  # whole batches are kept, and all faces found
    assert detector.looks == 30


def test_other_cuts_and_models_have_embeddings_of_their_own(folder, model, detector, tmp_path):
    images = image_refs_of(folder)
    plain = Embedder(model, detector, tmp_path / "cache").embed(images)
    turned = Embedder(
        model, detector, tmp_path / "cache", label="mirrored", cut=mirrored(model.crop.cut)
    ).embed(images)
    assert turned.computed == 30 and detector.looks == 30  # the faces are the same
    assert not np.allclose(plain.vectors, turned.vectors)


def test_failures_to_enrol_are_named(folder, model, detector, tmp_path):
    black, broken = tmp_path / "black.jpg", tmp_path / "broken.jpg"
    save_jpeg(np.zeros((64, 64, 3), np.uint8), black)
    broken.write_bytes(b"no image")
    images = [
        file_image_ref(black, "black"),
        file_image_ref(broken, "broken"),
        file_image_ref(tmp_path / "gone.jpg", "gone"),
        *image_refs_of(folder)[:1],
    ]
    for _ in range(2):  # the second time from the cache
        found = Embedder(model, detector, tmp_path / "cache").embed(images)
        assert found.enrolled.tolist() == [False, False, False, True]
        assert [name for name, _ in found.failures] == ["black", "broken", "gone"]
        assert found.failures[0][1] == "no face found"
    assert detector.looks == 2


def test_ready_crops_are_taken_as_they_are(folder, model, tmp_path):
    images = image_refs_of(folder)
    found = Embedder(model, None, tmp_path / "cache").embed(images)
    whole = [model.crop.array(image.decode()) for image in images]
    np.testing.assert_allclose(found.vectors, model.network(np.stack(whole)), atol=1e-6)


def test_a_change_sees_the_image_first(folder, model, detector, tmp_path):
    images, seen = image_refs_of(folder)[:2], []

    def blacken(image_rgb, key):
        seen.append(key)
        return np.zeros_like(image_rgb)

    changed = Embedder(
        model, detector, tmp_path / "cache", detection_label="black", change=blacken
    ).embed(images)
    assert not changed.enrolled.any()
    assert seen == [content_id(image.read()) for image in images]
