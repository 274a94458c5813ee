"""What is wrong with a dataset: copies, images without a face, wrong identities.

Similarities differ from model to model, so the thresholds here are positions on a scale from the
typical impostor similarity (0) to the typical genuine similarity (1), both measured in the dataset
itself. They were chosen on one half of the identities of a dataset with planted faults;
`python -m benchmarks.audit` shows what they find in either half.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import cv2
import numpy as np

from facesync.audit import findings as kinds
from facesync.audit.duplicates import changed_copies, same_bytes
from facesync.audit.findings import Finding
from facesync.audit.identities import (
    centroids,
    coherence,
    impostor_similarity,
    members_of,
    nearest_other_person,
    own_similarity,
    similar_pairs,
    split_in_two,
)
from facesync.cli import decimals
from facesync.data.datasets import FaceDataset
from facesync.data.progress import BAR_AFTER_SECONDS, Progress
from facesync.evaluation.embeddings import Embedded
from facesync.faces.detection import Detector
from facesync.faces.embedding import unit
from facesync.images import read_image_rgb

NO_FACE_BELOW = 0.6
"""Faces are detected only in images less similar to their identity than this."""

WRONG_BELOW = 0.15
"""An image less similar to its identity than this shows somebody else."""

WRONG_MARGIN = 0.3
"""So does one that is this much more similar to another identity than to its own."""

MOVE_FROM = 0.75
"""If it is at least this similar to that identity, it may belong there."""

TWO_PEOPLE_BELOW = 0.4
"""Two parts of an identity less similar than this are two people, if in each part …"""

ONE_PERSON_FROM = 0.3
"""… the images are on average at least this similar to each other …"""

TWO_PEOPLE_IMAGES = 3
"""… and there are at least this many of them."""

SAME_PERSON_FROM = 1.0
"""Two identities whose centroids are at least this similar are one person."""

_BORDER = 0.25  # of an image's side: the detector needs room around a face
_LEAST_SIDE = 112
_SHOWN = 3


@dataclass(frozen=True)
class Scale:
    """Typical similarities of a model in one dataset.

    Attributes:
        impostor: median similarity of an image to the centroid of another identity.
        genuine: median similarity of an image to the centroid of its identity's other images.
    """

    impostor: float
    genuine: float

    def at(self, position: float) -> float:
        """Return the similarity at a position: 0 is `impostor`, 1 is `genuine`."""
        return self.impostor + self.span(position)

    def span(self, share: float) -> float:
        """Return a share of the difference of the two."""
        return share * (self.genuine - self.impostor)


def find_faults(dataset: FaceDataset, embedded: Embedded, detector: Detector) -> list[Finding]:
    """Find the images of a dataset that should be left out: at most one finding each.

    They come in the order of `findings.KINDS`, the strongest of each kind first. The detector is
    applied only to images that do not look like their identity.
    """
    return _Audit(dataset, embedded, detector).findings()


class _Audit:
    """The state of one audit: what was found about each image so far."""

    def __init__(self, dataset: FaceDataset, embedded: Embedded, detector: Detector) -> None:
        self._dataset = dataset
        self._names = dataset.names
        self._identities = dataset.class_names
        self._embedded = embedded
        # In place: a large dataset's are a gigabyte.
        self._vectors = np.nan_to_num(embedded.vectors[:], copy=False)
        self._labels = np.array(dataset.labels)
        self._members = dict(members_of(self._labels))
        self._detector = detector
        self._found: dict[int, Finding] = {}
        self._counting = self._first_of_each()
        means = centroids(self._vectors, self._labels, self._counting)
        own = own_similarity(self._vectors, self._labels, means)
        self._scale = Scale(
            impostor_similarity(self._vectors, self._labels, means.directions),
            float(np.nanmedian(own[self._counting])) if not np.isnan(own).all() else 1.0,
        )
        self._two_people = self._find_two_people()
        means = centroids(self._vectors, self._labels, self._counting)
        self._centroids = means.directions
        self._own = own_similarity(self._vectors, self._labels, means)

    def _first_of_each(self) -> np.ndarray:
        """Bool (images,): decodable, and not the bytes of an earlier image of the same identity."""
        counting = np.ones(len(self._labels), dtype=bool)
        for group in same_bytes(self._embedded.ids):
            _, first = np.unique(self._labels[group], return_index=True)
            counting[group] = False
            counting[group[first]] = True
        counting[list(self._embedded.failures)] = False
        return counting

    def findings(self) -> list[Finding]:
        for index, reason in self._embedded.failures.items():
            self._add(Finding(index, kinds.UNDECODABLE, reason, "", "leave out", 0.0))
        self._find_same_bytes()
        self._find_changed_copies()
        self._find_images_without_face()
        for found in self._two_people:
            self._add(found)
        person = self._find_same_person()
        self._find_wrong_identity(person)
        order = {kind: number for number, kind in enumerate(kinds.KINDS)}
        ordered = sorted(self._found.values(), key=lambda f: (order[f.kind], -f.strength, f.image))
        return [replace(found, compare=self._images_to_compare(found)) for found in ordered]

    def _add(self, found: Finding) -> None:
        self._found.setdefault(found.image, found)

    def _find_two_people(self) -> list[Finding]:
        """Split identities that are several people; only the largest part counts from then on."""
        result = []
        for members in Progress(
            self._members.values(), unit=" identities", desc="Splitting", delay=BAR_AFTER_SECONDS
        ):
            counting = members[self._counting[members]]
            largest, *parts = sorted(self._split_into_people(counting), key=len, reverse=True)
            for part in parts:
                similarity = float(self._centroid(part) @ self._centroid(largest))
                evidence = (
                    f"{len(part)} of {len(counting)} images; "
                    f"similarity of the two parts {decimals(similarity, 2)}"
                )
                action = "leave out, or make the part an identity of its own"
                for index in part.tolist():
                    result.append(
                        Finding(index, kinds.TWO_PEOPLE, evidence, "", action, 1 - similarity)
                    )
                self._counting[part] = False
        return result

    def _split_into_people(self, members: np.ndarray) -> list[np.ndarray]:
        """Split images in two, and the parts again, while both parts are one person each."""
        if len(members) < 2 * TWO_PEOPLE_IMAGES:
            return [members]
        group, similarity = split_in_two(self._vectors[members])
        parts = members[group], members[~group]
        one_person = self._scale.at(ONE_PERSON_FROM)
        if similarity > self._scale.at(TWO_PEOPLE_BELOW) or any(
            len(part) < TWO_PEOPLE_IMAGES or coherence(self._vectors[part]) < one_person
            for part in parts
        ):
            return [members]
        return [person for part in parts for person in self._split_into_people(part)]

    def _centroid(self, members: np.ndarray) -> np.ndarray:
        return unit(self._vectors[members].sum(axis=0))

    def _find_same_bytes(self) -> None:
        for group in same_bytes(self._embedded.ids):
            indices = [index for index in group.tolist() if index not in self._found]
            if len(indices) > 1:
                kept = reduce(self._better_copy, indices)
                for index in indices:
                    if index != kept:
                        self._add_copy(index, kept, kinds.EXACT_COPY, "the same bytes", 0.0)

    def _find_changed_copies(self) -> None:
        candidate = np.ones(len(self._labels), dtype=bool)
        candidate[list(self._found)] = False
        for one, other, similarity, correlation in changed_copies(
            self._vectors, candidate, self._image
        ):
            kept = self._better_copy(one, other)
            copy = other if kept == one else one
            evidence = f"similarity {decimals(similarity, 2)}, detail {decimals(correlation, 2)}"
            self._add_copy(copy, kept, kinds.NEAR_COPY, evidence, correlation)
            candidate[copy] = False

    def _better_copy(self, one: int, other: int) -> int:
        """Choose the copy to keep: the first or, in two identities, the more typical one."""
        if self._labels[one] == self._labels[other]:
            return one
        return max(one, other, key=self._similarity_to_own)

    def _similarity_to_own(self, index: int) -> float:
        """Return the similarity of an image to its identity, -1 if that has no other image."""
        return float(np.nan_to_num(self._own[index], nan=-1.0))

    def _add_copy(self, copy: int, kept: int, kind: str, evidence: str, strength: float) -> None:
        self._add(
            Finding(copy, kind, evidence, self._names[kept], "leave out", strength, ((kept,),))
        )

    def _find_images_without_face(self) -> None:
        """Detect faces in the images that do not look like their identity."""
        least = self._scale.at(NO_FACE_BELOW)
        doubtful = np.flatnonzero(~(self._own >= least))
        for index in Progress(
            doubtful.tolist(), unit=" images", desc="Detecting faces", delay=BAR_AFTER_SECONDS
        ):
            if index in self._found or self._detector.detect(_with_border(self._image(index))):
                continue
            own = self._similarity_to_own(index)
            evidence = f"no face found; similarity to its identity {decimals(own, 2)}"
            self._add(Finding(index, kinds.NO_FACE, evidence, "", "leave out", least - own))

    def _find_same_person(self) -> np.ndarray:
        """Find people listed under two identities; return the number of each identity's person."""
        person = np.arange(len(self._identities))
        sizes = np.bincount(self._labels[self._counting], minlength=len(person))
        least = self._scale.at(SAME_PERSON_FROM)
        for one, two, value in similar_pairs(self._centroids, least):
            if person[one] == person[two]:
                continue
            smaller, larger = sorted((one, two), key=lambda label: (sizes[label], -label))
            person[person == person[smaller]] = person[larger]
            other = self._identities[larger]
            evidence = f"similarity of the two identities {decimals(value, 2)}"
            action = f"leave out, or merge the identity into {other}"
            for index in self._members[smaller].tolist():
                found = Finding(index, kinds.SAME_PERSON, evidence, other, action, value - least)
                self._add(found)
        return person

    def _find_wrong_identity(self, person: np.ndarray) -> None:
        nearest, similarity = nearest_other_person(
            self._vectors, self._labels, self._centroids, person
        )
        least, margin = self._scale.at(WRONG_BELOW), self._scale.span(WRONG_MARGIN)
        beyond = np.maximum(least - self._own, similarity - self._own - margin)
        for index in np.flatnonzero(beyond > 0).tolist():
            evidence = f"similarity to its identity {decimals(self._own[index], 2)}"
            other, action = "", "leave out"
            if similarity[index] - self._own[index] > margin:
                other = self._identities[nearest[index]]
                evidence += f", to {other} {decimals(similarity[index], 2)}"
                if similarity[index] >= self._scale.at(MOVE_FROM):
                    action += f", or move to {other}"
            self._add(
                Finding(index, kinds.WRONG_IDENTITY, evidence, other, action, float(beyond[index]))
            )

    def _image(self, index: int) -> np.ndarray:
        return read_image_rgb(self._dataset.encoded(index))

    def _images_to_compare(self, found: Finding) -> tuple[tuple[int, ...], ...]:
        """Choose the images to show with a finding: the copied one, or typical ones."""
        if found.compare:
            return found.compare
        own = self._typical(int(self._labels[found.image]))
        other = self._typical(self._dataset.label_map[found.other]) if found.other else ()
        return (other,) if found.kind == kinds.SAME_PERSON else (own, other)

    def _typical(self, label: int) -> tuple[int, ...]:
        """Return the images most similar to their identity that nothing was found about."""
        members = [i for i in self._members[label].tolist() if i not in self._found]
        return tuple(sorted(members, key=lambda index: -self._similarity_to_own(index))[:_SHOWN])


def _with_border(image_rgb: np.ndarray) -> np.ndarray:
    """Add a border that repeats the edge; enlarge small images to the usual size first."""
    least = min(image_rgb.shape[:2])
    if least < _LEAST_SIDE:
        factor = _LEAST_SIDE / least
        image_rgb = cv2.resize(image_rgb, None, fx=factor, fy=factor)
    border = round(_BORDER * min(image_rgb.shape[:2]))
    return cv2.copyMakeBorder(image_rgb, border, border, border, border, cv2.BORDER_REPLICATE)
