"""Simulated attacks: what changes, what must not, and where the frame ends."""

import numpy as np
import pytest

from facesync.liveness import recapture
from facesync.liveness.recapture import Crop

SIDE = 96
FRAME, FACE = (16.0, 0.0, 80.0, 96.0), (34.0, 30.0, 62.0, 66.0)


@pytest.fixture
def crop():
    image = np.random.default_rng(1).integers(100, 140, (SIDE, SIDE, 3)).astype(np.uint8)
    image[:, :16] = image[:, 80:] = 0
    return Crop(image, FRAME, FACE)


def drawn(make, times=60):
    return [make(np.random.default_rng(seed)) for seed in range(times)]


@pytest.mark.parametrize("kind", ["print", "replay"])
def test_an_attack_shows_the_face_before_something_else(crop, kind):
    green = np.zeros((SIDE, SIDE, 3), np.uint8)
    green[..., 1] = 255
    attacks = drawn(lambda rng: recapture.attack(rng, crop, green, kind))
    shown = [attack.image_rgb[:, 16:80].astype(int) for attack in attacks]
    behind = [float((image[..., 1] - image[..., 0] > 90).mean()) for image in shown]
    assert 0.2 < np.mean(np.array(behind) > 0.02) < 0.9  # elsewhere the sheet fills the view
    for attack in attacks:
        assert attack.image_rgb.shape == crop.image_rgb.shape and attack.image_rgb.dtype == np.uint8
        assert attack.face == crop.face and attack.frame in (crop.frame, (0, 0, SIDE, SIDE))
        middle = attack.image_rgb[42:54, 42:54]
        assert not (middle[..., 1] > 200).all()  # the face itself is never covered by it


def test_a_print_has_neither_black_nor_white():
    bars = np.zeros((SIDE, SIDE, 3), np.uint8)
    bars[:, ::16] = bars[:, 1::16] = bars[:, 2::16] = 255
    whole = Crop(bars, (0, 0, SIDE, SIDE), FACE)
    prints = drawn(lambda rng: recapture.attack(rng, whole, bars, "print").image_rgb[40:56, 40:56])
    contrast = [float(np.ptp(np.percentile(image, [5, 95]))) for image in prints]
    assert np.median(contrast) < 0.9 * 255


def test_the_camera_is_the_same_for_the_same_draw(crop):
    one, other = (recapture.camera(np.random.default_rng(7), crop.image_rgb) for _ in range(2))
    assert np.array_equal(one, other)
    changed = drawn(
        lambda rng: float(
            np.abs(recapture.camera(rng, crop.image_rgb).astype(int) - crop.image_rgb).mean()
        )
    )
    assert np.mean(np.array(changed) > 1) > 0.8


def test_the_frame_ends_where_it_did_or_nearer_or_nowhere(crop):
    framed = drawn(lambda rng: recapture.frame_edge(rng, crop), 200)
    seen = np.array([float((image.max(axis=2) > 0).mean()) for image in framed])
    all_of_it = (FRAME[2] - FRAME[0]) / SIDE
    assert (seen > 0.99).any() and np.isclose(seen, all_of_it, atol=0.01).any()
    assert (seen < 0.9 * all_of_it).any()
    left, top, right, bottom = map(round, FACE)
    for image in framed:
        face = slice(top, bottom), slice(left, right)
        assert np.array_equal(image[face], crop.image_rgb[face])


@pytest.mark.parametrize("region", [(-5, -5, 2, 2), (90, 90, 120, 120), (40, 40, 40, 40)])
def test_a_region_is_never_empty(region):
    x0, y0, x1, y1 = recapture.whole(region, SIDE)
    assert 0 <= x0 <= x1 - 8 <= SIDE - 8 and 0 <= y0 <= y1 - 8 <= SIDE - 8


def test_skin_at_the_edge_of_a_crop_is_found():
    """The face may fill the whole source."""
    image = np.full((SIDE, SIDE, 3), 120, np.uint8)
    filled = Crop(image, (0, 0, SIDE, SIDE), (0.0, 0.0, 96.0, 96.0))
    for attack in drawn(lambda rng: recapture.attack(rng, filled, image, "replay"), 30):
        assert attack.image_rgb.shape == image.shape
