"""How much depth the faces of videos and sequences of images show; needs no model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facesync.cli import count, decimals
from facesync.data.progress import Progress
from facesync.errors import DataError, ImageError
from facesync.evaluation.cache import content_id
from facesync.evaluation.embeddings import detector_label
from facesync.evaluation.evaluate import REPORT_NAME
from facesync.evaluation.faces import CachedFaces
from facesync.evaluation.liveness_settings import LivenessSettings
from facesync.evaluation.summary import Row, table_lines
from facesync.faces.detection import FaceDetector
from facesync.files import write_json
from facesync.images import images_below, is_video, read_image_rgb
from facesync.liveness.flatness import DEPTH, FRAMES, depth
from facesync.liveness.samples import video_of
from facesync.videos import spread_frames

log = logging.getLogger(__name__)

MOST_FRAMES = 100
"""Frames taken of a video, spread evenly over it: enough to meet every turn of a head."""


@dataclass(frozen=True)
class Depth:
    """The depth of one sequence.

    Attributes:
        depth: third largest nose error, in distances from eyes to mouth.
        frames: with a face.
        passes: whether it would be taken for a head.
    """

    depth: float
    frames: int
    passes: bool


def evaluate_flatness(settings: LivenessSettings) -> dict[str, Depth]:
    """Measure all sequences of a folder, print them, and write `report.json` if asked for.

    Raises:
        DataError: there are none.
        FileError: the report cannot be written.
    """
    assert settings.flatness
    sequences = list_sequences(settings.flatness)
    detector = FaceDetector()
    faces = CachedFaces(detector, settings.cache_folder, detector_label(detector))
    found = {}
    try:
        for name, paths in Progress(sequences.items(), unit=" sequences", desc="Looking"):
            try:
                found[name] = _measure(paths, faces)
            except ImageError as error:
                log.warning("%s; its sequence is left out", error)
    finally:
        faces.flush()
    if not found:
        raise DataError(f"{settings.flatness} holds nothing that can be read")
    passed = sum(one.passes for one in found.values())
    rows: list[Row] = [("", "depth", "frames", "passes")]
    rows += [
        (name, decimals(one.depth), str(one.frames), "yes" if one.passes else "no")
        for name, one in found.items()
    ]
    print("\n".join(table_lines(f"Depth, from {DEPTH:.2f} on that of a head", rows)))
    print(f"\n{passed:,} of {count(len(found), 'sequence', 'sequences')} would pass for a head")
    few = sum(one.frames <= FRAMES for one in found.values())
    if few:
        print(f"{few:,} of them have under {FRAMES + 1} frames with a face, too few to measure")
    if settings.report:
        content = {name: asdict(one) for name, one in found.items()}
        report = {"depth": DEPTH, "sequences": content, "passed": passed}
        write_json(settings.report / REPORT_NAME, report)
    return found


def list_sequences(folder: Path) -> dict[str, list[Path]]:
    """List the files of each sequence below a folder, by its name.

    A sequence is a video; the images of a folder whose names differ only in the `_` and number at
    the end; or all images of a folder, where no two are called so. Folders may stand in folders,
    of classes.

    Raises:
        DataError: there is none.
        ImageError: a folder cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    by_folder: dict[Path, dict[str, list[Path]]] = {}
    for path in images_below(folder, subfolders=True, videos=True):
        named = by_folder.setdefault(path.parent, {})
        named.setdefault(video_of(path), []).append(path)
    sequences = {}
    for place, named in by_folder.items():
        images = {name: paths for name, paths in named.items() if not is_video(paths[0])}
        if images and max(map(len, images.values())) == 1:
            together = str(place.relative_to(folder)) if place != folder else folder.name
            sequences[together] = [path for paths in images.values() for path in paths]
            named = {name: paths for name, paths in named.items() if name not in images}
        for name, paths in named.items():
            sequences[str((place / name).relative_to(folder))] = paths
    if not sequences:
        raise DataError(f"{folder} holds neither videos nor images")
    return sequences


def _measure(paths: list[Path], faces: CachedFaces) -> Depth:
    landmarks = []
    for image_rgb in _frames(paths):
        face = faces.face(image_rgb, content_id(image_rgb.tobytes()))
        if face is not None:
            landmarks.append(face.landmarks)
    found = depth(landmarks)
    return Depth(found, len(landmarks), found >= DEPTH)


def _frames(paths: list[Path]) -> Iterator[np.ndarray]:
    for path in paths:
        if is_video(path):
            yield from spread_frames(path, MOST_FRAMES)
        else:
            yield read_image_rgb(path)
