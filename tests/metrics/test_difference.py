from __future__ import annotations

import numpy as np
import pytest

from facesync.metrics import difference
from facesync.metrics.difference import tar_difference
from facesync.metrics.pairs import all_pairs

FAR = 1e-2


def drawn(people: int, noise: float, seed: int = 1) -> tuple[np.ndarray, list[str]]:
    """Four images of each person around a random direction."""
    rng = np.random.default_rng(0)
    names = [f"p{number:03d}" for number in range(people) for _ in range(4)]
    centres = rng.normal(size=(people, 32)).repeat(4, axis=0)
    vectors = centres + noise * np.random.default_rng(seed).normal(size=centres.shape)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), names


def test_the_same_embeddings_do_not_differ_whatever_their_order():
    vectors, names = drawn(12, 1.0)
    order = np.random.default_rng(3).permutation(len(names))
    turned = vectors[order], [names[index] for index in order]
    assert tar_difference((vectors, names), turned, FAR) == pytest.approx((0, 0), abs=1e-9)


def test_a_clear_difference_is_beyond_zero_and_holds_the_measured_one():
    good, bad = drawn(60, 0.6), drawn(60, 1.3)
    low, high = tar_difference(good, bad, FAR)
    tars = [all_pairs(np.float32(v), names).roc().tar_at(FAR) for v, names in (good, bad)]
    assert 0 < low < tars[0] - tars[1] < high
    assert tar_difference(bad, good, FAR) == pytest.approx((-high, -low))


def test_ten_people_leave_more_open_than_a_hundred():
    """Two models that are equally good, each wrong in its own way."""
    few, many = (
        tar_difference(drawn(people, 0.9), drawn(people, 0.9, seed=2), FAR) for people in (10, 100)
    )
    assert few[1] - few[0] > 1.5 * (many[1] - many[0])
    assert few[0] < 0 < few[1]


def test_everybody_once_is_the_plain_tar():
    """With weight 1 for all, TAR is the share of genuine pairs above the impostors let through."""
    vectors, names = drawn(30, 1.0)
    numbers = np.unique(names, return_inverse=True)[1]
    scores = difference._scores(vectors, numbers, FAR)
    pairs = all_pairs(np.float32(vectors), names)
    allowed = int(FAR * len(pairs.impostor))
    threshold = np.sort(pairs.impostor)[::-1][allowed]
    expected = (pairs.genuine > threshold).mean()
    assert 0.2 < expected < 0.9
    found = scores.tar(np.ones(30, int), FAR * len(pairs.impostor))
    assert found == pytest.approx(expected, abs=1e-6)


def test_only_the_most_similar_impostors_are_kept_and_that_changes_nothing(monkeypatch):
    one, other = drawn(60, 0.9), drawn(60, 1.0)
    expected = tar_difference(one, other, 1e-3)
    monkeypatch.setattr(difference, "_LEAST", 400)
    monkeypatch.setattr(difference, "_BLOCK", 64)
    assert tar_difference(one, other, 1e-3) == pytest.approx(expected)
