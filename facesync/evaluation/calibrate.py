"""Measure a model's calibration and put it where the model is."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facesync.errors import DataError, FileError, ModelError
from facesync.evaluation.images import ImageRef
from facesync.faces.calibration import Calibration
from facesync.faces.embedding import FaceModel
from facesync.faces.torch_model import read_checkpoint
from facesync.faces.weights import ASSETS
from facesync.files import replacing
from facesync.metrics.pairs import AllPairs
from facesync.metrics.rates import supports, threshold_at

FMRS = ("1e-1", "1e-2", "1e-3", "1e-4", "1e-5")
_TAIL_PAIRS = 500  # the tail is fitted to about so many of the largest impostor similarities
_LOGISTIC_PAIRS = 200_000


def calibrate(
    model: FaceModel, pairs: AllPairs, data: str, data_fingerprint: str, seed: int = 42
) -> Calibration:
    """Measure thresholds, the tail behind them and the mapping to probabilities.

    Args:
        model: that made the embeddings.
        pairs: similarities of all pairs.
        data: what they were made from, in words.
        data_fingerprint: see `fingerprint_of`.
        seed: of the sample of impostor pairs that the logistic mapping is fitted to.

    Raises:
        DataError: too few pairs for any rate.
    """
    impostor = np.sort(pairs.impostor)[::-1]
    supported = [fmr for fmr in FMRS if supports(float(fmr), len(impostor))]
    if not supported or len(pairs.genuine) < 2:
        raise DataError(
            f"{len(impostor)} impostor and {len(pairs.genuine)} genuine pairs are too few to "
            "calibrate on"
        )
    rates = [float(fmr) for fmr in supported]
    tail_fmr = next((r for r in reversed(rates) if r * len(impostor) >= _TAIL_PAIRS), rates[0])
    # Two identities with one image in common would put a threshold above 1.
    thresholds = {fmr: min(1.0, threshold_at(impostor, float(fmr))) for fmr in supported}
    start = threshold_at(impostor, tail_fmr)
    tail = impostor[: int(tail_fmr * len(impostor))].astype(np.float64) - start
    scale, shape = fit_tail(tail)
    sample = impostor
    if len(impostor) > _LOGISTIC_PAIRS:
        sample = np.random.default_rng(seed).choice(impostor, _LOGISTIC_PAIRS, replace=False)
    slope, intercept = fit_logistic(pairs.genuine, sample)
    return Calibration(
        thresholds=thresholds,
        # Seen from a higher threshold the shape is the same, and the scale has shrunk by it.
        tail_scale=max(1e-6, scale + shape * (thresholds[supported[-1]] - start)),
        tail_shape=shape,
        tail_fmr=tail_fmr,
        slope=slope,
        intercept=intercept,
        crop=model.crop,
        model_fingerprint=model.fingerprint,
        data=data,
        data_fingerprint=data_fingerprint,
        images=pairs.images,
        identities=pairs.identities,
        genuine_pairs=len(pairs.genuine),
        impostor_pairs=len(pairs.impostor),
    )


def fit_tail(excesses: np.ndarray) -> tuple[float, float]:
    """Fit a generalised Pareto distribution to what exceeds a threshold, by its two moments.

    Shapes above 0 are not allowed (similarities end at 1), nor those below -0.5, which a few
    pairs too many at the very top can feign (Hosking and Wallis, 1987).

    Returns:
        scale, shape.
    """
    mean, variance = float(excesses.mean()), float(excesses.var())
    shape = 0.5 * (1 - mean**2 / variance) if variance > 0 else 0.0
    shape = min(0.0, max(-0.5, shape))
    return mean * (1 - shape), shape


def fit_logistic(genuine: np.ndarray, impostor: np.ndarray) -> tuple[float, float]:
    """Fit P(same person | s) = 1 / (1 + exp(-(slope s + intercept))), both kinds weighing alike.

    Newton's method on the likelihood, with Platt's (1999) targets just inside 0 and 1, so that
    similarities which separate perfectly give a finite slope, too.

    Returns:
        slope, intercept.
    """
    x = np.concatenate([genuine, impostor]).astype(np.float64)
    many, others = len(genuine), len(impostor)
    target = np.concatenate(
        [np.full(many, (many + 1) / (many + 2)), np.full(others, 1 / (others + 2))]
    )
    weight = np.concatenate([np.full(many, 0.5 / many), np.full(others, 0.5 / others)])
    design = np.column_stack([x, np.ones_like(x)])
    middle = (float(genuine.mean()) + float(impostor.mean())) / 2
    theta = np.array([10.0, -10.0 * middle])
    loss = _loss(design @ theta, target, weight)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(design @ theta, -500, 500)))
        gradient = design.T @ (weight * (chance - target))
        bend = weight * chance * (1 - chance) + 1e-12
        step = np.linalg.solve((design * bend[:, None]).T @ design, gradient)
        size = 1.0  # halved until the likelihood rises: Newton's full step may overshoot
        while (better := _loss(design @ (theta - size * step), target, weight)) > loss:
            size /= 2
            if size < 1e-8:
                return float(theta[0]), float(theta[1])
        theta = theta - size * step
        if loss - better < 1e-12:
            break
        loss = better
    return float(theta[0]), float(theta[1])


def _loss(logit: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    return float(weight @ (np.logaddexp(0, logit) - target * logit))


def fingerprint_of(images: Sequence[ImageRef]) -> str:
    """Name images and who is on them: 16 hexadecimal digits of a SHA-256, in any order.

    By their names, not their bytes: it tells sets apart, it does not prove that a file is intact.
    """
    digest = hashlib.sha256()
    for line in sorted(f"{image.identity}\0{image.name}" for image in images):
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:16]


def calibration_home(choice: str) -> Path:
    """Where the calibration of `--model choice` lives: the checkpoint itself, or a `.json` file."""
    if choice in ("vggface2", "embedded"):
        return ASSETS / f"{choice}.json"
    path = Path(choice)
    return path.with_suffix(".json") if path.suffix == ".onnx" else path


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Put a calibration into a checkpoint or a `.json` file; all else in there stays.

    Raises:
        ModelError: the file there cannot be understood.
        FileError: it cannot be written.
    """
    if path.suffix == ".json":
        content = json.dumps(
            {**_read_json(path), "calibration": calibration.to_dict()}, indent=1, ensure_ascii=False
        ).encode()
    else:
        import torch

        buffer = io.BytesIO()
        torch.save({**read_checkpoint(path), "calibration": calibration.to_dict()}, buffer)
        content = buffer.getvalue()
    with replacing(path) as file:
        file.write(content)


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path} is damaged; it was left as it is") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a model's description; it was left as it is")
    return content
