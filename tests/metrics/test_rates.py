"""Error rates, checked against scikit-learn and by hand."""

import numpy as np
import pytest

from facesync.metrics import rates
from facesync.metrics.rates import (
    best_threshold,
    fold_accuracy,
    identification,
    roc,
    supports,
    tar_at_far,
    threshold_at,
    wilson,
)
from facesync.metrics.vectors import blocks

reference = pytest.importorskip("sklearn.metrics")


def drawn(seed, genuine=300, impostor=500, digits=None):
    generator = np.random.default_rng(seed)
    scores = np.concatenate(
        [generator.normal(0.6, 0.2, genuine), generator.normal(0.1, 0.2, impostor)]
    )
    same = np.arange(genuine + impostor) < genuine
    order = generator.permutation(len(same))
    return (scores if digits is None else scores.round(digits))[order], same[order]


@pytest.mark.parametrize("digits", [None, 1], ids=["distinct", "many ties"])
def test_roc_and_auc_are_those_of_scikit_learn(digits):
    scores, same = drawn(1, digits=digits)
    ours = roc(scores, same)
    far, tar, thresholds = reference.roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(ours.far, far, atol=1e-12)
    np.testing.assert_allclose(ours.tar, tar, atol=1e-12)
    np.testing.assert_allclose(ours.thresholds, thresholds)
    assert ours.auc == pytest.approx(reference.roc_auc_score(same, scores), abs=1e-12)


def test_pairs_that_could_not_be_compared_come_last():
    scores, same = drawn(2)
    scores[:20] = -np.inf
    worst = np.where(np.isinf(scores), -9.0, scores)
    assert roc(scores, same).auc == pytest.approx(reference.roc_auc_score(same, worst))


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),
        ([0.1, 0.2], [0.8, 0.9], 1.0),
        ([0.9, 0.8, 0.7, 0.2], [0.6, 0.1, 0.1, 0.1], 0.25),
        ([0.5, 0.5], [0.5, 0.5], 0.5),
    ],
)
def test_equal_error_rate_by_hand(genuine, impostor, expected):
    same = np.arange(len(genuine) + len(impostor)) < len(genuine)
    assert roc(np.array(genuine + impostor), same).eer == pytest.approx(expected)


@pytest.mark.parametrize(
    ("genuine", "impostor", "accuracy"),
    [
        ([0.9, 0.8], [0.1, 0.2], 1.0),
        ([0.9, 0.3], [0.4, 0.1, 0.2], 0.8),
        ([0.1], [0.2, 0.3], 2 / 3),  # rejecting everything is best
        ([0.2, 0.3], [0.9], 2 / 3),  # accepting everything is best
    ],
)
def test_best_threshold_gives_the_highest_accuracy(genuine, impostor, accuracy):
    scores = np.array(genuine + impostor)
    same = np.arange(len(scores)) < len(genuine)
    threshold = best_threshold(scores, same)
    assert ((scores >= threshold) == same).mean() == pytest.approx(accuracy)
    assert -1 <= threshold <= 1


def test_best_threshold_is_the_best_of_all():
    scores, same = drawn(3, digits=2)
    scores[::50] = -np.inf
    tried = max(((scores >= t) == same).mean() for t in np.arange(-1, 2, 0.001))
    threshold = best_threshold(scores, same)
    assert ((scores >= threshold) == same).mean() == pytest.approx(tried)


def test_a_fold_is_evaluated_at_the_threshold_of_the_others():
    """Fold 0 would be perfect with 0.25, but the others put the threshold at 0.65."""
    scores = np.array([0.4, 0.1, 0.9, 0.4, 0.8, 0.5])
    same = np.array([True, False] * 3)
    fold = np.array([0, 0, 1, 1, 2, 2])
    found = fold_accuracy(scores, same, fold)
    assert found.thresholds[0] == pytest.approx(0.65)
    assert found.by_fold[0] == 0.5
    # The content of a fold does not change its threshold.
    for number in range(3):
        changed = np.where(fold == number, np.random.default_rng(0).random(6), scores)
        again = fold_accuracy(changed, same, fold)
        assert again.thresholds[number] == found.thresholds[number]


def test_mean_and_deviation_are_over_folds():
    scores = np.array([0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.2, 0.8])
    same = np.array([True, False] * 4)
    found = fold_accuracy(scores, same, np.repeat([0, 1], 4))
    assert found.by_fold == [1.0, 0.5]
    assert (found.mean, found.std) == (0.75, 0.25)


def test_threshold_at_a_rate_by_hand():
    impostor = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    for far, accepted in ((0.1, 1), (0.25, 2), (0.3, 3), (0.05, 0)):
        assert (impostor >= threshold_at(impostor, far)).sum() == accepted
    assert threshold_at(impostor, 1.0) == -1
    tied = np.array([0.9, 0.8, 0.8, 0.8, 0.1])
    assert (tied >= threshold_at(tied, 0.4)).sum() == 1  # accepting one of the tied accepts all


def test_tar_at_far_by_hand_and_never_beyond_what_the_pairs_support():
    impostor = np.arange(1000) / 1000
    genuine = np.array([0.95, 0.99, 0.991, 0.5])
    found = tar_at_far(genuine, impostor, 0.01)  # ten may pass: those from 0.990 on
    assert found.tar == 0.5
    assert (impostor >= found.threshold).sum() == 10
    assert found.low <= found.tar <= found.high
    assert tar_at_far(genuine, impostor, 0.001) is None
    assert supports(0.01, 1000) and not supports(0.01, 999)


def test_single_precision_does_not_accept_a_tie():
    impostor = np.full(1000, 0.3, dtype=np.float32)
    assert tar_at_far(np.full(5, 0.3, dtype=np.float32), impostor, 0.1).tar == 0


def test_the_interval_is_that_of_an_ordinary_bootstrap():
    scores, same = drawn(4, 200, 400)
    genuine, impostor = scores[same], scores[~same]
    found = tar_at_far(genuine, impostor, 0.05)
    generator = np.random.default_rng(0)
    slow = [
        (
            generator.choice(genuine, 200)
            >= threshold_at(np.sort(generator.choice(impostor, 400))[::-1], 0.05)
        ).mean()
        for _ in range(2000)
    ]
    assert (found.low, found.high) == pytest.approx(
        tuple(np.percentile(slow, [2.5, 97.5])), abs=0.02
    )


def test_wilson_interval_by_hand():
    # Brown, Cai and DasGupta (2001) and every calculator: 5 of 10 gives 0.2366 … 0.7634.
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def axis(*places):
    """Unit vectors between axes: `axis((0, 1.0), (1, 0.2))` is mostly along the first."""
    vector = np.zeros(512, dtype=np.float32)
    for place, value in places:
        vector[place] = value
    return vector / np.linalg.norm(vector)


def test_identification_by_hand():
    """Two of four people are enrolled, each with a probe."""
    identities = [name for name in "abcd" for _ in range(2)]
    vectors = np.array([axis((place, 1.0)) for place in (0, 0, 1, 1, 2, 2, 3, 3)])
    strangers = np.array([axis((9, 1.0), (0, 0.01 * n)) for n in range(1000)])
    names = identities + [f"stranger {n}" for n in range(1000)]
    found = identification(np.concatenate([vectors, strangers]), names, seed=0)
    assert (found.gallery, found.probes, found.strangers) == (2, 2, 1004)
    assert found.dir == found.rank1 == 1.0
    vectors[[0, 2, 4, 6]] = [axis((20 + n, 1.0)) for n in range(4)]  # nobody matches their template
    found = identification(np.concatenate([vectors, strangers]), names, seed=0)
    assert found.dir == 0


def test_identification_refuses_a_rate_that_the_strangers_cannot_support():
    vectors = np.array([axis((place, 1.0)) for place in (0, 0, 1, 1)])
    found = identification(vectors, list("aabb"))
    assert found.dir is None and found.threshold is None and found.rank1 == 1
    assert identification(vectors, list("abcd")) is None


def test_probes_without_an_embedding_are_not_identified():
    vectors = np.array([axis((place, 1.0)) for place in (0, 0, 0, 1, 1, 1)])
    whole = identification(vectors, list("aaabbb"), seed=1)
    vectors[[1, 4]] = np.nan
    found = identification(vectors, list("aaabbb"), seed=1)
    assert whole.probes == found.probes == 2
    assert (whole.rank1, found.rank1) == (1.0, 0.5)


def test_identification_has_limits_that_small_sets_do_not_reach(monkeypatch):
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(600, 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    who = [f"p{n % 60}" for n in range(600)]
    whole = rates.identification(vectors, who)
    assert (whole.gallery, whole.probes, whole.strangers) == (30, 270, 300)
    assert rates.identification(vectors, who, most=30) == whole
    few = rates.identification(vectors, who, most=5)
    assert (few.gallery, few.probes, few.strangers) == (5, 45, 550)
    monkeypatch.setattr(rates, "MOST_SEARCHES", 100)
    found = rates.identification(vectors, who)
    assert (found.gallery, found.probes, found.strangers) == (30, 100, 100)


def test_the_most_similar_are_the_same_in_any_blocks(monkeypatch):
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(200, 512)).astype(np.float32)
    vectors[7] = np.nan
    probes, templates = np.arange(120), np.arange(120, 200)
    whole = rates._most_similar(vectors, probes, templates)
    expected = np.nan_to_num(vectors[:120] @ vectors[120:].T, nan=-np.inf)
    np.testing.assert_array_equal(whole[1][8:], expected.argmax(axis=1)[8:])
    monkeypatch.setattr(rates, "_PROBES", 11)
    monkeypatch.setattr(rates, "blocks", lambda rows, size=7: blocks(rows, size))
    small = rates._most_similar(vectors, probes, templates)
    np.testing.assert_array_equal(small[1], whole[1])
    np.testing.assert_allclose(small[0], whole[0], rtol=1e-5)
    assert whole[0][7] == small[0][7] == -np.inf
