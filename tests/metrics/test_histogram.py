"""Counted similarities give the rates of the similarities themselves, within one bin."""

import tracemalloc

import numpy as np
import pytest

from facesync.metrics.histogram import BINS_PER_UNIT, Histogram
from facesync.metrics.pairs import all_pairs, count_pairs
from facesync.metrics.rates import roc, tar_at_far

BIN = 1 / BINS_PER_UNIT


def counted(similarities):
    histogram = Histogram()
    histogram.add_scaled(np.float32(similarities) * np.float32(BINS_PER_UNIT))
    return histogram


def faces(people, each, spread=1.4, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(people, 1, 512))
    vectors = (centres + spread * generator.normal(size=(people, each, 512))).reshape(-1, 512)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"p{n}" for n in range(people) for _ in range(each)]


def test_counts_at_an_edge_are_exact():
    similarities = np.float32([-1, -0.5, 0, BIN, BIN * 0.999, 0.25, 1, 1.0000001])
    found = counted(similarities)
    for edge in (-1, -0.5, 0, BIN, 2 * BIN, 0.25, 0.25 + BIN, 1, 1 + 2 * BIN, np.inf, -np.inf):
        assert found.at_least(edge) == (similarities >= edge).sum()
    assert len(found) == 8
    inside = 0.25 + BIN / 2  # all of its bin counts
    assert found.at_least(inside) == (similarities >= 0.25).sum()


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_those_of_the_similarities_within_one_bin(seed):
    vectors, who = faces(120, 8, seed=seed)
    vectors[[5, 77]] = np.nan
    order = np.random.default_rng(seed).permutation(len(who))  # people need not stand together
    vectors, who = vectors[order], [who[n] for n in order]
    exact, found = all_pairs(vectors, who), count_pairs(vectors, who, 10**6)
    assert (found.images, found.identities) == (exact.images, exact.identities) == (958, 120)
    assert len(found.genuine) == len(exact.genuine)
    assert len(found.impostor) == len(exact.impostor)
    for far in (1e-1, 1e-2, 1e-3, 1e-4):
        one, other = exact.tar_at_far(far), found.tar_at_far(far)
        assert one is not None and other is not None
        assert 0 <= other.threshold - one.threshold <= BIN * 1.01
        # Exactly what that threshold gives, which holds the rate.
        assert other.tar == pytest.approx((exact.genuine >= other.threshold).mean(), abs=1e-3)
        assert (exact.impostor >= other.threshold).mean() <= far + 1e-6
        within = (exact.genuine >= one.threshold) & (exact.genuine < one.threshold + 2 * BIN)
        slack = within.mean() + 1e-12
        assert 0 <= one.tar - other.tar <= slack
        assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=slack + 1e-3)
        assert (
            0
            <= found.let_in(one.threshold) - exact.let_in(one.threshold)
            <= len(exact.impostor) * 1e-3
        )
    assert found.tar_at_far(1e-6) is exact.tar_at_far(1e-6) is None  # too few pairs
    assert found.roc().eer == pytest.approx(exact.roc().eer, abs=1e-3)
    assert found.roc().auc == pytest.approx(exact.roc().auc, abs=1e-4)


def test_equal_similarities_and_rates_of_one():
    genuine, impostor = np.float32([0.5] * 30), np.float32([0.5] * 100)
    both = counted(genuine), counted(impostor)
    from facesync.metrics.rates import counted_roc, counted_tar_at_far

    found, exact = counted_tar_at_far(*both, 0.1), tar_at_far(genuine, impostor, 0.1)
    assert found.tar == exact.tar == 0  # all impostors or none
    assert counted_tar_at_far(*both, 1.0).tar == tar_at_far(genuine, impostor, 1.0).tar == 1
    scores, same = np.append(genuine, impostor), np.arange(130) < 30
    assert counted_roc(*both).eer == pytest.approx(roc(scores, same).eer) == 0.5
    assert counted_tar_at_far(Histogram(), both[1], 0.1) is None


def test_of_too_many_images_the_same_people_are_sampled(monkeypatch):
    vectors, who = faces(60, 4)
    monkeypatch.setattr("facesync.metrics.pairs.MAX_IMAGES", 100)
    exact, found = all_pairs(vectors, who, seed=3), count_pairs(vectors, who, 100, seed=3)
    assert (found.images, found.identities) == (exact.images, exact.identities) == (100, 25)
    assert len(found.genuine) == len(exact.genuine)
    middle = float(np.median(exact.impostor))
    assert found.let_in(middle) == pytest.approx(exact.let_in(middle), abs=20)


def test_memory_does_not_grow_with_the_pairs(monkeypatch):
    monkeypatch.setattr("facesync.metrics.pairs._ROWS", 256)
    monkeypatch.setattr("facesync.metrics.pairs._BLOCK", 256)
    peaks = []
    for people in (200, 800):
        vectors, who = faces(people, 4)
        tracemalloc.start()
        count_pairs(vectors, who, 10**6)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.6 * peaks[0]  # 16 times the pairs
