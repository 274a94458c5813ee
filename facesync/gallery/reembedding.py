"""People registered with another model, embedded again from their stored images.

Templates of two models do not compare. So the first use of another model searches, embeds and
measures every stored image as registration does, and changes the store once, for everybody. Where
the store cannot be changed, they are kept in memory. In a sealed store, an image that is not sealed
is not trusted: anybody may have put it there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from facesync.cli import count
from facesync.errors import ImageError, StoreError
from facesync.faces.recognizer import Recognizer, Seen
from facesync.gallery import audit_log
from facesync.gallery.matching import comparable
from facesync.gallery.people import Person, from_samples, is_template
from facesync.gallery.store import Gallery
from facesync.gallery.store_file import Content
from facesync.images import read_image_rgb

log = logging.getLogger(__name__)


@dataclass
class _Renewal:
    """What came of embedding people again.

    Attributes:
        again: those who were and can be stored, as they are now, by name.
        this_run: those who were, but cannot be stored, by name, and why.
        left: those who could not be, by name, and why.
        kept: encoded images by name, of each person of whom some go.
        remarks: why they go, a line for each person concerned.
        tried: everyone who was tried, by `_key`, as they are now.
    """

    again: dict[str, Person] = field(default_factory=dict)
    this_run: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    kept: dict[str, dict[str, bytes]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    tried: dict[tuple[str, bytes, str], Person] = field(default_factory=dict)


def renewed(gallery: Gallery, recognizer: Recognizer) -> list[Person]:
    """Return everyone, sorted by name, embedded again if another model made their template.

    Those who cannot be are returned as they are; the log says who has to register again, and why.
    What came of it is kept in memory, so that the next call does not try again. Loads the models.

    Raises:
        StoreError: the store cannot be read.
        FileError: what was done cannot be written to the log of the gallery.
    """
    people = gallery.people()
    if not _others(gallery, people, recognizer.fingerprint):
        return _current(gallery, people, recognizer.fingerprint)
    renewal, failure = None, None
    try:
        with gallery.locked():
            content = gallery.content()
            renewal = _embed(gallery, content, recognizer)
            if renewal.again:
                everyone = [renewal.again.get(person.name, person) for person in content.people]
                if not content.key:  # else images that are not sealed would be, and be trusted
                    content = gallery.to_seal(content)
                gallery.change(content, everyone, renewal.kept)
    except StoreError as error:
        failure = error
        if renewal is None:
            renewal = _embed(gallery, gallery.content(), recognizer)
    gallery.embedded_again.update(renewal.tried)
    _say(gallery, recognizer, renewal, failure)
    return _current(gallery, gallery.people(), recognizer.fingerprint)


def has_images(gallery: Gallery, person: Person) -> bool:
    """Whether a person has images, from which they can be embedded again if they show a face."""
    return bool(gallery.image_names(person.name))


def _others(gallery: Gallery, people: Sequence[Person], fingerprint: str) -> list[Person]:
    """Return the people of another model who were not tried yet."""
    tried = gallery.embedded_again
    return [
        person
        for person in people
        if not comparable([person], fingerprint) and _key(person, fingerprint) not in tried
    ]


def _current(gallery: Gallery, people: Sequence[Person], fingerprint: str) -> list[Person]:
    return [gallery.embedded_again.get(_key(p, fingerprint), p) for p in people]


def _key(person: Person, fingerprint: str) -> tuple[str, bytes, str]:
    return person.name, person.embedding.tobytes(), fingerprint


def _embed(gallery: Gallery, content: Content, recognizer: Recognizer) -> _Renewal:
    """Embed people of another model again; the store stays as it is."""
    from facesync.data.progress import BAR_AFTER_SECONDS, Progress

    renewal = _Renewal()
    fingerprint = recognizer.fingerprint
    others = _others(gallery, content.people, fingerprint)
    for person in Progress(others, desc="Embedding", unit=" people", delay=BAR_AFTER_SECONDS):
        try:
            now = _embed_person(gallery, content, recognizer, person, renewal)
        except (ImageError, StoreError) as error:
            now = person
            renewal.left[person.name] = str(error)
        renewal.tried[_key(person, fingerprint)] = now
    return renewal


def _embed_person(
    gallery: Gallery, content: Content, recognizer: Recognizer, person: Person, renewal: _Renewal
) -> Person:
    """Embed the stored images of a person, and enter them in `renewal`.

    An image without a face goes. If one cannot be opened, which may be for a moment only, all stay,
    and what the others give is not to be stored.

    Raises:
        ImageError: no image shows a face, or none is kept.
        StoreError: no image that shows a face can be opened.
    """
    # Only without the lock; the images in use may be another's by now.
    if gallery.unsettled(person.name):
        raise StoreError("another program is changing the images")
    looks, kept = [], {}
    faults: list[ImageError | StoreError] = []
    for image in gallery.image_names(person.name):
        try:
            data, seen = _look(gallery, content, recognizer, person.name, image)
        except (ImageError, StoreError) as error:
            faults.append(error)
            continue
        kept[image] = data
        looks.append((seen.embedding, seen.quality.overall))
    unopened = [fault for fault in faults if isinstance(fault, StoreError)]
    if not looks:
        raise next(iter(unopened or faults), ImageError("no images are kept"))
    embeddings, qualities = (np.array(each, dtype=np.float32) for each in zip(*looks, strict=True))
    now = from_samples(person.name, recognizer.fingerprint, embeddings, qualities)
    if not is_template(now.embedding):
        raise ImageError("the images have nothing in common")
    now = replace(now, registered=person.registered, changed=person.changed)
    if unopened:
        renewal.this_run[person.name] = str(unopened[0])
        return now
    renewal.again[person.name] = now
    if faults:
        renewal.kept[person.name] = kept
        gone = count(len(faults), "sample is", "samples are")
        renewal.remarks.append(f"{person.name}: {gone} dropped: {faults[0]}")
    return now


def _look(
    gallery: Gallery, content: Content, recognizer: Recognizer, name: str, image: str
) -> tuple[bytes, Seen]:
    """Read a stored image and look at it.

    Raises:
        ImageError: it shows no face.
        StoreError: it cannot be opened, or not be trusted.
    """
    data = gallery.read_image(name, image, sealed=content.key is not None)
    try:
        seen = recognizer.look(read_image_rgb(data), photograph=True)
    except ImageError as error:
        raise ImageError("a stored image is damaged") from error
    if seen is None:
        raise ImageError("no face is found in the stored image")
    return data, seen


def _say(
    gallery: Gallery, recognizer: Recognizer, renewal: _Renewal, failure: StoreError | None
) -> None:
    """Say what was done, and note it in the log of the gallery."""
    model = recognizer.trust()["model"]["name"].partition(" (")[0]
    done = f"{count(len(renewal.again), 'person was', 'people were')} embedded again with {model}"
    if renewal.again and failure:
        log.warning("%s, for this run only: %s", done, failure)
    elif renewal.again:
        log.info("%s", done)
    for name, why in renewal.this_run.items():
        log.warning("%s was embedded again, for this run only: %s", name, why)
    for remark in renewal.remarks:
        log.warning("%s", remark)
    if renewal.left:
        whom = ", ".join(f"{name} ({why})" for name, why in renewal.left.items())
        log.warning("Made by another model and not compared, register them again: %s", whom)
    if (renewal.again or renewal.this_run) and gallery.audit_log is not None:
        audit_log.append_event(
            gallery.audit_log,
            "embedded again",
            {
                "names": list(renewal.again),
                "model": recognizer.fingerprint,
                "stored": failure is None,
                "this_run": renewal.this_run,
                "register_again": renewal.left,
            },
        )
