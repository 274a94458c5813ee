"""Bad conditions are the same each time, and a remedy helps only where the pairs say so."""

import numpy as np
import pytest

from facesync.evaluation import conditions, crop_variants
from facesync.evaluation.degradations import DEGRADATIONS
from facesync.evaluation.protocols import read_lfw_pairs
from facesync.evaluation.settings import EvaluateSettings
from facesync.faces import lighting
from facesync.faces.detection import Face
from tests.evaluation.conftest import MiddleDetector, photograph


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_each_condition_changes_the_image_and_always_alike(name):
    image_rgb = np.ascontiguousarray(photograph(1, 1).repeat(3, axis=0).repeat(3, axis=1))
    before = image_rgb.copy()
    (face,) = MiddleDetector().detect(image_rgb)
    one, again = (DEGRADATIONS[name](image_rgb, face, np.random.default_rng(1)) for _ in range(2))
    assert one.dtype == np.uint8 and one.shape[2] == 3
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(image_rgb, before)  # what came in is left alone
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
    assert conditions.significantly_better(old, old) is False


def test_a_study_from_pairs_to_table(pairs_file, folder, model, detector, tmp_path):
    pairs = read_lfw_pairs(pairs_file, folder)
    settings = EvaluateSettings("m", tmp_path, condition_pairs=4)
    found = conditions.study(settings, model, detector, pairs, 0.5, tmp_path / "cache")
    assert found["pairs"] == 8
    assert [row[0] for row in found["table"][1:]] == ["as they are", *DEGRADATIONS]
    assert all(len(row) == len(conditions.HEADING) for row in found["table"])
    assert found["accuracy"]["as they are"]["nothing"] == 1
    assert found["accuracy"]["dark"]["nothing"] <= 1
    looks = detector.looks
    again = conditions.study(settings, model, detector, pairs, 0.5, tmp_path / "cache")
    assert again == found and detector.looks == looks  # all from the cache


def test_gamma_brings_the_mean_back():
    dark = (photograph(1, 1) * 0.2).astype(np.uint8)
    bright = np.clip(photograph(1, 1) * 0.3 + 180, 0, 255).astype(np.uint8)
    for image_rgb in (dark, bright):
        corrected = lighting.correct_gamma(image_rgb)
        off = abs(lighting.brightness(corrected) - 0.45)
        assert off < min(0.15, abs(lighting.brightness(image_rgb) - 0.45))
    black = np.zeros((8, 8, 3), np.uint8)
    assert lighting.correct_gamma(black).max() == 0


def test_clahe_raises_contrast_and_keeps_grey_grey():
    ramp = np.linspace(100, 130, 64).astype(np.uint8)
    grey = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (64, 64, 3)))
    evened = lighting.equalize(grey)
    assert evened.std() > grey.std()
    assert np.ptp(evened.astype(int), axis=2).max() <= 2


def test_a_small_face_is_looked_for_at_twice_the_size():
    class NearSighted(MiddleDetector):
        def detect(self, image_rgb):
            return super().detect(image_rgb) if image_rgb.shape[0] >= 100 else []

    (small,) = lighting.detect_enlarged(NearSighted(), photograph(1, 1))
    (large,) = MiddleDetector().detect(photograph(1, 1))
    np.testing.assert_allclose(small.box_xyxy, large.box_xyxy)
    np.testing.assert_allclose(small.landmarks, large.landmarks)
    assert lighting.detect_enlarged(MiddleDetector(), np.zeros((64, 64, 3), np.uint8)) == []


@pytest.fixture
def face():
    box = np.array([100, 80, 180, 200], np.float32)
    points = [[120, 120], [160, 120], [140, 140], [125, 170], [155, 170]]
    return Face(box, np.array(points, np.float32), 0.99)


def test_the_boxes_of_the_two_facenets(face):
    """The margin is in pixels of the result in one, of the photograph in the other."""
    seen = []

    def shape_only(crop_rgb):
        seen.append(crop_rgb.shape[:2])
        return crop_rgb

    image_rgb = np.zeros((400, 400, 3), np.uint8)
    for cut in (
        crop_variants.box_facenet_pytorch(0, shape_only),
        crop_variants.box_facenet_pytorch(32, shape_only),
        crop_variants.box_facenet(32, shape_only),
    ):
        cut(image_rgb, face)
    assert seen == [(120, 80), (150, 100), (152, 112)]


def test_every_way_to_cut_gives_160_pixels(face, detector):
    from facesync.evaluation.crop_study import ways

    image_rgb = np.random.default_rng(1).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    for way in ways(detector):
        crop = way.cut(image_rgb, face)
        size = 112 if way.label == "points-112" else 160
        assert crop.shape == (size, size, 3) and crop.dtype == np.uint8, way.name
    labels = [(way.label, way.swapped_detection) for way in ways(detector)]
    assert len(set(labels)) == len(labels)


def test_five_points_meet_the_template(face):
    from facesync.faces.crops import TEMPLATE_112

    image_rgb = np.zeros((300, 300, 3), np.uint8)
    x, y = face.landmarks[2].astype(int)
    image_rgb[y - 2 : y + 3, x - 2 : x + 3] = 255
    crop = crop_variants.five_points(1.0)(image_rgb, face)
    rows, columns = np.nonzero(crop[..., 0] > 128)
    nose = np.array([columns.mean(), rows.mean()])
    assert np.abs(nose - TEMPLATE_112[2] * 160 / 112).max() < 12  # least squares: near, not on it


def test_mistakes_and_mirrors(face):
    image_rgb = np.random.default_rng(1).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    cut = crop_variants.square(1.3)
    plain = cut(image_rgb, face)
    np.testing.assert_array_equal(crop_variants.swapped(cut)(image_rgb, face), plain[..., ::-1])
    np.testing.assert_array_equal(crop_variants.mirrored(cut)(image_rgb, face), plain[:, ::-1])


def test_mean_subtraction_uses_the_other_folds_only(pairs_file, folder, model, detector, tmp_path):
    from facesync.evaluation.crop_study import subtracted_accuracy
    from facesync.evaluation.embeddings import Embedder

    pairs = read_lfw_pairs(pairs_file, folder)
    vectors = Embedder(model, detector, tmp_path / "cache").embed(pairs.images).vectors
    assert subtracted_accuracy(pairs, vectors).mean == 1
    # Moving all images of fold 0 alike must not move the threshold that judges it.
    moved = vectors.copy()
    members = np.unique(np.concatenate([pairs.left[:4], pairs.right[:4]]))
    moved[members] = -moved[members]
    one, other = subtracted_accuracy(pairs, vectors), subtracted_accuracy(pairs, moved)
    assert one.thresholds[0] == pytest.approx(other.thresholds[0])
