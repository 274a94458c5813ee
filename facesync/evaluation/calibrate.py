"""Calibrate a model and store the result where the model is, or in the user's cache."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from facesync.cli import one_line
from facesync.evaluation.images import ImageRef
from facesync.faces.calibration import Calibration, user_calibration_path
from facesync.faces.embedding import FaceModel
from facesync.faces.onnx_files import read_description
from facesync.faces.torch_model import read_checkpoint, write_checkpoint
from facesync.faces.weights import find_weights
from facesync.files import write_json
from facesync.metrics.calibration import fit_logistic, fit_thresholds, worst
from facesync.metrics.pairs import AllPairs
from facesync.metrics.rates import MIN_FALSE_MATCHES, supports
from facesync.metrics.thresholds import COMMON_FMR

log = logging.getLogger(__name__)


def calibrate(
    model: FaceModel,
    pairs: AllPairs,
    images: Sequence[ImageRef],
    data: str,
    *,
    groups: Mapping[str, AllPairs] | None = None,
    left_out: Collection[str] = (),
    seed: int = 42,
) -> Calibration:
    """Fit a calibration to the similarities of all pairs.

    Args:
        model: that gave the similarities.
        pairs: all pairs among the images.
        images: `pairs` are of these.
        data: describes them.
        groups: all pairs within each group of people. Every threshold is that of the worst of them.
            A group with too few impostor pairs is left out, with a warning.
        left_out: groups that are measured but do not raise the thresholds.
        seed: of the sample of pairs that the probabilities are fitted to.

    Raises:
        DataError: there are too few pairs for any rate, or one has no threshold below 1.
    """
    everybody = fit_thresholds(pairs.impostor)
    enough = {name: part for name, part in (groups or {}).items() if _is_enough(name, part)}
    fitted = {name: fit_thresholds(part.impostor) for name, part in enough.items()}
    counted = {name: found for name, found in fitted.items() if name not in left_out}
    rate = float(COMMON_FMR)
    hardest = max(counted, key=lambda name: counted[name].at(rate), default=None)
    strangers = pairs if hardest is None else enough[hardest]
    slope, intercept = fit_logistic(pairs.genuine, strangers.impostor, seed)
    common = np.float64(everybody.at(rate))  # compared as float32 it would be rounded
    measured = {
        name: {
            "fmr": float((enough[name].impostor >= common).mean()),
            "threshold": found.at(rate),
            "identities": enough[name].identities,
            "impostor_pairs": len(enough[name].impostor),
            "counts": name in counted,
        }
        for name, found in fitted.items()
    }
    return Calibration(
        **asdict(worst([everybody, *counted.values()])),
        slope=slope,
        intercept=intercept,
        crop=model.crop,
        model_fingerprint=model.fingerprint,
        data=data,
        data_fingerprint=data_fingerprint(images),
        images=pairs.images,
        identities=pairs.identities,
        genuine_pairs=len(pairs.genuine),
        impostor_pairs=len(pairs.impostor),
        groups=measured or None,
    )


def _is_enough(name: str, pairs: AllPairs) -> bool:
    """Whether a group has the impostor pairs that the common rate needs; a warning if not."""
    if supports(float(COMMON_FMR), len(pairs.impostor)):
        return True
    log.warning(
        "%s: %s impostor pairs are too few to calibrate on (it needs %s, which are those of 142 "
        "people with an image each): left out",
        one_line(name),
        f"{len(pairs.impostor):,}",
        f"{MIN_FALSE_MATCHES / float(COMMON_FMR):,.0f}",
    )
    return False


def data_fingerprint(images: Sequence[ImageRef]) -> str:
    """Hash images' names and identities, in any order, to 16 hexadecimal digits.

    Not their bytes: it tells datasets apart and does not prove that a file is intact.
    """
    digest = hashlib.sha256()
    for line in sorted(f"{image.identity}\0{image.name}" for image in images):
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:16]


def store_calibration(choice: str, calibration: Calibration) -> Path:
    """Store the calibration of a model, as the user named it, and return the file.

    It goes into the checkpoint or the JSON beside an ONNX file, where all else is kept; that of a
    model that ships with FaceSync goes to the user's cache.

    Raises:
        FileError: it cannot be written.
    """
    found = find_weights(choice)
    weights = found.path
    entry = {"calibration": calibration.to_dict()}
    if found.known is not None:
        path = user_calibration_path(calibration.model_fingerprint)
        write_json(path, entry, private=True)
        return path
    if weights.suffix == ".onnx":
        path = weights.with_suffix(".json")
        write_json(path, {**read_description(weights), **entry})
        return path
    write_checkpoint(weights, {**read_checkpoint(weights), **entry})
    return weights
