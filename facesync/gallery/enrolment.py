"""Collecting the samples of one person, guarded against mistakes, and making the template.

Frames and photographs pass through the same gate (`Enrolment.offer`): one face, good enough, and
not a copy of an earlier sample. Samples must agree with each other; one that does not is dropped
and retaken, and an enrolment of two people is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facesync.cli import decimals
from facesync.errors import ImageError
from facesync.faces.crops import cut_square, resize
from facesync.faces.detection import Face
from facesync.faces.quality import CAMERA, PHOTOGRAPH, Pose, Quality, appearance, complaint
from facesync.faces.recognizer import Seen
from facesync.gallery.people import Person, from_samples
from facesync.gallery.presence import Presence

SAMPLES = 5
"""Samples that are taken from a camera."""

SAME_IMAGE = 0.97
"""Product of two appearances from which one image counts as a copy of the other."""

CAMERA_AGREEMENT, PHOTOGRAPH_AGREEMENT = 0.75, 0.5
"""Least similarity between samples, as a share of the threshold. Photographs of one person may be
years apart: on LFW, half the threshold refuses no pair of one person and 94 % of the pairs of two
people; frames of one session are far more similar than that (`python -m benchmarks.quality`)."""

SAME_SIZE = 0.6
"""Share of the main face's area from which another face of a photograph is about as large."""

DROPPED_LIMIT = 3
"""When this many samples were dropped, somebody else is in front of the camera."""

_IMAGE_SCALE, _IMAGE_SIDE = 2.0, 640


@dataclass(frozen=True)
class Verdict:
    """Whether an image that was offered is a sample now, and why not or a remark, in one line."""

    taken: bool
    reason: str = ""


@dataclass(frozen=True)
class _Sample:
    image_rgb: np.ndarray
    embedding: np.ndarray
    quality: Quality
    appearance: np.ndarray
    pose: str


def equally_large(faces: Sequence[Face]) -> list[Face]:
    """Return the faces of a photograph that it may be about: the first, and any about as large."""
    return [face for face in faces if face.area >= SAME_SIZE * faces[0].area]


class TwoPeople(ImageError):
    """The samples show different people; nothing may be stored."""


class Enrolment:
    """Collects samples of one person.

    Args:
        threshold: cosine similarity that accepts a face; agreement is a share of it.
        photographs: the samples are photographs, not frames of a camera.
        presence: watches whether the person is there alive; None does not ask.
    """

    def __init__(
        self, threshold: float, *, photographs: bool = False, presence: Presence | None = None
    ) -> None:
        share = PHOTOGRAPH_AGREEMENT if photographs else CAMERA_AGREEMENT
        self._agreement = share * threshold
        self._photographs = photographs
        self._samples: list[_Sample] = []
        self._dropped = 0
        self.presence = presence

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def images_rgb(self) -> list[np.ndarray]:
        """Images of the samples, uint8 RGB, with a margin around the face."""
        return [sample.image_rgb for sample in self._samples]

    def fault(self, seen: Seen | None) -> str | None:
        """Say why an image cannot be a sample, whatever the others are; None if it can."""
        if seen is None:
            return "no face" if self._photographs else "no face: look into the camera"
        if len(seen.faces) > 1 and not self._photographs:
            return f"{_number(len(seen.faces))} faces: only one person, please"
        return complaint(seen.quality, PHOTOGRAPH if self._photographs else CAMERA)

    def refusal(self, seen: Seen | None) -> str | None:
        """Say why an image would not be taken as the next sample; None if it would."""
        fault = self.fault(seen)
        if fault or seen is None:
            return fault
        looks = appearance(seen.image_rgb, seen.faces[0])
        if any(looks @ old.appearance > SAME_IMAGE for old in self._samples):
            hint = "" if self._photographs else ": move your head a little"
            return f"looks the same as an earlier sample{hint}"
        return None

    @property
    def poses(self) -> dict[str, Pose]:
        """The poses of the samples, by the names given to them; the first of each."""
        latest_first = reversed(self._samples)
        return {sample.pose: sample.quality.pose for sample in latest_first if sample.pose}

    @property
    def agreement(self) -> float:
        """How similar the samples are: the least of their typical similarities to the others."""
        return float(self._typical().min())

    def offer(self, seen: Seen | None, pose: str = "") -> Verdict:
        """Take an image as a sample if it can be one; `pose` names the pose of the face.

        Raises:
            TwoPeople: too many samples did not agree with the others.
        """
        refusal = self.refusal(seen)
        if refusal:
            return Verdict(False, refusal)
        assert seen is not None
        sample = _sample(seen, pose)
        self._samples.append(sample)
        if not self._photographs and self._drop_outlier():
            if self._dropped >= DROPPED_LIMIT:
                raise TwoPeople("the samples show two different people; nothing is stored")
            taken = any(kept is sample for kept in self._samples)
            return Verdict(taken, "a sample did not match the others: dropped, will be retaken")
        if self._photographs:
            return Verdict(True, self._remark(seen))
        return Verdict(True)

    def settle(self) -> list[int]:
        """Drop photographs that do not agree with the others, once all have been offered.

        Returns:
            Positions, among the images that were taken, of those dropped.

        Raises:
            TwoPeople: it is unclear which of them belong together.
        """
        places = list(range(len(self._samples)))
        dropped = []
        while (outlier := self._outlier()) is not None:
            if len(self._samples) < 3:
                alike = float(self._samples[0].embedding @ self._samples[1].embedding)
                raise TwoPeople(
                    f"the images show two different people (similarity {decimals(alike)}, at least "
                    f"{decimals(self._agreement)} needed); nothing is stored"
                )
            dropped.append(places.pop(outlier))
            del self._samples[outlier]
        if len(dropped) > 1 and len(dropped) >= len(self._samples):
            raise TwoPeople("the images show different people; nothing is stored")
        return dropped

    def person(self, name: str, fingerprint: str) -> Person:
        """Make the person, whose template is the unit mean of the samples (at least one)."""
        embeddings = np.stack([sample.embedding for sample in self._samples])
        qualities = np.array([sample.quality.overall for sample in self._samples], dtype=np.float32)
        return from_samples(name, fingerprint, embeddings, qualities)

    def _remark(self, seen: Seen) -> str:
        """Remark on a photograph that is taken all the same."""
        remarks = [f"{len(seen.faces)} faces, the main one"] if len(seen.faces) > 1 else []
        doubt = complaint(seen.quality, CAMERA)
        return ", ".join([*remarks, *([f"though {doubt.split(':')[0]}"] if doubt else [])])

    def _drop_outlier(self) -> bool:
        """Drop samples that disagree, while there are enough to tell which ones are wrong."""
        before = self._dropped
        while len(self._samples) >= 3 and (outlier := self._outlier()) is not None:
            del self._samples[outlier]
            self._dropped += 1
        return self._dropped > before

    def _outlier(self) -> int | None:
        """Find the sample least similar to the others, if it is less similar than required."""
        typical = self._typical()
        worst = int(typical.argmin())
        return None if typical[worst] >= self._agreement else worst

    def _typical(self) -> np.ndarray:
        """Each sample's median similarity to the others, (samples,); 1 for a single sample."""
        if len(self._samples) < 2:
            return np.ones(len(self._samples))
        embeddings = np.stack([sample.embedding for sample in self._samples])
        similarities = embeddings @ embeddings.T
        others = ~np.eye(len(embeddings), dtype=bool)
        return np.array(
            [np.median(row[mask]) for row, mask in zip(similarities, others, strict=True)]
        )


def _sample(seen: Seen, pose: str) -> _Sample:
    # Twice the face's box holds the crop of every model, so that the person can be embedded again
    # from these images when the model changes (`facesync.gallery.reembedding`).
    image_rgb = cut_square(seen.image_rgb, seen.faces[0].box_xyxy, _IMAGE_SCALE)
    if len(image_rgb) > _IMAGE_SIDE:
        image_rgb = resize(image_rgb, _IMAGE_SIDE)
    looks = appearance(seen.image_rgb, seen.faces[0])
    return _Sample(image_rgb, seen.embedding, seen.quality, looks, pose)


def _number(count: int) -> str:
    words: Sequence[str] = ("no", "one", "two", "three", "four")
    return words[count] if count < len(words) else str(count)
