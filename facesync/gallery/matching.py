"""Who is it? The decision of one embedding, or of several frames, against those registered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from facesync.gallery import search
from facesync.gallery.store import Person

SAMPLE_WEIGHT = 0.95
"""What the similarity to a single sample counts, at best, beside that to the mean of all
(`python -m benchmarks.open_set` compares the rules)."""

SHORTLIST = 100
"""Of more than `search.NUMPY_UP_TO` people, so many with the nearest means are compared in full."""


@dataclass(frozen=True)
class Decision:
    """What came of a verification.

    Attributes:
        accepted: whether the face belongs to somebody who is registered.
        name: who, or None when not accepted.
        similarity: cosine to the most similar person, -1…1; None where nothing was compared.
        threshold: similarity from which a face is accepted.
        reason: the outcome in words.
        margin: how much more similar than the second; None where there is no second.
    """

    accepted: bool
    name: str | None
    similarity: float | None
    threshold: float
    reason: str
    margin: float | None = None


def refused(reason: str, threshold: float) -> Decision:
    """Decision of a verification that could not compare anything."""
    return Decision(False, None, None, threshold, reason)


def comparable(people: Sequence[Person], fingerprint: str) -> list[Person]:
    """Leave out templates that another model made; the older form does not say, and stays."""
    return [person for person in people if person.fingerprint in (None, fingerprint)]


class Matcher:
    """Compares faces with the same people again and again.

    A person is as similar as the mean of their samples or as the best sample, whichever is more: a
    face in a pose or light that only one sample has is found too. A sample's similarity counts
    less, the worse the image was.

    Args:
        people: whom faces are compared with, at least one.
    """

    def __init__(self, people: Sequence[Person]) -> None:
        self.people = list(people)
        self._templates = np.stack([person.embedding for person in self.people])

    @cached_property
    def _samples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All samples, (n, 512), whose each one is, and what it counts."""
        rows = [person.sample_embeddings for person in self.people]
        owners = np.repeat(np.arange(len(rows)), [len(of_one) for of_one in rows])
        qualities = np.concatenate([person.sample_qualities for person in self.people])
        return np.concatenate(rows), owners, SAMPLE_WEIGHT * qualities

    def similarities(self, embedding: np.ndarray) -> np.ndarray:
        """Similarity of an embedding, (512,) of unit length, to each person: (people,)."""
        scores = self._templates @ embedding
        samples, owners, weights = self._samples
        np.maximum.at(scores, owners, weights * (samples @ embedding))
        return np.clip(scores, -1, 1)

    def decide(self, embedding: np.ndarray, threshold: float, margin: float = 0.0) -> Decision:
        """Say who a face is: the most similar person, where that is similar enough and no other is.

        Args:
            embedding: of the face, (512,) of unit length.
            threshold: cosine similarity that accepts.
            margin: by how much the second must be less similar. Whoever is stored under two
                names, templates as alike as the threshold asks, is no second to themselves.
        """
        if len(self.people) > search.NUMPY_UP_TO:
            near, _ = search.best(embedding, self._templates, SHORTLIST)
            few = Matcher([self.people[number] for number in near])
            return few.decide(embedding, threshold, margin)
        scores = self.similarities(embedding)
        best = int(scores.argmax())
        similarity = float(scores[best])
        person = self.people[best]
        figures = f"{similarity:.3f}, needed {threshold:.3f}"
        if similarity < threshold:
            alone = len(self.people) == 1
            whom = f"{person.name}'s" if alone else "any that is registered"
            reason = f"the face is not similar enough to {whom}: {figures}"
            return Decision(
                False, None, similarity, threshold, reason, self._ahead(scores, best, None)
            )
        ahead = self._ahead(scores, best, threshold)
        if ahead is not None and ahead < margin:
            reason = (
                f"the face is too similar to two people to tell them apart: {figures}, only "
                f"{ahead:.3f} more than the second, {margin:.3f} needed"
            )
            return Decision(False, None, similarity, threshold, reason, ahead)
        reason = f"the face is similar to {person.name}'s: {figures}"
        return Decision(True, person.name, similarity, threshold, reason, ahead)

    def decide_each(
        self, embeddings: Iterable[np.ndarray], threshold: float, margin: float = 0.0
    ) -> list[Decision]:
        """Say who each face of one image is; a name goes to the most similar face only."""
        decisions = [self.decide(embedding, threshold, margin) for embedding in embeddings]
        taken: set[str] = set()
        for place in np.argsort([-(decision.similarity or 0.0) for decision in decisions]):
            name = decisions[place].name
            if name in taken:
                reason = f"another face of the image is more similar to {name}'s"
                decisions[place] = replace(
                    decisions[place], accepted=False, name=None, reason=reason
                )
            elif name is not None:
                taken.add(name)
        return decisions

    def _ahead(self, scores: np.ndarray, best: int, alike: float | None) -> float | None:
        """How far the best is ahead of the others, those `alike` to them left out."""
        others = np.arange(len(scores)) != best
        if alike is not None:
            others &= self._templates @ self._templates[best] < alike
        return float(scores[best] - scores[others].max()) if others.any() else None


def decide(
    embedding: np.ndarray,
    people: Sequence[Person],
    threshold: float,
    margin: float = 0.0,
) -> Decision:
    """Compare one embedding with people, at least one; see `Matcher.decide`."""
    return Matcher(people).decide(embedding, threshold, margin)


def majority(decisions: Sequence[Decision]) -> Decision:
    """Decide from several frames, at least one: who was accepted in more than half of them.

    The similarity is the median of the frames that agree.
    """
    count = len(decisions)
    if count == 1:
        return decisions[0]
    votes = Counter(decision.name for decision in decisions if decision.accepted)
    name, agreeing = votes.most_common(1)[0] if votes else (None, 0)
    if 2 * agreeing > count:
        chosen = _median([d for d in decisions if d.name == name])
        return replace(chosen, reason=f"{agreeing} of {count} frames agree: {chosen.reason}")
    denied = _median([d for d in decisions if not d.accepted] or list(decisions))
    if not votes:
        return replace(denied, reason=f"in none of {count} frames: {denied.reason}")
    return replace(
        denied,
        accepted=False,
        name=None,
        reason=f"the frames do not agree: {agreeing} of {count} show {name}, more than half needed",
    )


def _median(decisions: Sequence[Decision]) -> Decision:
    ordered = sorted(decisions, key=lambda decision: decision.similarity or -2.0)
    return ordered[len(ordered) // 2]
