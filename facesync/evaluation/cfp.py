"""Pairs of Celebrities in Frontal-Profile (Sengupta et al., 2016): how much a turned head costs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np

from facesync.data.datasets import FaceDataset
from facesync.errors import DataError
from facesync.evaluation.images import DatasetImages, ImageRef
from facesync.evaluation.protocols import DEFAULT_FOLDS, PairSet


def cfp_pairs(folder: Path, seed: int) -> dict[str, PairSet]:
    """Draw pairs from a folder of each person with files `frontal-*` and `profile-*`.

    All genuine pairs are taken, and up to as many impostor pairs at random. As in the original
    protocol, the folds, ten if there are enough people, share nobody.

    Returns:
        The pairs by protocol: `frontal-frontal` and `frontal-profile`.

    Raises:
        DataError: there are fewer than four people with images of both kinds.
    """
    images = DatasetImages(FaceDataset(folder, min_images=1, max_images=2**31))
    of_person: dict[str, dict[str, list[int]]] = {}
    for index, image in enumerate(images):
        pose = image.name.rpartition("/")[2].partition("-")[0]
        of_person.setdefault(str(image.identity), {}).setdefault(pose, []).append(index)
    people = [
        (poses["frontal"], poses["profile"])
        for poses in of_person.values()
        if "frontal" in poses and "profile" in poses
    ]
    if len(people) < 4:
        raise DataError(f"{folder} has fewer than four people with frontal-* and profile-* images")
    random = np.random.default_rng(seed)
    folds = np.array_split(random.permutation(len(people)), min(DEFAULT_FOLDS, len(people) // 2))
    frontal = [
        ([pair for who in fold for pair in combinations(people[who][0], 2)],
         _impostors([people[who][0] for who in fold], [people[who][0] for who in fold]))
        for fold in folds
    ]  # fmt: skip
    profile = [
        ([pair for who in fold for pair in product(*people[who])],
         _impostors([people[who][0] for who in fold], [people[who][1] for who in fold]))
        for fold in folds
    ]  # fmt: skip
    return {
        name: _pair_set(f"{folder.name}, {name}", images, pairs, random)
        for name, pairs in (("frontal-frontal", frontal), ("frontal-profile", profile))
    }


def _impostors(
    left: Sequence[Sequence[int]], right: Sequence[Sequence[int]]
) -> list[tuple[int, int]]:
    """Return all pairs of an image of one person and an image of a later one."""
    return [
        pair
        for one, other in combinations(range(len(left)), 2)
        for pair in product(left[one], right[other])
    ]


def _pair_set(
    source: str,
    images: Sequence[ImageRef],
    folds: Sequence[tuple[list[tuple[int, int]], list[tuple[int, int]]]],
    random: np.random.Generator,
) -> PairSet:
    pairs, same, numbers = [], [], []
    for number, (genuine, impostor) in enumerate(folds):
        drawn = random.permutation(len(impostor))[: len(genuine)]
        pairs += genuine + [impostor[index] for index in drawn]
        same += [True] * len(genuine) + [False] * len(drawn)
        numbers += [number] * (len(genuine) + len(drawn))
    left, right = np.array(pairs).T
    return PairSet(source, images, left, right, np.array(same), np.array(numbers), True).subset(
        np.ones(len(same), bool)
    )
