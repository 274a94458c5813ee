"""Registering a person, from images or a camera, without a window; and what may be stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesync import cli
from facesync.app.flows import announce
from facesync.app.live import OpenCamera, frames
from facesync.app.pose_guide import SAMPLE_SECONDS, PoseGuide
from facesync.errors import CameraError, ImageError, StoreError
from facesync.faces.recognizer import Recognizer, Seen
from facesync.files import same_name_key
from facesync.gallery.enrolment import CAMERA_AGREEMENT, PHOTOGRAPH_AGREEMENT, SAMPLES, Enrolment
from facesync.gallery.matching import Matcher, comparable
from facesync.gallery.store import Gallery, Person, clean_name
from facesync.images import read_image_rgb

MIN_VIDEO_SAMPLES = 3
"""A camera or video with fewer usable moments than this registers nobody."""

_LOOK_SECONDS = 0.2  # Least time between looks at a recording.
_LIVE_PATIENCE_SECONDS = 60.0  # After so long without success, a live camera is given up.


class Doubt(StoreError):
    """Something speaks against storing a person; somebody has to say whether it is right.

    Attributes:
        what: what speaks against it.
        question: what is asked; yes stores the person.
    """

    def __init__(self, what: str, question: str) -> None:
        super().__init__(f"{what}; --same-person says that it is one person")
        self.what, self.question = what, question


@dataclass(frozen=True)
class Registration:
    """Whom to register, and what is allowed.

    Attributes:
        name: as typed.
        replace: register anew who is registered already.
        add: add samples to who is registered already.
        same_person: what looks like two people is one: who asks for this takes the word for it.
        ask: asks the person at the terminal, where there is one; the answer is yes or no.
    """

    name: str
    replace: bool = False
    add: bool = False
    same_person: bool = False
    ask: Callable[[str], bool] | None = None


def check_name(gallery: Gallery, request: Registration) -> str:
    """Clean a person's name and see that it may be used.

    Raises:
        StoreError: the name is empty, taken where it must not be, or not taken where it must be.
    """
    cleaned = clean_name(request.name)
    if not cleaned:
        raise StoreError("a name needs at least one letter, digit or sign")
    taken = gallery.find(cleaned)
    if request.add and taken is None:
        raise StoreError(f"nobody is registered as {cleaned}; without --add they are registered")
    if taken and not (request.replace or request.add):
        raise StoreError(
            f"{taken.name} is already registered; --replace registers them anew, --add adds samples"
        )
    return taken.name if taken and request.add else cleaned


def register_images(
    gallery: Gallery, recognizer: Recognizer, request: Registration, paths: Sequence[Path]
) -> None:
    """Register a person from images, saying of each what came of it.

    Raises:
        ImageError: no image shows a face that can be used, or they show several people;
            nothing is stored.
        StoreError: the name or the store does not allow it.
    """
    name = check_name(gallery, request)
    announce(gallery, recognizer)
    enrolment = Enrolment(recognizer.threshold, photographs=True)
    taken = []
    for path in paths:
        if _offer_image(enrolment, recognizer, path):
            taken.append(path)
    if not len(enrolment):
        raise ImageError(f"no image shows a face that can be used; {name} is not registered")
    settle(enrolment, [str(path) for path in taken], recognizer.threshold)
    store(gallery, recognizer, request, enrolment)


def register_camera(
    gallery: Gallery, recognizer: Recognizer, request: Registration, open_camera: OpenCamera
) -> None:
    """Register a person from a camera, video or images, without a window.

    Raises:
        CameraError: it gives no frames, or too few good ones; nothing is stored.
        ImageError: the samples show several people; nothing is stored.
        StoreError: the name or the store does not allow it.
    """
    name = check_name(gallery, request)
    announce(gallery, recognizer)
    camera = open_camera()
    needed = 1 if camera.stills else MIN_VIDEO_SAMPLES
    enrolment = Enrolment(recognizer.threshold, photographs=camera.stills)
    guide = PoseGuide(enrolment, guided=camera.live)
    said, next_look, taken = "", 0.0, []
    with closing(frames(camera, open_camera)) as stream:
        for frame in stream:
            if camera.stills:
                seen = recognizer.look(frame.image_rgb, photograph=True)
                if _offer(enrolment, seen, frame.name):
                    taken.append(frame.name)
            elif camera.live or frame.seconds >= next_look:
                next_look = frame.seconds + _LOOK_SECONDS
                verdict = guide.consider(recognizer.look(frame.image_rgb), frame.seconds)
                if verdict and verdict.taken:
                    next_look = frame.seconds + SAMPLE_SECONDS
                    print(f"sample {len(enrolment)} of {SAMPLES} at {frame.seconds:.1f} s")
                says = verdict.reason if verdict else guide.prompt if camera.live else ""
                if says and says != said:
                    print(f"  {says}")
                said = says or said
            waited = camera.live and frame.seconds > _LIVE_PATIENCE_SECONDS
            if (guide.done and not camera.stills) or waited:
                break
    if len(enrolment) < needed:
        raise CameraError(
            f"only {cli.count(len(enrolment), 'usable sample', 'usable samples')} "
            f"({needed} needed); {name} is not registered"
        )
    if camera.stills:
        settle(enrolment, taken, recognizer.threshold)
    store(gallery, recognizer, request, enrolment)


def settle(enrolment: Enrolment, names: Sequence[str], threshold: float) -> None:
    """Drop the images that do not agree with the others, say which, and where there is doubt.

    Raises:
        ImageError: it cannot be told which of them belong together.
    """
    for place in enrolment.settle():
        print(f"{names[place]}: another person than the others: left out")
    if enrolment.agreement < threshold:
        print(
            f"note: the images are not very alike (similarity {enrolment.agreement:.3f}); see "
            "that all of them show one person"
        )


def store(
    gallery: Gallery, recognizer: Recognizer, request: Registration, enrolment: Enrolment
) -> None:
    """Store what an enrolment has collected, if nothing speaks against it, and say so.

    Raises:
        Doubt: the face is not that of the person who has the name, or is stored under another
            name, and nobody said that this is right.
        StoreError: the answer was no, or the name or the store does not allow it.
    """
    name = check_name(gallery, request)
    known = gallery.find(name)
    if known is not None and not comparable([known], recognizer.fingerprint):
        if request.add:
            raise StoreError(f"{name} was registered with another model; --replace registers anew")
        known = None
    person = enrolment.person(name, recognizer.fingerprint)
    doubt = _doubt(gallery, recognizer, request, person, known)
    if doubt and not request.same_person:
        if request.ask is None:
            raise doubt
        if not request.ask(f"{doubt.what}. {doubt.question}"):
            raise StoreError(f"{doubt.what}; nothing is stored")
    if request.add:
        rows, qualities = person.sample_embeddings, person.sample_qualities
        person = gallery.add(name, rows, qualities, enrolment.images_rgb)
        added = cli.count(len(enrolment), "sample", "samples")
        print(f"{name} has {added} more ({person.samples} in all)")
    else:
        gallery.register(person, enrolment.images_rgb, replace=request.replace)
        print(f"{name} is registered ({cli.count(person.samples, 'sample', 'samples')})")


def _doubt(
    gallery: Gallery,
    recognizer: Recognizer,
    request: Registration,
    person: Person,
    known: Person | None,
) -> Doubt | None:
    """Say what speaks against storing a person; None where nothing does."""
    if known is not None:
        share = CAMERA_AGREEMENT if request.add else PHOTOGRAPH_AGREEMENT
        needed = share * recognizer.threshold
        similarity = _similarity(known, person.embedding)
        if similarity < needed:
            return Doubt(
                f"this is not the face that is stored as {known.name} (similarity "
                f"{similarity:.3f}, at least {needed:.3f} needed)",
                "Is it the same person all the same?",
            )
    others = comparable(gallery.people(), recognizer.fingerprint)
    own = same_name_key(person.name)
    others = [other for other in others if same_name_key(other.name) != own]
    if not others:
        return None
    similarities = Matcher(others).similarities(person.embedding)
    best = int(np.argmax(similarities))
    if similarities[best] < recognizer.threshold_for(len(others)):
        return None
    return Doubt(
        f"this face is already registered as {others[best].name} (similarity "
        f"{similarities[best]:.3f})",
        f"Is {person.name} the same person under another name?",
    )


def _similarity(known: Person, embedding: np.ndarray) -> float:
    return float(Matcher([known]).similarities(embedding)[0])


def _offer_image(enrolment: Enrolment, recognizer: Recognizer, path: Path) -> bool:
    """Offer an image as a sample and print what came of it."""
    try:
        seen = recognizer.look(read_image_rgb(path), photograph=True)
    except ImageError as error:
        print(f"{error}: left out")
        return False
    return _offer(enrolment, seen, str(path))


def _offer(enrolment: Enrolment, seen: Seen, name: str) -> bool:
    verdict = enrolment.offer(seen)
    beside = f", {verdict.reason}" if verdict.reason else ""
    print(f"{name}: used{beside}" if verdict.taken else f"{name}: {verdict.reason}: left out")
    return verdict.taken
