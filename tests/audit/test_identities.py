from __future__ import annotations

import numpy as np
import pytest

from facesync.audit import identities
from facesync.audit.identities import (
    centroids,
    coherence,
    impostor_similarity,
    members_of,
    nearest_other_person,
    own_similarity,
    similar_pairs,
    split_in_two,
    unit,
)

RNG = np.random.default_rng(1)
CENTRES = unit(RNG.normal(size=(4, 64))).astype(np.float32)


def around(person: int, count: int) -> np.ndarray:
    return unit(CENTRES[person] + RNG.normal(0, 0.08, (count, 64))).astype(np.float32)


@pytest.fixture
def three():
    """Three people of 6, 5 and 7 images; the last image of 0 shows person 2."""
    vectors = np.concatenate([around(0, 5), around(2, 1), around(1, 5), around(2, 7)])
    labels = np.repeat([0, 1, 2], [6, 5, 7])
    return vectors, labels, np.ones(len(labels), dtype=bool)


def test_members_by_label():
    found = {label: m.tolist() for label, m in members_of(np.array([2, 0, 2, 5]))}
    assert found == {0: [1], 2: [0, 2], 5: [3]}
    assert list(members_of(np.array([], dtype=int))) == []


def test_an_outlier_does_not_move_the_centroid(three):
    means = centroids(*three)
    assert np.flatnonzero(~means.counts).tolist() == [5]
    assert (np.sum(means.directions * CENTRES[:3], axis=1) > 0.95).all()


def test_an_image_is_compared_with_the_others_of_its_identity(three):
    vectors, labels, usable = three
    own = own_similarity(vectors, labels, centroids(vectors, labels, usable))
    by_hand = vectors[6] @ unit(vectors[7:11].sum(axis=0))
    assert own[6] == pytest.approx(by_hand, abs=1e-5)
    assert own[5] < 0.4 and np.delete(own, 5).min() > 0.7


def test_without_others_there_is_nothing_to_compare_with():
    vectors = around(0, 3)
    labels = np.array([0, 1, 1])
    means = centroids(vectors, labels, np.array([True, False, True]))
    own = own_similarity(vectors, labels, means)
    assert np.isnan(own).tolist() == [True, False, True]
    assert own[1] == pytest.approx(float(vectors[1] @ vectors[2]), abs=1e-5)


def test_the_nearest_other_person(three):
    vectors, labels, usable = three
    directions = centroids(vectors, labels, usable).directions
    nearest, similarity = nearest_other_person(vectors, labels, directions, np.arange(3))
    assert nearest[5] == 2 and similarity[5] > 0.7
    assert (nearest != labels).all()
    nearest, _ = nearest_other_person(vectors, labels, directions, np.array([0, 1, 0]))
    assert nearest[5] == 1
    nearest, similarity = nearest_other_person(vectors, labels, directions, np.zeros(3, dtype=int))
    assert (nearest == -1).all() and (similarity == -1).all()


def test_impostor_similarity_is_low(three):
    vectors, labels, usable = three
    directions = centroids(vectors, labels, usable).directions
    assert abs(impostor_similarity(vectors, labels, directions)) < 0.3
    assert impostor_similarity(vectors, np.zeros(18, dtype=int), directions[:1]) == 0.0


def test_two_people_are_split_and_one_is_not():
    smaller, similarity = split_in_two(np.concatenate([around(0, 4), around(1, 6)]))
    assert smaller.tolist() == [True] * 4 + [False] * 6
    assert similarity < 0.3
    smaller, similarity = split_in_two(around(0, 9))
    assert smaller.sum() <= 4 and similarity > 0.7


def test_equal_images_are_not_split():
    smaller, similarity = split_in_two(np.repeat(around(0, 1), 5, axis=0))
    assert not smaller.any() and similarity == 1.0


def test_coherence_is_the_mean_of_all_pairs():
    vectors = around(0, 5)
    pairs = [vectors[i] @ vectors[j] for i in range(5) for j in range(5) if i != j]
    assert coherence(vectors) == pytest.approx(np.mean(pairs), abs=1e-5)
    assert coherence(vectors[:1]) == 0.0


@pytest.mark.parametrize("rows_at_once", [1, 4, 7, 100])
def test_similar_pairs_do_not_depend_on_the_blocks(rows_at_once, monkeypatch):
    monkeypatch.setattr(identities, "_ROWS", rows_at_once)
    vectors = np.concatenate([around(0, 5), around(1, 5), around(0, 3)])
    found = {(i, j): value for i, j, value in similar_pairs(vectors, 0.6)}
    everything = vectors @ vectors.T
    assert set(found) == {(int(i), int(j)) for i, j in np.argwhere(np.triu(everything >= 0.6, 1))}
    assert all(value == pytest.approx(everything[pair], abs=1e-5) for pair, value in found.items())
