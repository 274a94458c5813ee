"""Faces of many groups of people, and their embeddings: what thresholds by group are measured on.

They are the crops of `data/distil` and `data/distil_more`: SCUT-FBP5500, MEBeauty, UTKFace and
All-Age-Faces, with box and landmarks in each folder's `faces.csv`, so that any model's crop can be
cut without a search.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesync.evaluation.cache import VectorCache, content_id
from facesync.faces.detection import Face
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel
from facesync.images import read_image_rgb

_BATCH = 64


@dataclass(frozen=True)
class GroupFace:
    """A face of a set.

    Attributes:
        path: its crop, which shows more than the face.
        face: where it is in the crop.
        source: the set, as the csv calls it.
        age: in years; None if unknown.
        group: as the csv calls it; empty if unknown.
    """

    path: Path
    face: Face
    source: str
    age: float | None
    group: str


def read_faces(data: Path) -> list[GroupFace]:
    """Read both lists of faces, in their order."""
    found = []
    for name in ("distil", "distil_more"):
        with open(data / name / "faces.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                numbers = np.array([float(row[key]) for key in list(row)[2:16]], np.float32)
                age = row.get("age") or None
                found.append(
                    GroupFace(
                        path=data / name / row["file"],
                        face=Face(numbers[:4], numbers[4:].reshape(5, 2), 1.0),
                        source=row["set"],
                        age=None if age is None else float(age),
                        group=row.get("group") or "",
                    )
                )
    return found


def embed_faces(model: FaceModel, faces: Sequence[GroupFace], cache: Path) -> np.ndarray:
    """Embed faces, float32 (faces, 512), each of unit length; those in the cache are not computed.

    Args:
        model: the model, with its crop.
        faces: the faces.
        cache: folder of caches; this model's is below it.
    """
    stored = VectorCache(cache / f"groups-{model.fingerprint}", EMBEDDING_SIZE)
    known = dict(stored.stored())
    keys = [content_id(face.path.read_bytes()) for face in faces]
    missing = [index for index, key in enumerate(keys) if key not in known]
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        crops = [model.crop.cut(read_image_rgb(faces[n].path), faces[n].face) for n in batch]
        for index, vector in zip(batch, model.embed_crops(crops), strict=True):
            known[keys[index]] = vector
            stored.add(keys[index], vector)
    stored.flush()
    return np.stack([known[key] for key in keys])
