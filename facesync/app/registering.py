"""Registering a person from images or a camera, without a window; prints the progress."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np

from facesync import cli
from facesync.app.cameras import Frame
from facesync.app.console import alike_in_words, announce
from facesync.app.live import OpenCamera, frames
from facesync.app.pose_guide import SAMPLE_SECONDS, PoseGuide
from facesync.errors import CameraError, FileError, ImageError, StoreError
from facesync.faces.recognizer import Recognizer
from facesync.gallery import registration
from facesync.gallery.enrolment import SAMPLES, Enrolment
from facesync.gallery.people import Person, clean_name
from facesync.gallery.presence import Presence
from facesync.gallery.reembedding import renewed
from facesync.gallery.registration import (
    Doubt,
    Registration,
    check_face,
    check_name,
    enrol_images,
)
from facesync.gallery.store import Gallery

log = logging.getLogger(__name__)

MIN_SAMPLES = 3
"""If a camera or video gives fewer samples than this, nobody is registered; with fewer
photographs, what that costs is said."""

Ask = Callable[[str], bool]
"""Asks a yes-or-no question."""

Done = TypeVar("Done")

_LOOK_SECONDS = 0.2  # Least time between looks at a recording.
_LIVE_PATIENCE_SECONDS = 60.0  # A live camera is given up after so long without success.


def register_images(
    gallery: Gallery,
    recognizer: Recognizer,
    request: Registration,
    paths: Sequence[Path],
    ask: Ask | None = None,
) -> None:
    """Register a person from images, or from all files of folders; print the result for each.

    Raises:
        ImageError: no image shows a usable face, or they show several people; nothing is stored.
        Doubt: there is nobody to ask; nothing is stored.
        StoreError: the name or the store does not allow it, or an answer was no.
    """
    images = [(str(file), file) for path in paths for file in _files(path)]
    request = begin(gallery, recognizer, request, ask)
    _register_photographs(gallery, recognizer, request, images, ask)


def register_camera(
    gallery: Gallery,
    recognizer: Recognizer,
    request: Registration,
    open_camera: OpenCamera,
    ask: Ask | None = None,
    presence: Callable[[], Presence | None] = lambda: None,
) -> None:
    """Register a person from a camera, video or images, without a window.

    `presence` makes what watches whether the person is there alive; it is not called for images.

    Raises:
        CameraError: it delivers no frames, or too few good ones; nothing is stored.
        ImageError: the samples show several people, or nobody alive; nothing is stored.
        Doubt: there is nobody to ask; nothing is stored.
        StoreError: the name or the store does not allow it, or an answer was no.
    """
    request = begin(gallery, recognizer, request, ask)
    camera = open_camera()
    with closing(frames(camera, open_camera)) as stream:
        if camera.stills:
            images = ((frame.name, frame.image_rgb) for frame in stream)
            _register_photographs(gallery, recognizer, request, images, ask)
            return
        enrolment = Enrolment(recognizer.threshold, presence=presence())
        for _ in _samples_of_video(recognizer, enrolment, stream, live=camera.live):
            if len(enrolment) == 1:
                request = first_sample(gallery, recognizer, request, enrolment, ask)
        if len(enrolment) < MIN_SAMPLES:
            raise CameraError(
                f"only {cli.count(len(enrolment), 'usable sample', 'usable samples')} "
                f"({MIN_SAMPLES} needed); {clean_name(request.name)} is not registered"
            )
    store(gallery, recognizer, request, enrolment, ask)


def begin(
    gallery: Gallery, recognizer: Recognizer, request: Registration, ask: Ask | None = None
) -> Registration:
    """Check the name, load the models, embed people again where another model made them.

    Returns:
        The request with what the answers allow.

    Raises:
        Doubt: the name is doubtful, and there is nobody to ask.
        StoreError: the name or the store does not allow it, or the answer was no.
    """
    _, request = _asking(request, ask, lambda asked: check_name(gallery, asked))
    renewed(gallery, recognizer)
    announce(gallery, recognizer)
    return request


def store(
    gallery: Gallery,
    recognizer: Recognizer,
    request: Registration,
    enrolment: Enrolment,
    ask: Ask | None = None,
) -> Person:
    """Store an enrolment and say so; if there is doubt, ask first. Return who is stored.

    Raises:
        Doubt: there is nobody to ask.
        StoreError: the answer was no, or the name or the store does not allow it.
    """
    person, request = _asking(
        request, ask, lambda asked: registration.store(gallery, recognizer, asked, enrolment)
    )
    if request.add:
        added = cli.count(len(enrolment), "more sample", "more samples")
        print(f"{person.name} has {added} ({person.samples} in all)")
    else:
        print(f"{person.name} is registered ({cli.count(person.samples, 'sample', 'samples')})")
    if enrolment.presence is not None:
        try:
            enrolment.presence.learn()
        except FileError as error:  # the person is registered all the same
            log.warning("%s: nothing is learnt about this camera", error)
    for note in notes(gallery, recognizer, person):
        print(note)
    return person


def notes(gallery: Gallery, recognizer: Recognizer, person: Person) -> list[str]:
    """Say what should be known of somebody who was stored: few samples, whom they look like."""
    few = [_what_few_cost(recognizer, person.samples)] if person.samples < MIN_SAMPLES else []
    return [*few, *alike_in_words(gallery, recognizer, person)]


def not_very_alike(recognizer: Recognizer, enrolment: Enrolment) -> str | None:
    """Say that photographs hardly agree; None if they do."""
    if enrolment.agreement >= recognizer.threshold:
        return None
    return (
        "note: the images are not very alike (similarity "
        f"{cli.decimals(enrolment.agreement)}); check that all of them show the same person"
    )


def _what_few_cost(recognizer: Recognizer, samples: int) -> str:
    few = cli.count(samples, "sample", "samples")
    add = f"to have {MIN_SAMPLES}, register NAME --add"
    refused, with_more = map(recognizer.refused_share, (samples, MIN_SAMPLES))
    if refused is None or with_more is None or refused <= with_more:
        return f"note: with only {few}, people are refused more often; {add}"
    return (
        f"note: with only {few}, people are refused in {100 * refused:.1f} % of attempts, with "
        f"{MIN_SAMPLES} in {100 * with_more:.1f} % (as `models` says); {add}"
    )


def settled(request: Registration, doubt: Doubt, ask: Ask | None) -> Registration:
    """Ask about a doubt, and return the request that allows what was in doubt.

    Raises:
        Doubt: there is nobody to ask.
        StoreError: the answer was no.
    """
    if ask is None:
        raise doubt
    if not ask(f"{doubt.what}. {doubt.question}"):
        raise StoreError(f"{doubt.what}; nothing is stored") from doubt
    return doubt.allow(request)


def _asking(
    request: Registration, ask: Ask | None, step: Callable[[Registration], Done]
) -> tuple[Done, Registration]:
    """Do a step; if there is doubt, ask, and do it again with what the answer allows."""
    while True:
        try:
            return step(request), request
        except Doubt as doubt:
            request = settled(request, doubt, ask)


def first_sample(
    gallery: Gallery,
    recognizer: Recognizer,
    request: Registration,
    enrolment: Enrolment,
    ask: Ask | None = None,
) -> Registration:
    """Check whose face the first sample shows, before more are taken; otherwise as `begin`."""
    person = enrolment.person(clean_name(request.name), recognizer.fingerprint)
    _, request = _asking(request, ask, lambda asked: check_face(gallery, recognizer, asked, person))
    return request


def _register_photographs(
    gallery: Gallery,
    recognizer: Recognizer,
    request: Registration,
    images: Iterable[tuple[str, Path | np.ndarray]],
    ask: Ask | None,
) -> None:
    """Register a person from photographs, printing the result for each."""
    enrolment = Enrolment(recognizer.threshold, photographs=True)
    for outcome in enrol_images(recognizer, enrolment, images, ask):
        reason = outcome.reason.removeprefix(f"{outcome.name}: ")
        if outcome.taken:
            print(f"{outcome.name}: used{f', {reason}' if reason else ''}")
        else:
            print(f"{outcome.name}: {reason}: left out")
        if outcome.taken and len(enrolment) == 1:
            request = first_sample(gallery, recognizer, request, enrolment, ask)
    if note := not_very_alike(recognizer, enrolment):
        print(note)
    store(gallery, recognizer, request, enrolment, ask)


def _files(path: Path) -> list[Path]:
    """Return an image itself; of a folder every file, whatever its name, since content decides."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    if not files:
        raise ImageError(f"the folder {path} is empty")
    return files


def _samples_of_video(
    recognizer: Recognizer, enrolment: Enrolment, stream: Iterator[Frame], *, live: bool
) -> Iterator[None]:
    """Enrol the person in front of a camera or in a video; prints samples and problems.

    Yields:
        Nothing, after each sample.
    """
    guide = PoseGuide(enrolment, guided=live)
    said, next_look = "", 0.0
    for frame in stream:
        if live or frame.seconds >= next_look:
            next_look = frame.seconds + _LOOK_SECONDS
            verdict = guide.consider(recognizer.look(frame.image_rgb), frame.seconds)
            if verdict and verdict.taken:
                next_look = frame.seconds + SAMPLE_SECONDS
                print(f"sample {len(enrolment)} of {SAMPLES} at {frame.seconds:.1f} s")
                yield
            says = verdict.reason if verdict else guide.prompt if live else ""
            if says and says != said:
                print(f"  {says}")
            said = says or said
        if guide.done or (live and frame.seconds > _LIVE_PATIENCE_SECONDS):
            break
