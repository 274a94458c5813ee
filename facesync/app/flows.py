"""What the app does without a window: register, verify, list, delete.

Results go to standard output, what is said beside them to the log. Menu and commands call the
same functions; each raises a `FaceSyncError` where nothing came of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from facesync.app.cameras import Camera
from facesync.app.enrolment import SAMPLES, Enrolment
from facesync.app.live import frames
from facesync.app.recognizer import Recognizer, Seen
from facesync.errors import CameraError, PictureError, StoreError
from facesync.gallery.matching import Decision, comparable, decide, refused
from facesync.gallery.store import Gallery, Person, clean_name
from facesync.images import read_image_rgb

log = logging.getLogger(__name__)

MIN_VIDEO_SAMPLES = 3
"""A video with fewer usable moments than this registers nobody."""

VERIFY_LOOKS = 5
"""Frames with a face that a camera verification looks at before it denies."""

_SAMPLE_SECONDS, _LOOK_SECONDS = 0.5, 0.2  # Least time between samples, and between looks.
_LIVE_PATIENCE_SECONDS = 30.0  # After so long without success, a live camera is given up.

OpenCamera = Callable[[], Camera]


def announce(gallery: Gallery, recognizer: Recognizer) -> None:
    """Load the models and say which are in use, and how many people are registered."""
    recognizer.load()
    log.info(
        "Model: %s; threshold %s; %s in %s",
        recognizer.model_in_words,
        recognizer.threshold_in_words,
        count(len(gallery.people()), "person", "people"),
        gallery.path,
    )


def check_name(gallery: Gallery, name: str, *, replace: bool) -> str:
    """Clean a new person's name and see that it may be used.

    Raises:
        StoreError: the name is empty, or taken and `replace` is not set.
    """
    cleaned = clean_name(name)
    if not cleaned:
        raise StoreError("a name needs at least one letter, digit or sign")
    taken = gallery.find(cleaned)
    if taken and not replace:
        raise StoreError(f"{taken.name} is already registered; --replace registers them anew")
    return cleaned


def register_images(
    gallery: Gallery,
    recognizer: Recognizer,
    name: str,
    paths: Sequence[Path],
    *,
    replace: bool = False,
) -> None:
    """Register a person from pictures, saying of each what came of it.

    Raises:
        PictureError: no picture shows a face; nothing is stored.
        StoreError: the name or the store does not allow it.
    """
    name = check_name(gallery, name, replace=replace)
    announce(gallery, recognizer)
    enrolment = Enrolment()
    for path in paths:
        try:
            seen = recognizer.look(read_image_rgb(path), photograph=True)
        except PictureError as error:
            print(f"{error}: left out")
        else:
            _take(enrolment, seen, str(path))
    if not len(enrolment):
        raise PictureError(f"no picture shows a face that can be used; {name} is not registered")
    store(gallery, recognizer, name, enrolment, replace=replace)


def register_camera(
    gallery: Gallery,
    recognizer: Recognizer,
    name: str,
    open_camera: OpenCamera,
    *,
    replace: bool = False,
) -> None:
    """Register a person from a camera, video or pictures, without a window.

    Of a camera or video, moments with exactly one face are taken, half a second apart.

    Raises:
        CameraError: it gives no frames, or too few with one face; nothing is stored.
        StoreError: the name or the store does not allow it.
    """
    name = check_name(gallery, name, replace=replace)
    announce(gallery, recognizer)
    enrolment = Enrolment()
    camera = open_camera()
    with closing(frames(camera)) as stream:
        needed = 1 if camera.stills else MIN_VIDEO_SAMPLES
        none = several = 0
        next_look = 0.0
        for frame in stream:
            if camera.stills:
                seen = recognizer.look(frame.image_rgb, photograph=True)
                _take(enrolment, seen, frame.name)
            elif frame.seconds >= next_look:
                seen = recognizer.look(frame.image_rgb)
                next_look = frame.seconds + _LOOK_SECONDS
                none += len(seen.faces) == 0
                several += len(seen.faces) > 1
                if len(seen.faces) == 1:
                    next_look = frame.seconds + _SAMPLE_SECONDS
                    enrolment.add(seen)
                    print(f"sample {len(enrolment)} of {SAMPLES} at {frame.seconds:.1f} s")
            waited = camera.live and frame.seconds > _LIVE_PATIENCE_SECONDS
            if len(enrolment) == SAMPLES or waited:
                break
    if none or several:
        print(f"passed over: {none} frames without a face, {several} with several")
    if len(enrolment) < needed:
        raise CameraError(
            f"only {count(len(enrolment), 'usable sample', 'usable samples')} "
            f"({needed} needed); {name} is not registered"
        )
    store(gallery, recognizer, name, enrolment, replace=replace)


def store(
    gallery: Gallery, recognizer: Recognizer, name: str, enrolment: Enrolment, *, replace: bool
) -> None:
    """Store what an enrolment has collected, and say so."""
    person = enrolment.person(name, recognizer.fingerprint)
    gallery.register(person, enrolment.pictures_rgb, replace=replace)
    print(f"{name} is registered ({count(person.samples, 'sample', 'samples')})")


def candidates(gallery: Gallery, recognizer: Recognizer, name: str | None = None) -> list[Person]:
    """List whom a face is compared with: everybody, or one person; loads the models.

    Raises:
        StoreError: nobody is registered, or nobody by this model.
    """
    people = gallery.people()
    if not people:
        raise StoreError(f"nobody is registered in {gallery.path}; register somebody first")
    if name is not None:
        person = gallery.find(name)
        if person is None:
            raise StoreError(f"nobody is registered as {clean_name(name)}")
        people = [person]
    announce(gallery, recognizer)
    compared = comparable(people, recognizer.fingerprint)
    others = ", ".join(person.name for person in people if person not in compared)
    if not compared:
        raise StoreError(f"made by another model, so not comparable: {others}; register again")
    if others:
        log.warning("Made by another model, not compared: %s; register again", others)
    if any(person.fingerprint is None for person in compared):
        log.warning(
            "Some people come from an older store that does not say which model made them; "
            "if they are not recognised, register them again"
        )
    return compared


def verify_image(recognizer: Recognizer, people: Sequence[Person], path: Path) -> Decision:
    """Compare the main face of a picture with the people given.

    Raises:
        PictureError: the picture cannot be read.
    """
    seen = recognizer.look(read_image_rgb(path), photograph=True)
    if seen.embedding is None:
        return refused(f"no face found in {path}", recognizer.threshold)
    if len(seen.faces) > 1:
        log.warning("%s: %d faces, the main one is used", path, len(seen.faces))
    return decide(seen.embedding, people, recognizer.threshold)


def verify_camera(
    recognizer: Recognizer, people: Sequence[Person], open_camera: OpenCamera
) -> Decision:
    """Compare whoever is before the camera, without a window: a few looks, the best one counts.

    Raises:
        CameraError: it gives no frames.
    """
    best = refused("no face was seen", recognizer.threshold)
    camera = open_camera()
    with closing(frames(camera)) as stream:
        looks, next_look = 0, 0.0
        for frame in stream:
            if camera.live and frame.seconds > _LIVE_PATIENCE_SECONDS:
                break
            if frame.seconds < next_look:
                continue
            next_look = frame.seconds + _LOOK_SECONDS
            seen = recognizer.look(frame.image_rgb, photograph=camera.stills)
            if seen.embedding is None:
                continue
            decision = decide(seen.embedding, people, recognizer.threshold)
            best = max(best, decision, key=lambda made: made.similarity or -2.0)
            looks += 1
            if best.accepted or looks == VERIFY_LOOKS:
                break
    return best


def show_decision(decision: Decision) -> None:
    """Print who it is, or that access is denied."""
    if decision.accepted:
        print(f"{decision.name}: accepted ({decision.reason})")
    else:
        print(f"access denied: {decision.reason}")


def decision_json(decision: Decision) -> str:
    """One line of JSON for programs."""
    return json.dumps(asdict(decision))


def list_people(gallery: Gallery, fingerprint: str | None = None) -> None:
    """Print who is registered, since when, from how many samples.

    Args:
        gallery: where they are.
        fingerprint: of the model in use; where it is not loaded, that of the newest template.
    """
    people = gallery.people()
    if not people:
        print(f"Nobody is registered in {gallery.path}.")
        return
    if fingerprint is None:
        dated = [(p.registered, p.fingerprint) for p in people if p.registered]
        fingerprint = max(dated, default=(None, None), key=lambda pair: pair[0])[1]
    width = min(30, max(len(person.name) for person in people))
    print(f"{count(len(people), 'person', 'people')} in {gallery.path}")
    for person in people:
        if person.registered is None:
            facts = "from an older store"
        else:
            when = person.registered.astimezone().strftime("%Y-%m-%d %H:%M")
            facts = f"{when}  {count(person.samples, 'sample', 'samples')}"
            if person.fingerprint != fingerprint:
                facts += "  made by another model: register again"
        print(f"  {person.name:<{width}}  {facts}")


def people_json(gallery: Gallery) -> str:
    """One line of JSON: a list with name, time of registration, samples and model of everybody."""
    return json.dumps(
        [
            {
                "name": person.name,
                "registered": person.registered and person.registered.isoformat(),
                "samples": person.samples,
                "model": person.fingerprint,
            }
            for person in gallery.people()
        ]
    )


def delete(gallery: Gallery, name: str) -> None:
    """Forget a person.

    Raises:
        StoreError: nobody has this name, or the store does not allow it.
    """
    deleted = gallery.delete(name)
    if deleted is None:
        raise StoreError(f"nobody is registered as {clean_name(name)}; `list` shows who is")
    print(f"{deleted} is deleted: template, sample pictures and the backup's copy")


def count(number: int, one: str, many: str) -> str:
    """`1 person`, `2 people`."""
    return f"{number} {one if number == 1 else many}"


def _take(enrolment: Enrolment, seen: Seen, name: str) -> None:
    """Take a sample from a picture that shows a face, and say what came of it."""
    if not seen.faces:
        print(f"{name}: no face found: left out")
        return
    enrolment.add(seen)
    used = "used" if len(seen.faces) == 1 else f"{len(seen.faces)} faces, the main one is used"
    print(f"{name}: {used}")
