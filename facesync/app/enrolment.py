"""Samples of one person, and the template that is made of them."""

from __future__ import annotations

import numpy as np

from facesync.app.recognizer import Seen
from facesync.faces.crops import cut_square, resize
from facesync.gallery.store import Person, now

SAMPLES = 5
"""Samples that are taken from a camera."""

_PICTURE_SCALE, _PICTURE_SIDE = 2.0, 640


class Enrolment:
    """Collects samples: of each picture the face that counts."""

    def __init__(self) -> None:
        self.pictures_rgb: list[np.ndarray] = []
        self._embeddings: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._embeddings)

    def add(self, seen: Seen) -> None:
        """Take a picture's face; it must have one."""
        assert seen.embedding is not None
        # Twice the face's box holds every crop that a model wants, so that the person can be
        # registered again from these pictures when the model changes.
        picture = cut_square(seen.image_rgb, seen.faces[0].box_xyxy, _PICTURE_SCALE)
        if len(picture) > _PICTURE_SIDE:
            picture = resize(picture, _PICTURE_SIDE)
        self.pictures_rgb.append(picture)
        self._embeddings.append(seen.embedding)

    def person(self, name: str, fingerprint: str) -> Person:
        """Average the samples (at least one) to a template of unit length."""
        mean = np.mean(self._embeddings, axis=0)
        template = (mean / np.linalg.norm(mean)).astype(np.float32)
        return Person(name, template, fingerprint, registered=now(), samples=len(self))
