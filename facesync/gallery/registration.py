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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facesync.cli import decimals
from facesync.errors import ImageError, StoreError, UsageError
from facesync.faces.detection import Face
from facesync.faces.recognizer import Recognizer, Seen
from facesync.gallery import audit_log
from facesync.gallery.enrolment import (
    CAMERA_AGREEMENT,
    PHOTOGRAPH_AGREEMENT,
    Enrolment,
    equally_large,
)
from facesync.gallery.lookalikes import look_alike
from facesync.gallery.matching import Matcher, comparable
from facesync.gallery.people import Person, clean_name, name_key, one_with_name
from facesync.gallery.reembedding import renewed
from facesync.gallery.store import Gallery
from facesync.images import read_image_rgb


@dataclass(frozen=True)
class Registration:
    """Who to register, and what is allowed.

    Attributes:
        name: as typed.
        replace: replace the person who already has this name.
        add: add samples to the person who already has this name.
        same_person: the caller vouches that the face is theirs, so that there is no `Doubt` of it.
        similar_name: the caller vouches that a name which looks like another's is meant.

    Raises:
        UsageError: both `replace` and `add` are set.
    """

    name: str
    replace: bool = False
    add: bool = False
    same_person: bool = False
    similar_name: bool = False

    def __post_init__(self) -> None:
        if self.add and self.replace:
            raise UsageError("register: --add and --replace do not go together")


class Doubt(StoreError):
    """There is doubt about storing a person; somebody has to decide.

    To store them anyway, do the same again with a `Registration` that allows it.

    Attributes:
        what: the reason for the doubt.
        question: a yes-or-no question; yes means store the person.
        allowed_by: the field of `Registration` to set after a yes.
    """

    def __init__(self, what: str, question: str, advice: str, allowed_by: str) -> None:
        super().__init__(f"{what}; {advice}, use --{allowed_by.replace('_', '-')}")
        self.what, self.question, self.allowed_by = what, question, allowed_by

    def allow(self, request: Registration) -> Registration:
        """Return the request with what was in doubt allowed."""
        allowed: dict[str, Any] = {self.allowed_by: True}
        return replace(request, **allowed)


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
        Doubt: it looks like another name, and `similar_name` is not set.
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
    if not taken and not request.similar_name:
        _check_looks(name, gallery.people())
    return taken.name if taken and request.add else name


def _check_looks(name: str, people: Sequence[Person]) -> None:
    """Raise a Doubt if a name looks like that of somebody else."""
    alike = look_alike(name, people)
    if alike:
        raise Doubt(
            f"{name} looks like {alike.name}, who is registered, but has other letters",
            f"Is {name} another person, with this name?",
            "if it is meant",
            "similar_name",
        )


def enrol_images(
    recognizer: Recognizer,
    enrolment: Enrolment,
    images: Iterable[tuple[str, Path | bytes | np.ndarray]],
    ask: Callable[[str], bool] | None = None,
) -> Iterator[Outcome]:
    """Offer photographs to an enrolment, then drop those that do not agree with the others.

    Args:
        recognizer: finds and embeds the main face of each image.
        enrolment: made with `photographs=True`; collects the samples.
        images: pairs of a name and an image: a file, its bytes, or uint8 RGB (height,
            width, 3).
        ask: answers whether the person is the one described, where an image shows several who are
            about equally large; without it such an image is left out.

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
            image_rgb = image if isinstance(image, np.ndarray) else read_image_rgb(image, name)
            seen = recognizer.look(image_rgb, photograph=True)
            same_size = [] if seen is None else equally_large(seen.faces)
            if seen is not None and len(same_size) > 1:
                seen = _chosen(recognizer, seen, same_size, name, ask)
                if seen is None:
                    yield Outcome(
                        name, False, f"{len(same_size)} people about equally large; crop it to one"
                    )
                    continue
            verdict = enrolment.offer(seen)
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


def _chosen(
    recognizer: Recognizer,
    seen: Seen,
    faces: Sequence[Face],
    name: str,
    ask: Callable[[str], bool] | None,
) -> Seen | None:
    """Ask which of several faces counts; None if none does, or there is nobody to ask."""
    for place, face in enumerate(sorted(faces, key=lambda face: float(face.box_xyxy[0])), start=1):
        where = f"number {place} from the left"
        if ask and ask(f"{name} shows {len(faces)} people about equally large. Is it {where}?"):
            return seen if face is seen.faces[0] else recognizer.turn_to(seen, face)
    return None


def store(
    gallery: Gallery, recognizer: Recognizer, request: Registration, enrolment: Enrolment
) -> Person:
    """Store and return the person of an enrolment, unless something speaks against it.

    Raises:
        Doubt: the face is not that of the person with this name, or is stored under another
            name, and `same_person` is not set.
        NotAlive: the enrolment watches whether the person is there alive, and has not seen it.
        StoreError: the name or the store does not allow it.
    """
    name = check_name(gallery, request)
    if enrolment.presence is not None:
        enrolment.presence.confirm()
    person = enrolment.person(name, recognizer.fingerprint)
    check_face(gallery, recognizer, request, person)
    if request.add:
        return gallery.add(person, enrolment.images_rgb)
    gallery.register(person, enrolment.images_rgb, replace=request.replace)
    return person


def rename(gallery: Gallery, name: str, new: str, *, similar_name: bool = False) -> Person:
    """Give a person another name, checked as that of a new person is, and return them.

    Raises:
        Doubt: the new name looks like somebody else's, and `similar_name` is not set.
        StoreError: nobody has the name, the new one is taken, or the store does not allow it.
        FileError: what was done cannot be written to the log of the gallery.
    """
    person, others = one_with_name(gallery.people(), name)
    if not similar_name:
        _check_looks(clean_name(new), others)
    renamed = gallery.rename(person.name, new)
    _note(gallery, "renamed", {"name": person.name, "new": renamed.name})
    return renamed


def merge(
    gallery: Gallery, recognizer: Recognizer, name: str, other: str, *, same_person: bool = False
) -> Person:
    """Let the samples of another person join somebody's, checked as added ones are.

    Raises:
        Doubt: their faces are not alike enough, and `same_person` is not set.
        StoreError: nobody has one of the names, or it is one person's; another model made a
            template and it cannot be made again; or the store does not allow it.
        FileError: what was done cannot be written to the log of the gallery.
    """
    for spelled in (name, other):  # before seconds are spent on loading
        one_with_name(gallery.people(), spelled)
    people = renewed(gallery, recognizer)
    person, joining = (one_with_name(people, spelled)[0] for spelled in (name, other))
    for each in (person, joining):
        if not comparable([each], recognizer.fingerprint):
            raise StoreError(f"{each.name} was registered with another model: register them again")
    if not same_person and person is not joining:
        request = Registration(person.name, add=True)
        _check_same_face(recognizer, request, joining, person)
    both = gallery.merge(person.name, joining.name)
    _note(gallery, "merged", {"name": both.name, "other": joining.name})
    return both


def _note(gallery: Gallery, event: str, facts: Mapping[str, str]) -> None:
    if gallery.audit_log is not None:
        audit_log.append_event(gallery.audit_log, event, facts)


def check_face(
    gallery: Gallery, recognizer: Recognizer, request: Registration, person: Person
) -> None:
    """Check whose face it is: after the first sample, to spare the others, and before storing.

    Raises:
        Doubt: the face is not that of the person with this name, or is stored under another
            name, and `same_person` is not set.
    """
    if request.same_person:
        return
    compared = comparable(renewed(gallery, recognizer), recognizer.fingerprint)
    key = name_key(person.name)
    for known in compared:
        if name_key(known.name) == key:
            _check_same_face(recognizer, request, person, known)
    _check_new_face(recognizer, person, [p for p in compared if name_key(p.name) != key])


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
            "if they are the same person",
            "same_person",
        )


def _check_new_face(recognizer: Recognizer, person: Person, others: Sequence[Person]) -> None:
    """Raise a Doubt if the face is stored under another name."""
    if not others:
        return
    similarities = Matcher(others).similarities(person.embedding)
    best = int(np.argmax(similarities))
    if not similarities[best] < recognizer.threshold_for(len(others)):
        raise Doubt(
            f"this face is already registered as {others[best].name} (similarity "
            f"{decimals(similarities[best])})",
            f"Is {person.name} the same person under another name, or a twin?",
            "if they are the same person, or twins",
            "same_person",
        )
