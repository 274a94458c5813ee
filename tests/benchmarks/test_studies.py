"""The long studies: conditions are the same each time, significance is exact, crops fit."""

import numpy as np
import pytest

from benchmarks.long import conditions, crops
from benchmarks.long.degradations import DEGRADATIONS
from facesync.evaluation.embeddings import Embedder
from facesync.evaluation.protocols import read_lfw_pairs
from facesync.faces import lighting
from facesync.faces.crops import TEMPLATE_112
from facesync.faces.detection import Face
from tests.evaluation.conftest import MiddleDetector, photograph


@pytest.fixture
def face():
    box = np.array([100, 80, 180, 200], np.float32)
    points = [[120, 120], [160, 120], [140, 140], [125, 170], [155, 170]]
    return Face(box, np.array(points, np.float32), 0.99)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_each_condition_changes_the_image_and_always_alike(name):
    image_rgb = np.ascontiguousarray(photograph(1, 1).repeat(3, axis=0).repeat(3, axis=1))
    before = image_rgb.copy()
    (face,) = MiddleDetector().detect(image_rgb)
    one, again = (DEGRADATIONS[name](image_rgb, face, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(image_rgb, before)  # the input is left alone
    if name == "32 px":
        assert one.shape == (64, 64, 3)  # the face was 96 pixels
    else:
        assert one.shape == image_rgb.shape and (one != image_rgb).any()


def test_significance_by_hand():
    old = np.zeros(20, bool)
    for won, expected in ((5, False), (6, True)):  # 2 / 2^5 > 0.05 >= 2 / 2^6
        new = old.copy()
        new[:won] = True
        assert conditions.significantly_better(new, old) is expected
        assert conditions.significantly_better(old, new) is False


def test_a_study_of_conditions(pairs_file, folder, model, detector, tmp_path):
    pairs = read_lfw_pairs(pairs_file, folder)
    found = conditions.study(model, detector, pairs, 4, 42, tmp_path / "cache")
    assert found["pairs"] == 8 and list(found["accuracy"]) == ["original", *DEGRADATIONS]
    assert found["accuracy"]["original"]["none"] == 1
    looks = detector.looks
    assert conditions.study(model, detector, pairs, 4, 42, tmp_path / "cache") == found
    assert detector.looks == looks  # all from the cache


def test_gamma_corrects_the_mean():
    dark = (photograph(1, 1) * 0.2).astype(np.uint8)
    bright = np.clip(photograph(1, 1) * 0.3 + 180, 0, 255).astype(np.uint8)
    for image_rgb in (dark, bright):
        error = abs(lighting.brightness(conditions.correct_gamma(image_rgb)) - 0.45)
        assert error < min(0.15, abs(lighting.brightness(image_rgb) - 0.45))


def test_a_small_face_is_detected_at_twice_the_size():
    class NearSighted(MiddleDetector):
        def detect(self, image_rgb):
            return super().detect(image_rgb) if image_rgb.shape[0] >= 100 else []

    (small,) = conditions.EnlargingDetector(NearSighted()).detect(photograph(1, 1))
    (large,) = MiddleDetector().detect(photograph(1, 1))
    np.testing.assert_allclose(small.box_xyxy, large.box_xyxy)
    np.testing.assert_allclose(small.landmarks, large.landmarks)


def test_margins_of_the_two_facenets(face):
    """In pixels of the result in one, of the photograph in the other."""
    shapes = [
        crop(np.zeros((400, 400, 3), np.uint8), face).shape[:2]
        for crop in (
            crops.box_facenet_pytorch(0, lambda crop_rgb: crop_rgb),
            crops.box_facenet_pytorch(32, lambda crop_rgb: crop_rgb),
            crops.box_facenet(32, lambda crop_rgb: crop_rgb),
        )
    ]
    assert shapes == [(120, 80), (150, 100), (152, 112)]


def test_every_crop_has_the_models_size(face, detector):
    image_rgb = np.random.default_rng(1).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    methods = crops.crop_methods(detector)
    for method in methods:
        size = 112 if method.label == "points-112" else 160
        assert method.crop(image_rgb, face).shape == (size, size, 3), method.name
    assert len({(method.label, method.bgr_detection) for method in methods}) == len(methods)


def test_five_points_meet_the_template(face):
    image_rgb = np.zeros((300, 300, 3), np.uint8)
    x, y = face.landmarks[2].astype(int)
    image_rgb[y - 2 : y + 3, x - 2 : x + 3] = 255
    rows, columns = np.nonzero(crops.five_points(1.0)(image_rgb, face)[..., 0] > 128)
    nose = np.array([columns.mean(), rows.mean()])
    assert np.abs(nose - TEMPLATE_112[2] * 160 / 112).max() < 12  # least squares: near, not on it


def test_mean_subtraction_uses_the_other_folds_only(pairs_file, folder, model, detector, tmp_path):
    pairs = read_lfw_pairs(pairs_file, folder)
    vectors = Embedder(model, detector, tmp_path / "cache").embed(pairs.images).vectors[:]
    one = crops.subtracted_accuracy(pairs, vectors)
    assert one.mean == 1
    # Moving all images of fold 0 alike must not move its threshold.
    moved = vectors.copy()
    members = np.unique(np.concatenate([pairs.left[:4], pairs.right[:4]]))
    moved[members] = -moved[members]
    other = crops.subtracted_accuracy(pairs, moved)
    assert one.thresholds[0] == pytest.approx(other.thresholds[0])


def test_the_first_folds(pairs_file, folder):
    pairs = crops.first_folds(read_lfw_pairs(pairs_file, folder), 2)
    assert (pairs.folds, len(pairs.same), len(pairs.images)) == (2, 8, 14)
    one = crops.first_folds(read_lfw_pairs(pairs_file, folder), 1)
    assert (len(one.same), one.folds) == (4, 2)
