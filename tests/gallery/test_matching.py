"""The decision: most similar wins, the threshold decides, other models stay out."""

from __future__ import annotations

import numpy as np
import pytest

from facesync.gallery.matching import comparable, decide, refused
from tests.gallery.conftest import person, unit


def between(a: np.ndarray, b: np.ndarray, cosine: float) -> np.ndarray:
    """Unit vector at a given cosine to `a`, in the plane of `a` and `b`."""
    across = b - (a @ b) * a
    across /= np.linalg.norm(across)
    return (cosine * a + np.sqrt(1 - cosine**2) * across).astype(np.float32)


@pytest.mark.parametrize(
    ("cosine", "threshold", "accepted"),
    [(1.0, 1.0, True), (0.7, 0.6, True), (0.59, 0.6, False), (-0.5, -0.9, True)],
)
def test_the_threshold_decides(cosine, threshold, accepted):
    probe = between(unit(1), unit(2), cosine)
    decision = decide(probe, [person("Ada", 1)], threshold)
    assert decision.accepted is accepted
    assert decision.name == ("Ada" if accepted else None)
    assert decision.similarity == pytest.approx(cosine, abs=1e-5)
    assert -1 <= decision.similarity <= 1
    assert decision.threshold == threshold
    assert f"{cosine:.3f}" in decision.reason


def test_the_most_similar_wins():
    people = [person(name, seed) for seed, name in enumerate(["Ada", "Bob", "Cid"])]
    decision = decide(between(unit(1), unit(0), 0.8), people, 0.6)
    assert (decision.accepted, decision.name) == (True, "Bob")


def test_templates_of_another_model_stay_out():
    people = [person("Ada", 1, "model-a"), person("Bob", 2, "model-b"), person("Cid", 3, None)]
    assert [p.name for p in comparable(people, "model-a")] == ["Ada", "Cid"]


def test_nothing_compared_has_no_similarity():
    decision = refused("no face", 0.6)
    assert (decision.accepted, decision.name, decision.similarity) == (False, None, None)
