from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from facesync.audit.duplicates import (
    SAME_PIXELS,
    changed_copies,
    detail_correlation,
    fine_detail,
    same_bytes,
)
from tests.evaluation.drawn_people import jpeg, person_pixels

ORIGINAL = Image.fromarray(person_pixels(1, 1))


def recompressed(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(jpeg(np.asarray(image), quality=40)))


CHANGES = {
    "nothing": lambda image: image,
    "recompressed": recompressed,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cut": lambda image: image.crop((6, 3, 110, 107)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "half the size": lambda image: image.resize((56, 56)),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_images_have_the_same_detail(change):
    changed = np.asarray(CHANGES[change](ORIGINAL))
    found = detail_correlation(fine_detail(np.asarray(ORIGINAL)), fine_detail(changed))
    assert SAME_PIXELS <= found <= 1.001


@pytest.mark.parametrize("other", [person_pixels(1, 2), person_pixels(2, 1)], ids=["own", "other"])
def test_another_photograph_has_other_detail(other):
    found = detail_correlation(fine_detail(np.asarray(ORIGINAL)), fine_detail(other))
    assert found < SAME_PIXELS - 0.2


def test_even_images_correlate_with_nothing():
    even = np.full((112, 112, 3), 90, np.uint8)
    one, other = fine_detail(even), fine_detail(np.asarray(ORIGINAL))
    assert detail_correlation(one, other) == detail_correlation(other, one) == 0.0


def test_same_bytes_come_in_groups():
    ids = np.array([b"b", b"a", b"c", b"b", b"a", b"b"])
    assert [group.tolist() for group in same_bytes(ids)] == [[1, 4], [0, 3, 5]]
    assert list(same_bytes(np.array([b"a", b"b"]))) == []


def test_only_candidates_are_compared():
    images = [person_pixels(1, 1), person_pixels(1, 1), person_pixels(1, 2)]
    vectors = np.ones((3, 1), dtype=np.float32)
    opened: list[int] = []

    def image(index: int) -> np.ndarray:
        opened.append(index)
        return images[index]

    pairs = list(changed_copies(vectors, np.ones(3, dtype=bool), image))
    assert [pair[:2] for pair in pairs] == [(0, 1)]
    assert sorted(opened) == [0, 1, 2]
    opened.clear()
    assert list(changed_copies(vectors, np.array([True, False, False]), image)) == []
    assert opened == []
