"""Who is it? The decision of one embedding against the people who are registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facesync.gallery.store import Person


@dataclass(frozen=True)
class Decision:
    """What came of a verification.

    Attributes:
        accepted: whether the face belongs to somebody who is registered.
        name: who, or None when not accepted.
        similarity: cosine to the most similar template, -1…1; None where nothing was compared.
        threshold: similarity from which a face is accepted.
        reason: the outcome in words.
    """

    accepted: bool
    name: str | None
    similarity: float | None
    threshold: float
    reason: str


def refused(reason: str, threshold: float) -> Decision:
    """Decision of a verification that could not compare anything."""
    return Decision(False, None, None, threshold, reason)


def comparable(people: Sequence[Person], fingerprint: str) -> list[Person]:
    """Leave out templates that another model made; the older form does not say, and stays."""
    return [person for person in people if person.fingerprint in (None, fingerprint)]


def decide(embedding: np.ndarray, people: Sequence[Person], threshold: float) -> Decision:
    """Compare an embedding, (512,) of unit length, with everybody given (at least one).

    Accepted is the most similar person, when the cosine similarity reaches the threshold.
    """
    similarities = np.stack([person.embedding for person in people]) @ embedding
    best = int(similarities.argmax())
    similarity = float(np.clip(similarities[best], -1, 1))
    if similarity >= threshold:
        name = people[best].name
        reason = f"the face is similar to {name}'s: {similarity:.3f}, needed {threshold:.3f}"
        return Decision(True, name, similarity, threshold, reason)
    whom = f"{people[0].name}'s" if len(people) == 1 else "any that is registered"
    reason = f"the face is not similar enough to {whom}: {similarity:.3f}, needed {threshold:.3f}"
    return Decision(False, None, similarity, threshold, reason)
