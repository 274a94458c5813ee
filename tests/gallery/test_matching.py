"""The decision: most similar person, threshold, margin, majority of frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facesync.errors import ModelError
from facesync.gallery.matching import SAMPLE_WEIGHT, Decision, Matcher, comparable, majority
from facesync.gallery.people import Person, now
from tests.gallery.conftest import person, unit


def decide(embedding: np.ndarray, people: list[Person], threshold: float, **how) -> Decision:
    return Matcher(people).decide(embedding, threshold, **how)


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


def with_samples(name: str, *samples: np.ndarray, quality: float = 1.0) -> Person:
    rows = np.stack(samples).astype(np.float32)
    mean = rows.mean(axis=0)
    return Person(
        name,
        (mean / np.linalg.norm(mean)).astype(np.float32),
        "model-a",
        now(),
        len(rows),
        sample_embeddings=rows,
        sample_qualities=np.full(len(rows), quality, dtype=np.float32),
    )


def test_a_single_sample_can_be_enough_and_counts_by_its_quality():
    """Two samples that differ: the mean is 0.77 from each, a face like one of them is nearer."""
    one, other = unit(1), between(unit(1), unit(2), 0.2)
    good, poor = (with_samples("Ada", one, other, quality=q) for q in (1.0, 0.5))
    assert decide(one, [good], 0.9).similarity == pytest.approx(SAMPLE_WEIGHT, abs=1e-5)
    assert decide(one, [poor], 0.9).similarity == pytest.approx(float(good.embedding @ one))


def test_the_margin_to_the_second_person():
    ada, bob = person("Ada", 1), person("Bob", 2)
    probe = between(unit(1), unit(2), 0.75)
    second = float(bob.embedding @ probe)
    decision = decide(probe, [bob, ada], 0.6, margin=0.05)
    assert decision.accepted and decision.margin == pytest.approx(0.75 - second, abs=1e-5)
    denied = decide(probe, [bob, ada], 0.6, margin=decision.margin + 0.01)
    assert (denied.accepted, denied.name) == (False, None)
    assert "too similar to two people" in denied.reason
    assert denied.similarity == pytest.approx(0.75, abs=1e-5)
    assert decide(unit(1), [ada], 0.6, margin=0.5).margin is None


def test_one_person_under_two_names_does_not_reduce_the_margin():
    ada, alias = (
        person("Ada", 1),
        Person("Countess", between(unit(1), unit(3), 0.95), None, None, 1),
    )
    decision = decide(unit(1), [ada, alias, person("Bob", 2)], 0.6, margin=0.3)
    assert (decision.accepted, decision.name) == (True, "Ada")
    assert decision.margin > 0.5


@pytest.mark.parametrize(
    ("cosine", "margin", "nearly"),
    [(0.56, 0.05, True), (0.54, 0.05, False), (0.65, 0.05, False), (0.56, 0.7, False)],
)
def test_a_refusal_is_near_only_just_below_the_threshold_and_ahead(cosine, margin, nearly):
    """At 0.65 the face is accepted; of a margin of 0.7 the second person is never behind."""
    people = [person("Ada", 1), person("Bob", 2)]
    probe = between(unit(1), unit(3), cosine)
    decision = decide(probe, people, 0.6, margin=margin, nearly_from=0.55)
    assert decision.nearly is nearly
    assert decision.accepted is (cosine > 0.6)
    if nearly:  # an intruder who is near is not told to whom
        assert decision.name is None and "Ada" not in decision.reason


def test_somebody_under_two_names_can_be_near():
    alias = Person("Countess", between(unit(1), unit(3), 0.99), None, None, 1)
    probe = between(unit(1), unit(2), 0.58)
    assert decide(probe, [person("Ada", 1), alias], 0.6, margin=0.05, nearly_from=0.5).nearly


def test_a_decision_says_beside_the_similarity_how_likely_a_match_is():
    matcher = Matcher([person("Ada", 1)], lambda similarity: 0.98 if similarity > 0.6 else 0.02)
    for cosine, probability, words in (
        (0.7, 0.98, "0.700, needed 0.600, 98 % sure"),
        (0.5, 0.02, "0.500, needed 0.600, of pairs so similar 2 % match"),
    ):
        decision = matcher.decide(between(unit(1), unit(2), cosine), 0.6)
        assert decision.probability == probability and decision.reason.endswith(words)
    assert decide(unit(1), [person("Ada", 1)], 0.6).probability is None


def decisions(*names: str | None) -> list[Decision]:
    return [
        Decision(name is not None, name, 0.8 if name else 0.3, 0.6, f"about {name}", 0.2)
        for name in names
    ]


@pytest.mark.parametrize(
    ("names", "who"),
    [
        (["Ada"], "Ada"),
        ([None], None),
        (["Ada", "Ada", "Ada", None, None], "Ada"),
        (["Ada", "Ada", None, None, None], None),
        (["Ada", "Ada", "Bob", "Bob", "Cid"], None),
        (["Ada", "Bob"], None),
        ([None, None, None, None, None], None),
    ],
)
def test_more_than_half_of_the_frames_must_agree(names, who):
    decision = majority(decisions(*names))
    assert (decision.accepted, decision.name) == (who is not None, who)
    assert "\n" not in decision.reason
    if len(names) > 1 and who:
        assert decision.reason.startswith(f"{names.count(who)} of {len(names)} frames agree")


@pytest.mark.parametrize(
    ("votes", "nearly"),
    [
        ("Ada near near other other", True),
        ("near near near other other", True),
        ("near near other other other", False),
        ("Ada Ada near other other", True),
        ("Ada Bob near near near", False),
        ("Ada Ada Ada near near", False),
    ],
)
def test_more_than_half_of_the_frames_must_be_near(votes, nearly):
    """The third last is not: two names; the last one is accepted."""
    each = [replace(d, nearly=d.name == "near") for d in decisions(*votes.split())]
    each = [replace(d, accepted=d.name in ("Ada", "Bob")) for d in each]
    assert majority(each).nearly is nearly


@pytest.fixture(params=["faiss", "no faiss"])
def many(request, monkeypatch):
    """Few people are searched like very many, with faiss and without."""
    if request.param == "faiss":
        pytest.importorskip("faiss")
    else:
        monkeypatch.setattr("facesync.gallery.search.faiss_or_none", lambda: None)
    monkeypatch.setattr("facesync.gallery.search.EXACT_UP_TO", 10)
    monkeypatch.setattr("facesync.gallery.matching.SHORTLIST", 5)


def by_all(probe: np.ndarray, people: list[Person], monkeypatch, *how, **more) -> Decision:
    with monkeypatch.context() as patch:
        patch.setattr("facesync.gallery.search.EXACT_UP_TO", 10**9)
        return decide(probe, people, *how, **more)


def crowd() -> list[Person]:
    return [person(f"Person {seed}", seed) for seed in range(50)]


@pytest.mark.parametrize("threshold", [0.6, 0.82])
def test_the_shortlist_gives_the_same_decision(many, monkeypatch, threshold):
    monkeypatch.setattr("facesync.gallery.matching.SHORTLIST", 40)
    people, how = crowd(), {"margin": 0.05, "nearly_from": 0.7}
    for seed in range(0, 50, 7):
        probe = between(unit(seed), unit(seed + 1), 0.8)
        again = decide(probe, people, threshold, **how)
        decision = by_all(probe, people, monkeypatch, threshold, **how)
        assert decision.nearly is (threshold > 0.8)
        assert (again.name, again.nearly) == (decision.name, decision.nearly)
        assert again.similarity == pytest.approx(decision.similarity, abs=1e-6)
        assert again.margin == pytest.approx(decision.margin, abs=1e-6)


def test_a_second_person_beyond_the_shortlist_still_refuses(many, monkeypatch):
    """Twenty names of one face fill the short list; the twin behind them must be found too."""
    ada = [person(f"Ada {number}", 1) for number in range(20)]
    twin = replace(person("Bob"), embedding=between(unit(1), unit(2), 0.79))
    probe = between(unit(1), unit(2), 0.95)
    for people in ([*crowd()[2:], *ada, twin], [twin, *ada, *crowd()[2:]]):
        decision = decide(probe, people, 0.85, margin=0.05)
        assert not decision.accepted and "too similar to two people" in decision.reason
        assert decide(probe, people, 0.6, margin=0.05).accepted, "then they are one person's names"


def test_the_best_person_is_found_behind_a_full_shortlist(many, monkeypatch):
    """What seems nearest is not what is: the estimates of rows so close differ by chance only."""
    near = [
        replace(person(f"Near {seed}"), embedding=between(unit(1), unit(seed), 0.9))
        for seed in range(100, 160)
    ]
    ada = person("Ada", 1)
    for probe in (between(unit(1), unit(seed), 0.97) for seed in range(2, 22)):
        decision = decide(probe, [*near, ada], 0.8, margin=0.01)
        exact = by_all(probe, [*near, ada], monkeypatch, 0.8, margin=0.01)
        assert (decision.name, decision.accepted) == (exact.name, exact.accepted)


def test_one_sample_of_a_person_is_on_the_shortlist_too(many):
    """The mean of three at right angles is 0.577 from each: others seem nearer, but are not."""
    ada = with_samples("Ada", unit(201), unit(202), unit(203))
    probe = between(unit(201), unit(204), 0.97)
    others = [
        replace(person(f"Near {seed}"), embedding=between(probe, unit(seed), 0.7))
        for seed in range(100, 130)
    ]
    assert decide(probe, [*others, ada], 0.8, margin=0.05).name == "Ada"


def test_who_was_deleted_is_not_found(many):
    people = [each for each in crowd() if each.name != "Person 7"]
    assert decide(unit(7), crowd(), 0.6).name == "Person 7"
    assert not decide(unit(7), people, 0.6).accepted


def test_a_template_that_is_no_number_does_not_win_among_many(many):
    broken = replace(person("Cid", 3), embedding=np.full(512, np.nan, np.float32))
    decision = decide(unit(3), [*crowd()[4:], broken], 0.6)
    assert not decision.accepted and decision.name is None


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0, 1.0])
def test_what_is_no_embedding_is_not_compared(broken):
    with pytest.raises(ModelError, match="no valid face embedding"):
        decide(np.full(512, broken, np.float32), [person("Ada", 1)], 0.6)


def test_a_template_that_is_no_number_lets_nobody_in():
    """The store refuses it; if one came another way, it must neither match nor hide a second."""
    broken = replace(person("Cid", 3), embedding=np.full(512, np.nan, np.float32))
    assert not decide(unit(1), [person("Ada", 1), broken], 0.6).accepted
    assert not decide(unit(1), [person("Ada", 1)], np.nan).accepted
    assert not decide(unit(1), [person("Ada", 1), person("Bob", 2)], 0.6, margin=np.nan).accepted
