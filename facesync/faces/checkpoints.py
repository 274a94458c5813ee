"""Read a face model from a file of torch's without torch: its weights, and what it says of itself.

No code in a file runs (`facesync.faces.torch_files`); keys, shapes and values are checked before a
model is built. `facesync.faces.torch_model` makes a torch network of it, for training.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facesync.errors import ModelError
from facesync.faces import graphs, trust
from facesync.faces.crops import ALIGNED_112, BOX, CropSpec
from facesync.faces.torch_files import read_torch_file

ARCHITECTURE = "InceptionResnetV1"

TRAINING = ("optimizer_state_dict", "scheduler_state_dict", "run", "unseen_start")
"""Entries of a checkpoint that only serve further training, and are two thirds of its size."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a model's file says of it.

    Attributes:
        crop: how faces are cut for it.
        fingerprint: identifies the weights and the crop.
        remark: for the user; may be empty.
        threshold: cosine similarity measured for it, or None.
        calibration: as plain data (`Calibration.to_dict`), or None.
        unseen: its figures on people it was not trained on, checked (`trust.judged`), or None.
    """

    crop: CropSpec
    fingerprint: str
    remark: str = ""
    threshold: float | None = None
    calibration: Any = None
    unseen: Any = None

    def facts(self) -> dict[str, Any]:
        """Return them as plain data."""
        return {
            "crop": self.crop.to_dict(),
            "fingerprint": self.fingerprint,
            "remark": self.remark,
            "threshold": self.threshold,
            "calibration": self.calibration,
            trust.ENTRY: self.unseen,
        }


@dataclass(frozen=True)
class PlainModel(Facts):
    """A model as its file has it.

    Attributes:
        weights: of an InceptionResnetV1 without its classifier, float32, by their names.
    """

    weights: dict[str, np.ndarray]

    def to_onnx(self) -> bytes:
        """Return the network as an ONNX file; see `graphs.to_onnx`."""
        return graphs.to_onnx(graphs.INCEPTION, self.weights)


def open_model(path: Path, others: Mapping[str, np.ndarray] | None = None) -> PlainModel:
    """Read a model from a checkpoint or a bare state dict (see `read_checkpoint`).

    Args:
        path: the file.
        others: weights, float32, that take the place of those in the file.

    Raises:
        ModelError: missing, damaged or of another architecture.
    """
    checkpoint = read_checkpoint(path, leave_out=TRAINING)
    crop = checkpoint_crop(checkpoint)
    remark = ""
    if "epoch" in checkpoint:
        accuracy = _number(checkpoint, "accuracy", path)
        of = f", validation accuracy {accuracy:.4f}" if accuracy is not None else ""
        if type(checkpoint["epoch"]) is not int:
            raise ModelError(f"{path} is damaged: its epoch is {reprlib.repr(checkpoint['epoch'])}")
        remark = f"epoch {checkpoint['epoch']}{of}"
    unseen = checkpoint.get(trust.ENTRY)
    trust.judged(unseen, path)
    shapes = graphs.shapes(graphs.INCEPTION)
    found = fitting(checkpoint["model_state_dict"], shapes, str(path), f"an {ARCHITECTURE}")
    weights = {key: np.asarray(value, np.float32) for key, value in found.items()}
    weights.update(others or {})
    return PlainModel(
        weights,
        crop=crop,
        fingerprint=fingerprint(weights, crop),
        remark=remark,
        threshold=_number(checkpoint, "threshold", path),
        calibration=checkpoint.get("calibration"),
        unseen=unseen,
    )


def _number(checkpoint: dict[str, Any], key: str, path: Path) -> float | None:
    value = checkpoint.get(key)
    if value is not None and not (isinstance(value, int | float) and -1 <= value <= 1):
        raise ModelError(f"{path} is damaged: its {key} is {reprlib.repr(value)}")
    return value


def read_checkpoint(
    path: Path,
    *,
    leave_out: Collection[str] = (),
    leaf: Callable[[np.ndarray], Any] = lambda array: array,
) -> dict[str, Any]:
    """Open a checkpoint of this project, one in the older format, or a bare state dict.

    Args:
        path: the file.
        leave_out: entries that are not wanted and not read, such as `TRAINING`.
        leaf: what becomes of each tensor, which it gets as an array.

    Returns:
        A dict with at least `model_state_dict`; a bare state dict is wrapped in one.

    Raises:
        ModelError: missing, not a checkpoint, damaged, or it would have to run code.
    """
    tensors: dict[int, Any] = {}

    def kept(array: np.ndarray) -> Any:
        tensor = leaf(array)
        tensors[id(tensor)] = tensor
        return tensor

    def is_state(data: Any) -> bool:
        return (
            isinstance(data, dict)
            and bool(data)
            and all(isinstance(key, str) and id(value) in tensors for key, value in data.items())
        )

    data = read_torch_file(path, wanted=lambda key: key not in leave_out, leaf=kept)
    if is_state(data):
        data = {"model_state_dict": data}
    if not isinstance(data, dict) or not is_state(data.get("model_state_dict")):
        raise ModelError(f"{path} is not a model of this project: it holds no weights")
    return data


def checkpoint_crop(checkpoint: dict[str, Any]) -> CropSpec:
    """Return the crop that a checkpoint's model was trained on.

    Checkpoints in the older format do not say; they were trained on CASIA-WebFace's aligned images.
    A bare state dict is assumed to be facenet-pytorch's weights.
    """
    if "crop" in checkpoint:
        return CropSpec.from_dict(checkpoint["crop"])
    return ALIGNED_112 if "epoch" in checkpoint else BOX


def fitting(
    state: Mapping[str, Any], shapes: Mapping[str, Iterable[int]], name: str, architecture: str
) -> dict[str, Any]:
    """Choose the weights of a network from a state, after checking keys, shapes and values.

    The classifier (`logits.*`) is among them if it has the network's size.

    Args:
        state: arrays or tensors on the CPU.
        shapes: of each weight of the network.
        name: of what they are from, and
        architecture: the network's, for the user.

    Raises:
        ModelError: another architecture, missing weights, or values that are not finite.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    found = {}
    for key, shape in shapes.items():
        theirs = state.get(key)
        if theirs is None or tuple(theirs.shape) != tuple(shape):
            if key.startswith("logits.") or key.endswith("num_batches_tracked"):
                continue
            what = "is missing" if theirs is None else f"is {tuple(theirs.shape)}"
            raise ModelError(f"{name} is not {architecture}: {key} {what}")
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(theirs, np.float32)).all()
        if not finite:
            raise ModelError(f"{name} is damaged: {key} holds values that are not finite")
        found[key] = theirs
    return found


def fingerprint(weights: Mapping[str, np.ndarray], crop: CropSpec) -> str:
    """Identify an embedding network and its crop by 16 hexadecimal digits of a SHA-256.

    The classifier and the counters of BatchNorm do not affect embeddings and are left out.

    Args:
        weights: float32, by their names.
        crop: how faces are cut for it.
    """
    digest = hashlib.sha256(json.dumps(crop.to_dict(), sort_keys=True).encode())
    for key, value in sorted(weights.items()):
        if not key.startswith("logits.") and not key.endswith("num_batches_tracked"):
            digest.update(key.encode())
            digest.update(value.tobytes())
    return digest.hexdigest()[:16]
