"""Who is it? The decision for one face, or over several frames, against registered people."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from facesync.cli import certainty, decimals
from facesync.faces.embedding import checked
from facesync.gallery import search
from facesync.gallery.people import Person
from facesync.liveness.policy import Liveness

SAMPLE_WEIGHT = 0.95
"""Weight of the similarity to the best single sample; that to the mean of all counts 1
(`python -m benchmarks.open_set` compares the rules)."""

SHORTLIST = 128
"""Of more than `search.EXACT_UP_TO` people, the owners of so many templates and samples that seem
nearest are compared in full; more where these do not show that nobody else matters."""

_BLOCK = 1024  # people whose templates are compared with all others at once


@dataclass(frozen=True)
class Decision:
    """The outcome of a verification.

    Attributes:
        accepted: whether the face is that of somebody who is registered.
        name: who, or None when not accepted.
        similarity: cosine to the most similar person, -1…1; None if nothing was compared.
        threshold: similarity from which a face is accepted; None if none is high enough.
        reason: a sentence that explains the outcome.
        margin: how far the similarity is above the second person's; None without a second.
        calibrated_on: on whom the threshold was measured, in words; None if on nobody.
        probability: that a pair of faces of this similarity shows one person, if both answers were
            equally likely beforehand; None if nothing was compared or the model is not calibrated.
        nearly: refused, but only just: see `Matcher.decide`.
        liveness: whether the face is alive; None if nobody asked, as of a still image.
    """

    accepted: bool
    name: str | None
    similarity: float | None
    threshold: float | None
    reason: str
    margin: float | None = None
    calibrated_on: str | None = None
    probability: float | None = None
    nearly: bool = False
    liveness: Liveness | None = None


def refused(reason: str, threshold: float | None) -> Decision:
    """Return the decision of a verification that could not compare anything."""
    return Decision(False, None, None, threshold, reason)


def comparable(people: Sequence[Person], fingerprint: str | None) -> list[Person]:
    """Drop people with a template of another model; the older format does not say, and is kept."""
    return [person for person in people if person.fingerprint in (None, fingerprint)]


def _other_samples(person: Person) -> np.ndarray:
    """Return the samples, (n, 512), of which none is the template."""
    alone = len(person.sample_embeddings) == person.samples == 1
    return person.sample_embeddings[:0] if alone else person.sample_embeddings


def too_alike(
    some: Sequence[Person], people: Sequence[Person], threshold: float
) -> Iterator[tuple[Person, Person]]:
    """Yield pairs, one of some and another of all people, as similar as the threshold.

    Their templates are of one model. The face of either is accepted as both, that of twins for
    example: the app cannot tell reliably who it is.
    """
    other = np.stack([each.embedding for each in people]) if some else np.empty(0)
    for start in range(0, len(some), _BLOCK):
        block = some[start : start + _BLOCK]
        one = np.stack([each.embedding for each in block])
        for row, column in np.argwhere(one @ other.T >= threshold).tolist():
            if block[row].name != people[column].name:
                yield block[row], people[column]


class Matcher:
    """Compares faces with the same people again and again.

    A person's similarity is that of the mean of their samples or of their best sample, whichever is
    higher: a pose or light that only one sample shows is found too. The worse the image of a
    sample, the less its similarity counts.

    Args:
        people: at least one.
        probability: of a match, from a similarity; None if the model cannot tell.
    """

    def __init__(
        self,
        people: Sequence[Person],
        probability: Callable[[float], float | None] = lambda similarity: None,
    ) -> None:
        self.people = list(people)
        self._probability = probability

    @cached_property
    def _templates(self) -> np.ndarray:
        return np.stack([person.embedding for person in self.people])

    @cached_property
    def _samples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All samples, (n, 512); the index of the person each belongs to; its weight."""
        rows = [person.sample_embeddings for person in self.people]
        owners = np.repeat(np.arange(len(rows)), [len(of_one) for of_one in rows])
        qualities = np.concatenate([person.sample_qualities for person in self.people])
        return np.concatenate(rows), owners, SAMPLE_WEIGHT * qualities

    def similarities(self, embedding: np.ndarray) -> np.ndarray:
        """Return the similarity of an embedding, (512,) of unit length, to each person."""
        scores = self._templates @ embedding
        samples, owners, weights = self._samples
        np.maximum.at(scores, owners, weights * (samples @ embedding))
        return np.clip(scores, -1, 1)

    def decide(
        self,
        embedding: np.ndarray,
        threshold: float,
        margin: float = 0.0,
        nearly_from: float = math.inf,
    ) -> Decision:
        """Decide who a face is: the most similar person, if similar enough and ahead of the others.

        Args:
            embedding: of the face, (512,) of unit length.
            threshold: cosine similarity that accepts.
            margin: how far the second must be behind. Templates as similar to the best as the
                threshold are the same person under two names, and not a second.
            nearly_from: similarity from which a face that is only not similar enough is refused
                `nearly`, without a name: who is registered is not told to those who are not.

        Raises:
            ModelError: it is not an embedding.
        """
        embedding = checked(embedding[None])[0]
        if len(self.people) > search.EXACT_UP_TO and search.faiss_or_none() is not None:
            return self._decide_by_shortlist(embedding, threshold, margin, nearly_from)
        return self._decide_exactly(embedding, threshold, margin, nearly_from)

    @cached_property
    def _shortlist(self) -> tuple[search.Shortlist, np.ndarray]:
        """Templates and samples, to search; the index of the person each belongs to."""
        rows = [1 + len(_other_samples(person)) for person in self.people]
        owners = np.repeat(np.arange(len(rows), dtype=np.int32), rows)
        parts = (self.people[n : n + _BLOCK] for n in range(0, len(rows), _BLOCK))
        blocks = (
            np.concatenate([r for one in part for r in (one.embedding[None], _other_samples(one))])
            for part in parts
        )
        return search.Shortlist(len(owners), blocks), owners

    def _decide_by_shortlist(
        self, embedding: np.ndarray, threshold: float, margin: float, nearly_from: float
    ) -> Decision:
        """Decide among those who seem nearest: as among all, or else a refusal."""
        shortlist, owners = self._shortlist
        count = SHORTLIST
        while True:
            rows, others_below = shortlist.near(embedding, min(count, len(owners)))
            few = Matcher([self.people[n] for n in np.unique(owners[rows])], self._probability)
            decision = few._decide_exactly(embedding, threshold, margin, nearly_from)
            # Somebody who is not on the list could be the second, and too near, or even the best.
            needed = (decision.similarity or 0.0) - max(margin, 0.0)
            known = needed >= max(others_below, 0.0) or count >= len(owners)
            if known or not (decision.accepted or decision.nearly):
                return decision
            count *= 8

    def _decide_exactly(
        self, embedding: np.ndarray, threshold: float, margin: float, nearly_from: float
    ) -> Decision:
        """Decide among all people, each compared in full."""
        scores = self.similarities(embedding)
        best = int(scores.argmax())
        similarity = float(scores[best])
        person = self.people[best]
        similar = similarity >= threshold  # NaN is not, and is refused
        ahead = self._ahead(scores, best, threshold)
        clear = ahead is None or ahead >= margin
        probability = self._probability(similarity)
        figures = f"{decimals(similarity)}, needed {decimals(threshold)}"
        if probability is not None:
            figures += f", {certainty(probability, accepted=similar and clear)}"
        if not similar:
            whom = f"{person.name}'s" if len(self.people) == 1 else "any that is registered"
            reason = f"the face is not similar enough to {whom}: {figures}"
            ahead = self._ahead(scores, best, None)
        elif not clear:
            reason = (
                f"the face is too similar to two people to tell them apart: {figures}, only "
                f"{decimals(ahead or 0.0)} ahead of the second, {decimals(margin)} needed"
            )
        else:
            reason = f"the face is similar to {person.name}'s: {figures}"
        accepted = similar and clear
        return Decision(
            accepted=accepted,
            name=person.name if accepted else None,
            similarity=similarity,
            threshold=threshold,
            reason=reason,
            margin=ahead,
            probability=probability,
            nearly=not similar and clear and similarity >= nearly_from,
        )

    def decide_each(
        self,
        embeddings: Iterable[np.ndarray],
        threshold: float,
        margin: float = 0.0,
        nearly_from: float = math.inf,
    ) -> list[Decision]:
        """Say who each face of one image is; a name goes to the most similar face only."""
        decisions = [self.decide(each, threshold, margin, nearly_from) for each in embeddings]
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
        """Return how far the best is ahead of the others, except those as similar as `alike`."""
        others = np.arange(len(scores)) != best
        if alike is not None:
            others &= ~(self._templates @ self._templates[best] >= alike)
        return float(scores[best] - scores[others].max()) if others.any() else None


def majority(decisions: Sequence[Decision]) -> Decision:
    """Decide over several frames, at least one, for whoever more than half of them accept.

    The similarity is the median over the frames that agree.
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
    close = sum(decision.accepted or decision.nearly for decision in decisions)
    denied = replace(denied, nearly=len(votes) < 2 and 2 * close > count)
    if not votes:
        return replace(denied, reason=f"accepted in none of {count} frames: {denied.reason}")
    return replace(
        denied,
        accepted=False,
        name=None,
        reason=f"the frames disagree: {agreeing} of {count} show {name}, more than half needed",
    )


def _median(decisions: Sequence[Decision]) -> Decision:
    ordered = sorted(decisions, key=lambda decision: decision.similarity or -2.0)
    return ordered[len(ordered) // 2]
