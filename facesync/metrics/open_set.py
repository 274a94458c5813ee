"""Open-set identification: enrolled people refused, at a given rate of strangers let in.

The terms are those of ISO/IEC 19795-1: the false-positive identification rate (FPIR) is the share
of searches by people who are not enrolled that return a name, the false-negative identification
rate (FNIR) the share of searches by enrolled people that do not return theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facesync.metrics.vectors import Vectors, blocks, images_by_person, people_of
from facesync.metrics.vectors import usable as usable_rows

DRAWS = 60
"""Number of random galleries."""
FPIRS = (1e-2, 1e-3)


@dataclass(frozen=True)
class OpenSetRate:
    """FNIR at one FPIR.

    Attributes:
        enrolled: number of images enrolled of each person.
        people: number of people enrolled in each draw.
        fpir: share of searches by strangers that may return a name.
        fnir: share of searches by enrolled people that did not return theirs.
        threshold: the similarity needed: the lowest that keeps to `fpir`.
        genuine: number of searches by enrolled people, over all draws.
        strangers: number of searches by strangers, over all draws. Most people are in many draws,
            so that these carry less information than as many independent searches.
    """

    enrolled: int
    people: int
    fpir: float
    fnir: float
    threshold: float
    genuine: int
    strangers: int


@dataclass(frozen=True)
class Searches:
    """The results of searches by enrolled people and by strangers, over random galleries.

    Attributes:
        people: number of people enrolled in each draw.
        genuine: the highest similarity in each search by somebody enrolled.
        named: whether it is that to their own template.
        strangers: the highest similarity in each search by somebody who is not enrolled.
    """

    people: int
    genuine: np.ndarray
    named: np.ndarray
    strangers: np.ndarray

    def fnir(self, threshold: float) -> float:
        """Share of searches by enrolled people that do not return theirs."""
        return float((~self.named | (self.genuine < threshold)).mean())

    def fpir(self, threshold: float) -> float:
        """Share of searches by strangers that return a name."""
        return float((self.strangers >= threshold).mean())


def searches(
    embeddings: Vectors,
    identities: Sequence[str],
    *,
    enrolled: int = 2,
    people: int = 100,
    draws: int = DRAWS,
    seed: int = 42,
) -> Searches | None:
    """Search random galleries.

    In each draw, people with more than `enrolled` images are drawn and enrolled with random images
    of theirs; a template is their mean. One other image of each of them and one image of each
    person who is not enrolled are then searched; a search returns the most similar template. So
    everybody counts alike, however many images there are.

    Args:
        embeddings: float (N, 512), rows of unit length, or NaN where no face was found. Such an
            image is never accepted, and cannot be enrolled.
        identities: the person in each image.
        enrolled: images to enrol of each person.
        people: people to enrol; at most half of those who have enough images.
        draws: number of random galleries.
        seed: of the draws.

    Returns:
        The results; None if fewer than two people have enough images.
    """
    usable = usable_rows(embeddings)
    everybody, who = people_of(identities)
    of_person = images_by_person(who, len(everybody))
    eligible = [
        number
        for number, images in enumerate(of_person)
        if len(images) > enrolled and usable[images].sum() >= enrolled
    ]
    people = min(people, len(eligible) // 2)
    if people < 1:
        return None
    rng = np.random.default_rng(seed)
    genuine, named, strangers = [], [], []
    for _ in range(draws):
        chosen = [eligible[i] for i in rng.permutation(len(eligible))[:people]]
        templates, probes = [], []
        for number in chosen:
            images = rng.permutation(of_person[number])
            kept = images[usable[images]][:enrolled]
            templates.append(embeddings[kept].mean(axis=0))
            probes.append(rng.choice(np.setdiff1d(images, kept)))
        gallery = np.stack(templates)
        gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
        among = set(chosen)
        unknown = [rng.choice(of_person[n]) for n in range(len(of_person)) if n not in among]
        which, highest = _searched(embeddings, np.array(probes), gallery, usable)
        named.append(which == np.arange(people))
        genuine.append(highest)
        strangers.append(_searched(embeddings, np.array(unknown), gallery, usable)[1])
    return Searches(people, *(np.concatenate(parts) for parts in (genuine, named, strangers)))


def _searched(
    embeddings: Vectors, images: np.ndarray, gallery: np.ndarray, usable: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the most similar template of each image, and how similar: -inf if not usable."""
    which = np.zeros(len(images), dtype=int)
    highest = np.full(len(images), -np.inf, gallery.dtype)
    for part in blocks(len(images)):
        valid = usable[images[part]]
        similarity = np.where(valid[:, None], embeddings[images[part]], 0) @ gallery.T
        which[part] = similarity.argmax(axis=1)
        highest[part] = np.where(valid, similarity.max(axis=1), -np.inf)
    return which, highest


def open_set(
    embeddings: Vectors,
    identities: Sequence[str],
    *,
    enrolled: int = 2,
    people: int = 100,
    fpirs: Sequence[float] = FPIRS,
    seed: int = 42,
) -> list[OpenSetRate]:
    """Measure FNIR at several FPIRs over `DRAWS` random galleries.

    Args:
        embeddings: see `searches`, as for all the others.
        identities: the person in each image.
        enrolled: images to enrol of each person.
        people: people to enrol.
        fpirs: see `OpenSetRate.fpir`.
        seed: of the draws.

    Returns:
        One rate for each of `fpirs`; empty if fewer than two people have enough images.
    """
    found = searches(embeddings, identities, enrolled=enrolled, people=people, seed=seed)
    if found is None:
        return []
    unseen = np.sort(found.strangers)[::-1]
    rates = []
    for fpir in fpirs:
        # The first score that must stay out; the threshold is just above it.
        threshold = float(np.nextafter(unseen[int(fpir * len(unseen))], np.inf))
        rates.append(
            OpenSetRate(
                enrolled=enrolled,
                people=found.people,
                fpir=fpir,
                fnir=found.fnir(threshold),
                threshold=threshold,
                genuine=len(found.genuine),
                strangers=len(unseen),
            )
        )
    return rates
