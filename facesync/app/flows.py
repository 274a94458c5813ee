"""What the app does without a window: verify, list, delete; `registering` has the rest.

Results go to standard output, what is said beside them to the log. Menu and commands call the
same functions; each raises a `FaceSyncError` where nothing came of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from facesync import cli
from facesync.app.live import OpenCamera, frames
from facesync.app.settings import VERIFY_FRAMES
from facesync.errors import StoreError
from facesync.faces.recognizer import Recognizer
from facesync.gallery.matching import (
    Decision,
    Matcher,
    comparable,
    decide,
    majority,
    refused,
)
from facesync.gallery.store import Gallery, Person, clean_name
from facesync.images import read_image_rgb

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""Least time between the frames that a verification looks at."""

_LIVE_PATIENCE_SECONDS = 30.0  # After so long without success, a live camera is given up.


def announce(gallery: Gallery, recognizer: Recognizer) -> None:
    """Load the models and say which are in use, and how many people are registered."""
    recognizer.load()
    log.info(
        "Model: %s; threshold %s; %s in %s",
        recognizer.model_in_words,
        recognizer.threshold_in_words,
        cli.count(len(gallery.people()), "person", "people"),
        gallery.path,
    )


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


def known(gallery: Gallery, recognizer: Recognizer) -> list[Person]:
    """List whom a watched face may be: everybody this model knows, or nobody; loads the models."""
    if gallery.people():
        return candidates(gallery, recognizer)
    announce(gallery, recognizer)
    log.warning("Nobody is registered yet: everybody will be unknown")
    return []


def verify_image(
    recognizer: Recognizer, people: Sequence[Person], path: Path, margin: float
) -> Decision:
    """Compare the main face of an image with the people given.

    Raises:
        ImageError: the image cannot be read.
    """
    threshold = recognizer.threshold_for(len(people))
    seen = recognizer.look(read_image_rgb(path), photograph=True)
    if seen.embedding is None:
        return refused(f"no face found in {path}", threshold)
    if len(seen.faces) > 1:
        log.warning("%s: %d faces, the main one is used", path, len(seen.faces))
    return decide(seen.embedding, people, threshold, margin)


def verify_camera(
    recognizer: Recognizer,
    people: Sequence[Person],
    open_camera: OpenCamera,
    margin: float,
    looks: int = VERIFY_FRAMES,
) -> Decision:
    """Compare whoever is before the camera, without a window: more than half of some looks decide.

    Raises:
        CameraError: it gives no frames.
    """
    threshold = recognizer.threshold_for(len(people))
    matcher = Matcher(people)
    decisions: list[Decision] = []
    camera = open_camera()
    with closing(frames(camera, open_camera)) as stream:
        next_look = 0.0
        for frame in stream:
            if camera.live and frame.seconds > _LIVE_PATIENCE_SECONDS:
                break
            if frame.seconds < next_look:
                continue
            next_look = frame.seconds + LOOK_SECONDS
            seen = recognizer.look(frame.image_rgb, photograph=camera.stills)
            if seen.embedding is not None:
                decisions.append(matcher.decide(seen.embedding, threshold, margin))
            if len(decisions) == looks:
                break
    return majority(decisions) if decisions else refused("no face was seen", threshold)


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
    print(f"{cli.count(len(people), 'person', 'people')} in {gallery.path}")
    for person in people:
        if person.registered is None:
            facts = "from an older store"
        else:
            when = person.registered.astimezone().strftime("%Y-%m-%d %H:%M")
            facts = f"{when}  {cli.count(person.samples, 'sample', 'samples')}"
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
    print(
        f"{deleted} is deleted: template, sample images and the backup's copy; searched, and "
        "nothing of them is left in what the app keeps here"
    )
