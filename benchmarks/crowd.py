"""As many made-up embeddings as wanted, spread as those of real people; for `benchmarks.search`.

People are drawn group by group (LFW and the groups of `benchmarks.group_faces`), partly like
somebody real, partly by the group's covariance. So some look alike as real people do. A second
image of somebody is as similar to the first as in a real pair of LFW, and differs in the same way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.group_faces import embed_faces, one_of_each, read_faces
from benchmarks.model_cards import embed_images, lfw_images
from facesync.faces.embedding import FaceModel, unit

LIKE_SOMEBODY = (0.58, 0.12)
"""Mean and deviation of the share of somebody real in a person: the tail of the similarities of
different people is then as heavy as that of real people."""
_SHRUNK = 0.5  # share of the covariance of all groups in that of each


class Crowd:
    """Draws embeddings, float32 (n, 512) of unit length.

    Args:
        model: whose embeddings.
        data: the folder of real data.
        cache: for the embeddings of real images.
        seed: of all draws.
    """

    def __init__(self, model: FaceModel, data: Path, cache: Path, seed: int = 1) -> None:
        self.chance = np.random.default_rng(seed)
        images, _ = lfw_images(data)
        vectors = embed_images(model, images, cache)
        names = np.array([str(image.identity) for image in images])
        found = ~np.isnan(vectors).any(axis=1)
        vectors, names = vectors[found], names[found]
        first = np.unique(names, return_index=True)[1]
        self.groups = [vectors[first]] + [
            embed_faces(model, faces, cache) for faces in one_of_each(read_faces(data)).values()
        ]
        inside = [rows - rows.mean(axis=0) for rows in self.groups]
        pooled = np.cov(np.concatenate(inside).T)
        own = [(1 - _SHRUNK) * np.cov(rows.T) + _SHRUNK * pooled for rows in inside]
        some = 1e-7 * np.eye(pooled.shape[0])
        self._spread = [np.linalg.cholesky(each + some).astype(np.float32) for each in own]
        one, other = np.nonzero((names[:, None] == names) & ~np.eye(len(names), dtype=bool))
        self.genuine = (vectors[one] * vectors[other]).sum(axis=1)
        self._ways = unit(vectors[other] - self.genuine[:, None] * vectors[one])
        pairs = np.unique(names[one], return_inverse=True, return_counts=True)
        self.weights = 1 / (len(pairs[2]) * pairs[2][pairs[1]])  # everybody counts alike somebody

    def people(self, number: int) -> np.ndarray:
        """Draw one image each of different people, in random order."""
        shares = np.array([len(rows) for rows in self.groups], float)
        counts = self.chance.multinomial(number, shares / shares.sum())
        drawn = []
        for rows, spread, count in zip(self.groups, self._spread, counts, strict=True):
            mean = rows.mean(axis=0)
            share = self.chance.normal(*LIKE_SOMEBODY, (count, 1)).clip(0, 0.95).astype(np.float32)
            noise = self.chance.standard_normal((count, len(mean)), np.float32) @ spread.T
            somebody = self.chance.choice(rows, count) - mean
            drawn.append(mean + share * somebody + np.sqrt(1 - share**2) * noise)
        return unit(np.concatenate(drawn)[self.chance.permutation(number)]).astype(np.float32)

    def again(self, rows: np.ndarray) -> np.ndarray:
        """Draw another image of each of the people."""
        chosen = self.chance.choice(len(self.genuine), len(rows), p=self.weights)
        ways = self._ways[chosen]
        ways = unit(ways - (ways * rows).sum(axis=1, keepdims=True) * rows)
        cosine = self.genuine[chosen, None]
        return (cosine * rows + np.sqrt(1 - cosine**2) * ways).astype(np.float32)
