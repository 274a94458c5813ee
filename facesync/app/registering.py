"""Registering a person from images or a camera, without a window; prints the progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from facesync import cli
from facesync.app.cameras import Frame
from facesync.app.console import announce
from facesync.app.live import OpenCamera, frames
from facesync.app.pose_guide import SAMPLE_SECONDS, PoseGuide
from facesync.errors import CameraError, StoreError
from facesync.faces.recognizer import Recognizer
from facesync.gallery import registration
from facesync.gallery.enrolment import SAMPLES, Enrolment
from facesync.gallery.registration import Doubt, Registration, check_name, enrol_images
from facesync.gallery.store import Gallery

MIN_VIDEO_SAMPLES = 3
"""If a camera or video gives fewer samples than this, nobody is registered."""

Ask = Callable[[str], bool]
"""Asks a yes-or-no question."""

_LOOK_SECONDS = 0.2  # Least time between looks at a recording.
_LIVE_PATIENCE_SECONDS = 60.0  # A live camera is given up after so long without success.


def register_images(
    gallery: Gallery,
    recognizer: Recognizer,
    request: Registration,
    paths: Sequence[Path],
    ask: Ask | None = None,
) -> None:
    """Register a person from images and print the result for each.

    Raises:
        ImageError: no image shows a usable face, or they show several people; nothing is stored.
        StoreError: the name or the store does not allow it.
    """
    check_name(gallery, request)
    announce(gallery, recognizer)
    images = ((str(path), path) for path in paths)
    store(gallery, recognizer, request, _enrol(recognizer, images), ask)


def register_camera(
    gallery: Gallery,
    recognizer: Recognizer,
    request: Registration,
    open_camera: OpenCamera,
    ask: Ask | None = None,
) -> None:
    """Register a person from a camera, video or images, without a window.

    Raises:
        CameraError: it delivers no frames, or too few good ones; nothing is stored.
        ImageError: the samples show several people; nothing is stored.
        StoreError: the name or the store does not allow it.
    """
    name = check_name(gallery, request)
    announce(gallery, recognizer)
    camera = open_camera()
    with closing(frames(camera, open_camera)) as stream:
        if camera.stills:
            images = ((frame.name, frame.image_rgb) for frame in stream)
            enrolment = _enrol(recognizer, images)
        else:
            enrolment = _enrol_video(recognizer, stream, live=camera.live)
            if len(enrolment) < MIN_VIDEO_SAMPLES:
                raise CameraError(
                    f"only {cli.count(len(enrolment), 'usable sample', 'usable samples')} "
                    f"({MIN_VIDEO_SAMPLES} needed); {name} is not registered"
                )
    store(gallery, recognizer, request, enrolment, ask)


def store(
    gallery: Gallery,
    recognizer: Recognizer,
    request: Registration,
    enrolment: Enrolment,
    ask: Ask | None = None,
) -> None:
    """Store an enrolment and say so; if there is doubt, ask first.

    Raises:
        Doubt: there is nobody to ask.
        StoreError: the answer was no, or the name or the store does not allow it.
    """
    try:
        person = registration.store(gallery, recognizer, request, enrolment)
    except Doubt as doubt:
        if ask is None:
            raise
        if not ask(f"{doubt.what}. {doubt.question}"):
            raise StoreError(f"{doubt.what}; nothing is stored") from doubt
        request = replace(request, same_person=True)
        person = registration.store(gallery, recognizer, request, enrolment)
    if request.add:
        added = cli.count(len(enrolment), "more sample", "more samples")
        print(f"{person.name} has {added} ({person.samples} in all)")
    else:
        print(f"{person.name} is registered ({cli.count(person.samples, 'sample', 'samples')})")


def _enrol(recognizer: Recognizer, images: Iterable[tuple[str, Path | np.ndarray]]) -> Enrolment:
    """Enrol a person from photographs, printing the result for each."""
    enrolment = Enrolment(recognizer.threshold, photographs=True)
    for outcome in enrol_images(recognizer, enrolment, images):
        reason = outcome.reason.removeprefix(f"{outcome.name}: ")
        if outcome.taken:
            print(f"{outcome.name}: used{f', {reason}' if reason else ''}")
        else:
            print(f"{outcome.name}: {reason}: left out")
    if enrolment.agreement < recognizer.threshold:
        print(
            "note: the images are not very alike (similarity "
            f"{cli.decimals(enrolment.agreement)}); check that all of them show the same person"
        )
    return enrolment


def _enrol_video(recognizer: Recognizer, stream: Iterator[Frame], *, live: bool) -> Enrolment:
    """Enrol the person in front of a camera or in a video; prints samples and problems."""
    enrolment = Enrolment(recognizer.threshold)
    guide = PoseGuide(enrolment, guided=live)
    said, next_look = "", 0.0
    for frame in stream:
        if live or frame.seconds >= next_look:
            next_look = frame.seconds + _LOOK_SECONDS
            verdict = guide.consider(recognizer.look(frame.image_rgb), frame.seconds)
            if verdict and verdict.taken:
                next_look = frame.seconds + SAMPLE_SECONDS
                print(f"sample {len(enrolment)} of {SAMPLES} at {frame.seconds:.1f} s")
            says = verdict.reason if verdict else guide.prompt if live else ""
            if says and says != said:
                print(f"  {says}")
            said = says or said
        if guide.done or (live and frame.seconds > _LIVE_PATIENCE_SECONDS):
            break
    return enrolment
