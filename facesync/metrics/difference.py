"""Whether two models' TARs on the same images differ by more than chance.

The people are what is drawn at random, and their images come with them. So the interval resamples
people, for both models the same ones (a paired bootstrap over identities; Poh and Bengio, 2007),
and each model's threshold is set anew on each sample: with few people it rests on a few impostor
pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 500
_BLOCK = 1024
_LEAST = 2000  # impostor pairs that are kept at least, the most similar first
_MARGIN = 10  # and so many times those that are expected above the threshold


@dataclass(frozen=True)
class _Scores:
    """Similarities with the people they are of, most similar first; of impostors only the top."""

    genuine: np.ndarray
    person: np.ndarray
    impostor: np.ndarray
    pair: np.ndarray

    def tar(self, weights: np.ndarray, false_accepts: float) -> float:
        """TAR where each person counts `weights` times and so many impostor pairs may pass."""
        passing = np.cumsum(weights[self.pair[0]] * weights[self.pair[1]])
        first = min(int(np.searchsorted(passing, false_accepts, side="right")), len(passing) - 1)
        accepted = np.searchsorted(-self.genuine, -self.impostor[first], side="left")
        counted = weights[self.person]
        return float(counted[:accepted].sum() / counted.sum())


def tar_difference(
    new: tuple[np.ndarray, Sequence[str]],
    old: tuple[np.ndarray, Sequence[str]],
    far: float,
    seed: int = 42,
) -> tuple[float, float]:
    """Return the 95 % interval of the difference between two models' TARs, new minus old.

    Args:
        new: embeddings, float (images, 512), finite and of unit length, and the person in each.
        old: the other model's of the same images, in any order.
        far: false accept rate at which TAR is measured.
        seed: of the resampling.
    """
    people, images = np.unique(new[1], return_counts=True)
    scores = [
        _scores(vectors, np.searchsorted(people, names), far) for vectors, names in (new, old)
    ]
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(DRAWS):
        weights = generator.multinomial(len(people), np.full(len(people), 1 / len(people)))
        drawn = weights * images
        impostors = (int(drawn.sum()) ** 2 - int((drawn**2).sum())) / 2
        if impostors and weights[scores[0].person].any():
            after, before = (each.tar(weights, far * impostors) for each in scores)
            differences.append(after - before)
    low, high = np.percentile(differences or [-1.0, 1.0], [2.5, 97.5])
    return float(low), float(high)


def _scores(vectors: np.ndarray, person: np.ndarray, far: float) -> _Scores:
    """Compare all images; see `_Scores`."""
    vectors = vectors.astype(np.float32)
    total = (len(person) ** 2 - int((np.bincount(person) ** 2).sum())) // 2
    kept = min(total, max(_LEAST, int(_MARGIN * far * total)))
    genuine, owner = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    impostor, pairs = np.empty(0, np.float32), np.empty((2, 0), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        similarity = vectors[start : start + _BLOCK] @ vectors[start:].T
        rows, columns = np.nonzero(np.triu(np.ones(similarity.shape, bool), 1))
        values, one, other = (
            similarity[rows, columns],
            person[start + rows],
            person[start + columns],
        )
        same = one == other
        genuine.append(values[same])
        owner.append(one[same])
        impostor = np.concatenate([impostor, values[~same]])
        pairs = np.concatenate([pairs, np.stack([one, other])[:, ~same]], axis=1)
        if len(impostor) > kept:
            top = np.argpartition(-impostor, kept - 1)[:kept]
            impostor, pairs = impostor[top], pairs[:, top]
    order = np.argsort(-impostor, kind="stable")
    own, of_person = np.concatenate(genuine), np.concatenate(owner)
    rank = np.argsort(-own, kind="stable")
    return _Scores(own[rank], of_person[rank], impostor[order], pairs[:, order])
