"""The public face of FaceSync; `import facesync` offers everything that is in `__all__` here.

    import facesync

    model = facesync.load_model()
    for face in model.find("group.jpg"):
        print(face.box, face.quality.overall)
    print(model.compare("ada_1.jpg", "ada_2.jpg"))

    gallery = facesync.open_gallery("people.pkl", model)
    gallery.register("Ada", ["ada_1.jpg", "ada_2.jpg"])
    print(gallery.identify("group.jpg"))

An image is a path, the bytes of an image file, or a uint8 RGB array of shape (height, width, 3).
Similarities are cosines, -1 to 1. Every error that a caller can cause is a `FaceSyncError`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from facesync.errors import (
    CameraError,
    DataError,
    DownloadError,
    FaceSyncError,
    FileError,
    ImageError,
    ModelError,
    StoreError,
    UsageError,
)
from facesync.faces.quality import Quality, measure
from facesync.faces.recognizer import Comparison, Recognizer
from facesync.faces.settings import RecognizerSettings
from facesync.gallery import registration, store
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.matching import Matcher, comparable
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import Person
from facesync.gallery.reembedding import renewed
from facesync.images import read_image_rgb
from facesync.liveness.evidence import Evidence
from facesync.liveness.passive import load_passive
from facesync.liveness.policy import Liveness, Policy

__all__ = [
    "CameraError", "Comparison", "DataError", "DownloadError", "Face", "FaceSyncError",
    "FileError", "Gallery", "ImageError", "Liveness", "Match", "Model", "ModelError", "Person",
    "Quality", "StoreError", "UsageError", "load_model", "open_gallery",
]  # fmt: skip

log = logging.getLogger(__name__)

AnyImage: TypeAlias = str | os.PathLike[str] | bytes | np.ndarray
"""A path, the bytes of an image file, or uint8 RGB of shape (height, width, 3)."""

MARGIN = 0.05
"""How much more similar the best person must be than the second, as in the app."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in an image.

    Attributes:
        box: float32 (4,): left, top, right, bottom in pixels; may reach outside the image.
        landmarks: float32 (5, 2), x and y in pixels: left and right eye (as seen), tip of the
            nose, left and right corner of the mouth.
        probability: the detector's, 0 to 1.
        quality: sharpness, light, size and pose; `quality.overall` is 0 to 1.
        embedding: float32 (512,) of unit length.
    """

    box: np.ndarray
    landmarks: np.ndarray
    probability: float
    quality: Quality
    embedding: np.ndarray


@dataclass(frozen=True)
class Match:
    """Who a face is.

    Attributes:
        face: the face.
        name: the registered person; None if nobody is similar enough.
        similarity: cosine to the most similar person, -1 to 1; None if nobody is registered.
        threshold: the similarity at which a face is accepted; it rises with the number of
            people registered and of faces in the image.
        reason: a sentence that explains the outcome.
        probability: that a pair of faces of this similarity shows one person, if both answers were
            equally likely beforehand; None without a similarity or a calibration.
    """

    face: Face
    name: str | None
    similarity: float | None
    threshold: float
    reason: str
    probability: float | None = None

    def __repr__(self) -> str:
        box = [round(float(value)) for value in self.face.box]
        return f"Match(name={self.name!r}, similarity={self.similarity}, box={box})"


class Model:
    """A face detector and an embedding model, loaded. `load_model` makes one.

    Attributes:
        source: which weights are in use.
        trusted: whether it was measured on people it was not trained on, and is not worse than what
            it was trained from. If not, its decisions are not to be relied on.
        why_trusted: or why not, in words.
        fingerprint: identifies the weights and the crop; only embeddings with the same
            fingerprint can be compared.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        recognizer.load()
        self._recognizer = recognizer
        self.source = recognizer.model_in_words
        facts = recognizer.facts(1)
        self.trusted: bool = facts["trusted"]
        self.why_trusted: str = facts["trust"]
        self.fingerprint = recognizer.fingerprint

    def find(self, image: AnyImage) -> list[Face]:
        """Find all faces in an image, largest first; an empty list if there are none.

        Raises:
            ImageError: the image cannot be read.
        """
        image_rgb = _read(image)
        found, embeddings = self._recognizer.find_and_embed(image_rgb)
        return [
            Face(
                face.box_xyxy, face.landmarks, face.probability, measure(image_rgb, face), embedding
            )
            for face, embedding in zip(found, embeddings, strict=True)
        ]

    def main_face(self, image: AnyImage) -> Face:
        """Find the face that a photograph is about: large and near the middle.

        Raises:
            ImageError: the image cannot be read, or shows no face.
        """
        seen = self._recognizer.look(_read(image), photograph=True)
        if seen is None:
            raise ImageError(f"{_name(image)}: no face found")
        main = seen.faces[0]
        return Face(main.box_xyxy, main.landmarks, main.probability, seen.quality, seen.embedding)

    def compare(self, one: AnyImage | Face, other: AnyImage | Face) -> Comparison:
        """Compare two faces; of an image its main face.

        Raises:
            ImageError: an image cannot be read, or shows no face.
        """
        faces = [item if isinstance(item, Face) else self.main_face(item) for item in (one, other)]
        return self._recognizer.compare(faces[0].embedding, faces[1].embedding)

    def liveness(self, frames: Iterable[AnyImage]) -> Liveness:
        """Say whether the largest face of a camera's frames is alive, not a print or a screen.

        Args:
            frames: of one person, in order, five or more; best some tenths of a second apart.

        Returns:
            With `live` None where fewer than five frames show a face.

        Raises:
            ImageError: a frame cannot be read.
            ModelError: the liveness model is missing.
            UsageError: `frames` is one image, not a list of them.
        """
        if not isinstance(frames, Iterable) or _is_one_image(frames):
            raise UsageError("liveness takes a list of frames: one image cannot show it")
        passive = load_passive()
        evidence = Evidence(passive, self._recognizer.threshold)
        for frame in frames:
            seen = self._recognizer.look(_read(frame))
            if seen is not None:
                evidence.look(seen.image_rgb, seen.faces[0], seen.embedding)
        return Policy("passive", passive, None).judge(evidence, recorded=True)


class Gallery:
    """The people who are registered, in a file. `open_gallery` makes one.

    Every call reads the file, so that several programs may share it.
    """

    def __init__(self, people: store.Gallery, model: Model) -> None:
        self._store = people
        self._model = model

    def people(self) -> list[Person]:
        """Return all registered people, sorted by name.

        Raises:
            StoreError: the file cannot be read.
        """
        return self._store.people()

    def register(
        self,
        name: str,
        images: Iterable[AnyImage],
        *,
        replace: bool = False,
        add: bool = False,
        same_person: bool = False,
        similar_name: bool = False,
    ) -> Person:
        """Register a person from photographs; the main face of each that is good enough counts.

        Args:
            name: of the person; any text with a letter, digit or sign.
            images: one or more.
            replace: replace the person who has this name, if any.
            add: add the images as samples to the person who has this name.
            same_person: store them although the face is registered under another name, or does
                not look like the one registered under this name.
            similar_name: allow a name that looks like a registered one, but has other letters.

        Returns:
            The person as stored.

        Raises:
            ImageError: no image shows a face that can be used, or they show different people.
            StoreError: the name is taken, the face is registered already, or the file cannot be
                read or written.
            UsageError: `images` is one image, not a list of them, or both `replace` and `add` are
                set.
        """
        if not isinstance(images, Iterable) or _is_one_image(images):
            raise UsageError("register takes a list of images, even of one")
        recognizer = self._model._recognizer
        request = registration.Registration(name, replace, add, same_person, similar_name)
        registration.check_name(self._store, request)
        renewed(self._store, recognizer)
        enrolment = Enrolment(recognizer.threshold, photographs=True)
        named = ((_name(image), _read(image)) for image in images)
        outcomes = list(registration.enrol_images(recognizer, enrolment, named))
        for outcome in outcomes:
            if not outcome.taken:
                log.warning("%s: %s: left out", outcome.name, outcome.reason)
        return registration.store(self._store, recognizer, request, enrolment)

    def identify(self, image: AnyImage) -> list[Match]:
        """Say who is in an image: a match for every face, largest first.

        A person is matched to at most one face in an image.

        Raises:
            ImageError: the image cannot be read.
            StoreError: the file cannot be read, or everybody in it was registered with another
                model and cannot be embedded again.
        """
        faces = self._model.find(image)
        recognizer = self._model._recognizer
        people = renewed(self._store, recognizer)
        known = comparable(people, recognizer.fingerprint)
        if people and not known:
            raise StoreError("everybody was registered with another model; register them again")
        threshold = recognizer.threshold_for(max(1, len(faces) * len(known)))
        if not known:
            return [Match(face, None, None, threshold, "nobody is registered") for face in faces]
        embeddings = [face.embedding for face in faces]
        decisions = Matcher(known, recognizer.probability).decide_each(
            embeddings, threshold, MARGIN
        )
        return [
            Match(face, each.name, each.similarity, threshold, each.reason, each.probability)
            for face, each in zip(faces, decisions, strict=True)
        ]

    def rename(self, name: str, new: str, *, similar_name: bool = False) -> Person:
        """Give a person another name; nothing keeps the one that they had.

        Args:
            name: whose.
            new: any text with a letter, digit or sign.
            similar_name: allow a name that looks like a registered one, but has other letters.

        Returns:
            The person as stored.

        Raises:
            StoreError: nobody has the name, the new one is taken or looks like somebody else's, or
                the file cannot be read or written.
        """
        return registration.rename(self._store, name, new, similar_name=similar_name)

    def merge(self, name: str, other: str, *, same_person: bool = False) -> Person:
        """Let the samples of another person join somebody's; nothing keeps the other name.

        Args:
            name: of who stays.
            other: of who is the same person, and is not registered any more then.
            same_person: merge them although their faces do not look alike.

        Returns:
            The person as stored, with the samples of both.

        Raises:
            StoreError: nobody has one of the names, their faces do not look alike, another model
                made a template and it cannot be made again, or the file cannot be read or written.
        """
        recognizer = self._model._recognizer
        return registration.merge(self._store, recognizer, name, other, same_person=same_person)

    def delete(self, name: str) -> None:
        """Delete a person: template, samples, and the copy in the backup.

        Raises:
            StoreError: nobody has this name, or something of the person could not be removed.
        """
        if self._store.delete(name) is None:
            raise StoreError(f"nobody is registered as {name}")


def load_model(
    name: str | None = None,
    *,
    device: str = "auto",
    offline: bool = False,
    threshold: float | None = None,
    fmr: float | None = None,
) -> Model:
    """Load a face detector and an embedding model; this takes seconds.

    Args:
        name: `edgeface-xs`, `vggface2`, `embedded` (ships with FaceSync) or the path of a model;
            None or `auto` takes the one chosen with `models use`, else one trained here if it is
            trusted, else the best of these that is here or can be downloaded. `Model.source` says
            which it is.
        device: `auto`, `cpu` or `cuda`.
        offline: download nothing.
        threshold: cosine similarity that accepts, in (-1, 1]; None for the model's own.
        fmr: false match rate from which a calibrated model's threshold follows, in (0, 1); None for
            `Calibration.default_fmr`.

    Raises:
        ModelError: the model is missing or damaged, or there is no such device.
        DownloadError: the weights had to be downloaded and could not be.
        UsageError: `threshold` or `fmr` is out of range.
    """
    if threshold is not None and not -1 < (threshold := float(threshold)) <= 1:
        raise UsageError(f"a threshold of {threshold} is not above -1 and at most 1")
    if fmr is not None and not 0 < fmr < 1:
        raise UsageError(f"a false match rate of {fmr} is not between 0 and 1")
    settings = RecognizerSettings(
        model=name, threshold=threshold, fmr=fmr, offline=offline, device=device
    )
    return Model(Recognizer(settings))


def open_gallery(
    path: str | os.PathLike[str],
    model: Model,
    *,
    faces: str | os.PathLike[str] | None = None,
    encrypt: bool = True,
) -> Gallery:
    """Open the people registered in a file; it is created by the first `register`.

    Args:
        path: the file; the app's is `models/face_embeddings.pkl`.
        model: what finds and embeds faces. People registered with another model are embedded
            again from their stored images, at the first `register` or `identify`.
        faces: folder of the sample images; by default `<stem>_faces` beside the file. The app's
            is `faces`.
        encrypt: encrypt the file and the images; the key lies in the system's keyring, or in a
            file in the user's configuration folder.

    Raises:
        UsageError: `path` does not name a file.
    """
    path = Path(path)
    folder = Path(faces) if faces is not None else path.parent / f"{path.stem}_faces"
    return Gallery(FileGallery(path, folder, encrypt=encrypt), model)


def _is_one_image(images: object) -> bool:
    """Whether a list of images is one image instead."""
    one = isinstance(images, np.ndarray) and images.ndim < 4
    return one or isinstance(images, (str, bytes, os.PathLike))


def _name(image: AnyImage) -> str:
    """Name an image in a message."""
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else "the image"


def _read(image: AnyImage) -> np.ndarray:
    """Return an image as uint8 RGB (height, width, 3)."""
    if isinstance(image, (str, os.PathLike)):
        return read_image_rgb(Path(image))
    if isinstance(image, bytes):
        return read_image_rgb(image)
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"an image of type {type(image).__name__}: give a path, the bytes of an image file, "
            "or a uint8 RGB array"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(
            f"an image of type {image.dtype} and shape {image.shape}: uint8 RGB of shape (height, "
            "width, 3) is needed"
        )
    return image
