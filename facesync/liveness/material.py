"""What the passive model learns from: faces with their surroundings, and varied crops of them.

Every image is searched for a face once. Of the face two sources are kept, for texture and context,
larger than what the networks see, so that scale and place can vary; and the two crops that the app
would cut, for scoring.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np

from facesync.errors import DataError, ImageError
from facesync.faces.detection import Detector, main_face
from facesync.files import replacing
from facesync.images import images_below
from facesync.liveness import recapture
from facesync.liveness.crops import CONTEXT, SIDE, TEXTURE, cut, texture_and_context
from facesync.liveness.passive import KINDS
from facesync.liveness.recapture import Crop, Rng
from facesync.liveness.samples import LIVE, Sample, frames

log = logging.getLogger(__name__)

LIVE_ONLY = "live only"
"""Name of the set of live faces without attacks of their own."""

OTHER_ATTACK = len(KINDS)
"""Class of an attack of a kind that the model does not name: anything but live."""

NETWORKS = ("texture", "context")
SCALES = (TEXTURE, CONTEXT)
SOURCE_SCALES, SOURCE_SIDES = (1.7, 3.2), (192, 208)
"""Of each network's sources: side over that of the face's box, and in pixels."""


@dataclass(frozen=True)
class Material:
    """N faces; of each, what both networks need.

    Attributes:
        sets: which set each is from, str (N,).
        people: who it shows, str (N,), unique over all sets.
        videos: which video it is from, str (N,), unique over all sets.
        classes: index in `KINDS`, or `OTHER_ATTACK`, int (N,).
        texture: sources of one network, uint8 RGB (N, side, side, 3), black outside the image.
        context: sources of the other.
        regions: of both sources, where image and face are in it, float (N, 2, 2, 4).
        views: both crops as the app cuts them, uint8 RGB (N, 2, SIDE, SIDE, 3).
    """

    sets: np.ndarray
    people: np.ndarray
    videos: np.ndarray
    classes: np.ndarray
    texture: np.ndarray
    context: np.ndarray
    regions: np.ndarray
    views: np.ndarray

    @property
    def live(self) -> np.ndarray:
        """Whether each is live, bool (N,)."""
        return self.classes == 0

    def source(self, network: int, number: int) -> Crop:
        """Return the source of one network."""
        image_rgb = (self.texture, self.context)[network][number]
        frame, face = (tuple(region.tolist()) for region in self.regions[number, network])
        return Crop(image_rgb, frame, face)


def live_samples(folder: Path) -> list[Sample]:
    """List images of live faces, `Person_0001.jpg` or each of somebody else, in any subfolder.

    Raises:
        DataError: there are none.
    """
    paths = images_below(folder, subfolders=True)
    if not paths:
        raise DataError(f"{folder} holds no images")
    return [
        Sample(path, LIVE, path.stem.rpartition("_")[0] or path.stem, path.stem) for path in paths
    ]


def collect(
    name: str, samples: Sequence[Sample], detector: Detector, cache: Path, steps: Iterable[Sample]
) -> Material:
    """Cut the main face of every image of a set, or take them from the cache.

    Args:
        name: of the set.
        samples: its images and videos.
        detector: finds the faces.
        cache: folder to keep them in, and to take them from if they are of the same files.
        steps: the samples once more, from a progress bar.

    Raises:
        DataError: no image shows a face.
    """
    kept = cache / f"{name}.{_fingerprint(samples)}.npz"
    if kept.is_file():
        return read(kept)
    nobody_named = len({sample.person for sample in samples}) == 1
    rows: list[tuple[Any, ...]] = []
    without = 0
    for sample in steps:
        person = sample.video if nobody_named else sample.person
        kind = KINDS.index(sample.kind) if sample.kind in KINDS else OTHER_ATTACK
        for image_rgb in _readable(sample):
            faces = detector.detect(image_rgb)
            if not faces:
                without += 1
                continue
            box = main_face(faces, image_rgb).box_xyxy
            cuts = [
                cut(image_rgb, box, *how) for how in zip(SOURCE_SCALES, SOURCE_SIDES, strict=True)
            ]
            places = _regions(image_rgb, box)
            views = texture_and_context(image_rgb, box)
            rows.append((f"{name}/{person}", f"{name}/{sample.video}", kind, *cuts, places, views))
    if without:
        log.warning("%s: no face in %d of %d images", name, without, without + len(rows))
    if not rows:
        raise DataError(f"no image of {name} shows a face")
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    material = Material(np.full(len(rows), name), *columns)
    with replacing(kept) as file:
        np.savez(file, **{field.name: getattr(material, field.name) for field in fields(Material)})
    return material


def read(path: Path) -> Material:
    """Read what `collect` kept.

    Raises:
        DataError: it is damaged.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            return Material(**{field.name: kept[field.name] for field in fields(Material)})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} is damaged; delete it") from error


def together(parts: Sequence[Material]) -> Material:
    """Join the faces of several sets."""
    names = [field.name for field in fields(Material)]
    return Material(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def varied(
    rng: Rng, material: Material, network: int, number: int, backgrounds: np.ndarray, attack: str
) -> np.ndarray:
    """Draw one crop of a face for training, uint8 RGB (SIDE, SIDE, 3).

    Args:
        rng: draws everything.
        material: the faces.
        network: 0 for texture, 1 for context.
        number: which face.
        backgrounds: numbers of the faces before whose surroundings an attack may be held.
        attack: `print` or `replay` to simulate one from a live face; else empty.
    """
    crop = material.source(network, number)
    if attack:
        behind = material.source(network, int(rng.choice(backgrounds)))
        crop = recapture.attack(rng, crop, _scenery(rng, behind), attack)
    filmed = Crop(recapture.camera(rng, crop.image_rgb), crop.frame, crop.face)
    framed = recapture.frame_edge(rng, filmed)
    return _jittered(rng, framed, SCALES[network] / SOURCE_SCALES[network])


def _scenery(rng: Rng, crop: Crop) -> np.ndarray:
    """Make a background of an image: mirrored, shifted, out of focus; no face is in the middle."""
    side = crop.image_rgb.shape[0]
    x0, y0, x1, y1 = recapture.whole(crop.frame, side)
    filled = cv2.resize(crop.image_rgb[y0:y1, x0:x1], (side, side))[:, ::-1]
    shifted = np.roll(filled, int(rng.uniform(-0.5, 0.5) * side), axis=1)
    return cv2.GaussianBlur(shifted, (0, 0), rng.uniform(0.5, 3))


def _jittered(rng: Rng, image_rgb: np.ndarray, share: float) -> np.ndarray:
    """Cut the middle, a share of the side, at some other scale, shifted, turned, mirrored."""
    side = image_rgb.shape[0]
    cut_side = side * share * float(np.exp(rng.uniform(-0.13, 0.13)))
    x, y = side / 2 + rng.uniform(-0.04, 0.04, 2) * cut_side
    matrix = cv2.getRotationMatrix2D((x, y), rng.uniform(-10, 10), SIDE / cut_side)
    matrix[:, 2] += (SIDE / 2 - x, SIDE / 2 - y)
    if cut_side > 1.6 * SIDE:  # else pixels are skipped
        image_rgb = cv2.GaussianBlur(image_rgb, (0, 0), 0.35 * cut_side / SIDE)
    crop = cv2.warpAffine(image_rgb, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _regions(image_rgb: np.ndarray, box_xyxy: np.ndarray) -> np.ndarray:
    """Return where image and face are in both sources, (2, 2, 4)."""
    height, width = image_rgb.shape[:2]
    box = np.asarray(box_xyxy, np.float64)
    longer = max(box[2] - box[0], box[3] - box[1], 1.0)
    centre = np.tile((box[:2] + box[2:]) / 2, 2)
    both = np.stack([np.array([0, 0, width, height], np.float64), box]) - centre
    zooms = np.array(SOURCE_SIDES) / (np.array(SOURCE_SCALES) * longer)
    middles = np.array(SOURCE_SIDES) / 2
    placed = both * zooms[:, None, None] + middles[:, None, None]
    return np.clip(placed, 0, np.array(SOURCE_SIDES)[:, None, None])


def _readable(sample: Sample) -> Iterator[np.ndarray]:
    try:
        yield from frames(sample)
    except ImageError as error:
        log.warning("%s: left out", error)


def _fingerprint(samples: Sequence[Sample]) -> str:
    """Tell files apart by name, size and time, and what is cut from them by the constants."""
    told = []
    for sample in samples:
        found = sample.path.stat() if sample.path.exists() else None  # a link that leads nowhere
        version = (found.st_size, found.st_mtime_ns) if found else ()
        told.append((str(sample.path.resolve()), version, sample.kind, sample.person))
    constants = (SOURCE_SCALES, SOURCE_SIDES, SCALES, SIDE)
    return hashlib.sha256(repr((told, constants)).encode()).hexdigest()[:16]
