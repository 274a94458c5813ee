"""Registering a person: checks of the name and the images, and of whether there is any doubt.

Nothing here prints or asks. A program registers somebody like this:

    request = Registration("Ada")
    check_name(gallery, request)
    enrolment = Enrolment(recognizer.threshold, photographs=True)
    for outcome in enrol_images(recognizer, enrolment, images):
        ...
    person = store(gallery, recognizer, request, enrolment)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesync.cli import decimals
from facesync.errors import ImageError, StoreError, UsageError
from facesync.faces.recognizer import Recognizer
from facesync.gallery.enrolment import CAMERA_AGREEMENT, PHOTOGRAPH_AGREEMENT, Enrolment
from facesync.gallery.matching import Matcher, comparable
from facesync.gallery.people import Person, clean_name, name_key
from facesync.gallery.store import Gallery
from facesync.images import read_image_rgb


@dataclass(frozen=True)
class Registration:
    """Who to register, and what is allowed.

    Attributes:
        name: as typed.
        replace: replace the person who already has this name.
        add: add samples to the person who already has this name.
        same_person: the caller vouches that it is one person, so `store` raises no `Doubt`.

    Raises:
        UsageError: both `replace` and `add` are set.
    """

    name: str
    replace: bool = False
    add: bool = False
    same_person: bool = False

    def __post_init__(self) -> None:
        if self.add and self.replace:
            raise UsageError("register: --add and --replace do not go together")


class Doubt(StoreError):
    """There is doubt about storing a person; somebody has to decide.

    To store them anyway, call `store` again with `same_person` set.

    Attributes:
        what: the reason for the doubt.
        question: a yes-or-no question; yes means store the person.
    """

    def __init__(self, what: str, question: str) -> None:
        super().__init__(f"{what}; if they are the same person, use --same-person")
        self.what, self.question = what, question


@dataclass(frozen=True)
class Outcome:
    """The result for one image.

    Attributes:
        name: of the image, as given.
        taken: whether it is a sample now.
        reason: why not, or a remark about one that was taken; may be empty then.
    """

    name: str
    taken: bool
    reason: str = ""


def check_name(gallery: Gallery, request: Registration) -> str:
    """Return the cleaned name (with `add`, as it is stored) if the request may use it.

    Raises:
        StoreError: the name is empty, taken although it must be free, or the reverse.
    """
    name = clean_name(request.name)
    if not name:
        raise StoreError("a name needs at least one letter, digit or symbol")
    taken = gallery.find(name)
    if request.add and taken is None:
        raise StoreError(f"nobody is registered as {name}; leave out --add to register them")
    if taken and not (request.replace or request.add):
        raise StoreError(
            f"{taken.name} is already registered; "
            "use --add to add samples, or --replace to start over"
        )
    return taken.name if taken and request.add else name


def enrol_images(
    recognizer: Recognizer,
    enrolment: Enrolment,
    images: Iterable[tuple[str, Path | np.ndarray]],
) -> Iterator[Outcome]:
    """Offer photographs to an enrolment, then drop those that do not agree with the others.

    Args:
        recognizer: finds and embeds the main face of each image.
        enrolment: made with `photographs=True`; collects the samples.
        images: pairs of a name and an image: a file, or uint8 RGB (height, width, 3).

    Yields:
        The result for each image, as soon as it is known; at the end, once more, those that were
        taken and then dropped.

    Raises:
        ImageError: no image shows a usable face.
        TwoPeople: the images show several people.
    """
    taken = []
    for name, image in images:
        try:
            image_rgb = read_image_rgb(image) if isinstance(image, Path) else image
            verdict = enrolment.offer(recognizer.look(image_rgb, photograph=True))
        except ImageError as error:
            yield Outcome(name, False, str(error))
            continue
        if verdict.taken:
            taken.append(name)
        yield Outcome(name, verdict.taken, verdict.reason)
    if not taken:
        raise ImageError("no image shows a usable face; nothing is stored")
    for place in enrolment.settle():
        yield Outcome(taken[place], False, "a different person from the others")


def store(
    gallery: Gallery, recognizer: Recognizer, request: Registration, enrolment: Enrolment
) -> Person:
    """Store and return the person of an enrolment, unless something speaks against it.

    Raises:
        Doubt: the face is not that of the person with this name, or is stored under another
            name, and `same_person` is not set.
        StoreError: the name or the store does not allow it.
    """
    name = check_name(gallery, request)
    known = gallery.find(name)
    if known is not None and not comparable([known], recognizer.fingerprint):
        if request.add:
            raise StoreError(f"{name} was registered with another model; use --replace instead")
        known = None
    person = enrolment.person(name, recognizer.fingerprint)
    if not request.same_person:
        if known is not None:
            _check_same_face(recognizer, request, person, known)
        _check_new_face(gallery, recognizer, person)
    if request.add:
        rows, qualities = person.sample_embeddings, person.sample_qualities
        return gallery.add(name, rows, qualities, enrolment.images_rgb)
    gallery.register(person, enrolment.images_rgb, replace=request.replace)
    return person


def _check_same_face(
    recognizer: Recognizer, request: Registration, person: Person, known: Person
) -> None:
    """Raise a Doubt if the person does not look like the one stored under this name."""
    share = CAMERA_AGREEMENT if request.add else PHOTOGRAPH_AGREEMENT
    needed = share * recognizer.threshold
    similarity = float(Matcher([known]).similarities(person.embedding)[0])
    if not similarity >= needed:
        raise Doubt(
            f"this is not the face registered as {known.name} (similarity "
            f"{decimals(similarity)}, at least {decimals(needed)} needed)",
            "Is it the same person anyway?",
        )


def _check_new_face(gallery: Gallery, recognizer: Recognizer, person: Person) -> None:
    """Raise a Doubt if the face is stored under another name."""
    others = [
        other
        for other in comparable(gallery.people(), recognizer.fingerprint)
        if name_key(other.name) != name_key(person.name)
    ]
    if not others:
        return
    similarities = Matcher(others).similarities(person.embedding)
    best = int(np.argmax(similarities))
    if not similarities[best] < recognizer.threshold_for(len(others)):
        raise Doubt(
            f"this face is already registered as {others[best].name} (similarity "
            f"{decimals(similarities[best])})",
            f"Is {person.name} the same person under another name?",
        )
