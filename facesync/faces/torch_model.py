"""Load an InceptionResnetV1 in torch from a file of weights.

No code in a file runs (`facesync.faces.torch_files`); keys, shapes and values are checked before a
model is built.
"""

from __future__ import annotations

import hashlib
import io
import json
import reprlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facesync.errors import ModelError
from facesync.faces import trust
from facesync.faces.crops import ALIGNED_112, BOX, CropSpec
from facesync.faces.facenet import import_facenet
from facesync.faces.onnx_export import to_onnx
from facesync.faces.torch_files import read_torch_file
from facesync.files import replacing

if TYPE_CHECKING:
    import torch

ARCHITECTURE = "InceptionResnetV1"

TRAINING = ("optimizer_state_dict", "scheduler_state_dict", "run", "unseen_start")
"""Entries of a checkpoint that only serve further training, and are two thirds of its size."""

State = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class TorchModel:
    """A network that embeds faces, as its file describes it.

    Attributes:
        network: InceptionResnetV1 without its classifier, in evaluation mode, on the CPU.
        crop: how faces are cut for it.
        fingerprint: identifies the weights and the crop.
        remark: what its file says about it, for the user; may be empty.
        threshold: cosine similarity measured for it, or None.
        calibration: as plain data (`Calibration.to_dict`), or None.
        unseen: its figures on people it was not trained on, checked (`trust.judged`), or None.
    """

    network: torch.nn.Module
    crop: CropSpec
    fingerprint: str
    remark: str = ""
    threshold: float | None = None
    calibration: Any = None
    unseen: Any = None

    def to_onnx(self) -> bytes:
        """Export the network, which takes batches of any size.

        Raises:
            ModelError: torch could not export it.
        """
        return to_onnx(self.network, (2, 3, self.crop.input_size, self.crop.input_size))

    def facts(self) -> dict[str, Any]:
        """Return everything but the network as plain data."""
        return {
            "crop": self.crop.to_dict(),
            "fingerprint": self.fingerprint,
            "remark": self.remark,
            "threshold": self.threshold,
            "calibration": self.calibration,
            trust.ENTRY: self.unseen,
        }


def open_torch_model(path: Path) -> TorchModel:
    """Read a model from a checkpoint or a bare state dict (see `read_checkpoint`).

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
    network = new_network()
    load_state(network, checkpoint["model_state_dict"], str(path))
    return TorchModel(
        network=network.eval(),
        crop=crop,
        fingerprint=fingerprint(network, crop),
        remark=remark,
        threshold=_number(checkpoint, "threshold", path),
        calibration=checkpoint.get("calibration"),
        unseen=unseen,
    )


def on_arrays(
    network: torch.nn.Module, device: torch.device | str
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a network, moved to a device, as a function on float32 arrays."""
    import torch

    network = network.eval().to(device)

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            embeddings: np.ndarray = (
                network(torch.from_numpy(batch).to(device)).float().cpu().numpy()
            )
        return embeddings

    return run


def _number(checkpoint: dict[str, Any], key: str, path: Path) -> float | None:
    value = checkpoint.get(key)
    if value is not None and not (isinstance(value, int | float) and -1 <= value <= 1):
        raise ModelError(f"{path} is damaged: its {key} is {reprlib.repr(value)}")
    return value


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write plain values and tensors, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    import torch

    # Through memory: torch.save would hide a full disk behind an error of its own.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def read_checkpoint(path: Path, *, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Open a checkpoint of this project, one in the older format, or a bare state dict.

    Args:
        path: the file.
        leave_out: entries that are not wanted and not read, such as `TRAINING`.

    Returns:
        A dict with at least `model_state_dict`; a bare state dict is wrapped in one.

    Raises:
        ModelError: missing, not a checkpoint, damaged, or it would have to run code.
    """
    import torch

    data = read_torch_file(path, wanted=lambda key: key not in leave_out, leaf=torch.from_numpy)
    if isinstance(data, dict) and _is_state(data):
        data = {"model_state_dict": data}
    if not isinstance(data, dict) or not _is_state(data.get("model_state_dict")):
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


def new_network(num_classes: int | None = None) -> torch.nn.Module:
    """Build an InceptionResnetV1 with random weights: a classifier, or an embedder when None."""
    network: torch.nn.Module = import_facenet().InceptionResnetV1(
        pretrained=None, classify=num_classes is not None, num_classes=num_classes
    )
    return network


def load_state(
    network: torch.nn.Module, state: State, name: str, architecture: str = f"an {ARCHITECTURE}"
) -> None:
    """Load weights into a network after checking keys, shapes and values.

    The classifier (`logits.*`) is loaded if the network has one of the same size, else left as it
    is.

    Raises:
        ModelError: another architecture, missing weights, or values that are not finite.
    """
    import torch

    state = {key.removeprefix("module."): value for key, value in state.items()}
    own = network.state_dict()
    for key, tensor in own.items():
        optional = key.startswith("logits.") or key.endswith("num_batches_tracked")
        theirs = state.get(key)
        if theirs is None or theirs.shape != tensor.shape:
            if optional:
                continue
            found = "is missing" if theirs is None else f"is {tuple(theirs.shape)}"
            raise ModelError(f"{name} is not {architecture}: {key} {found}")
        if not torch.isfinite(theirs.float()).all():
            raise ModelError(f"{name} is damaged: {key} holds values that are not finite")
        own[key] = theirs
    network.load_state_dict(own)


def _is_state(data: Any) -> bool:
    import torch

    return (
        isinstance(data, dict)
        and bool(data)
        and all(
            isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in data.items()
        )
    )


def fingerprint(network: torch.nn.Module, crop: CropSpec) -> str:
    """Identify an embedding network and its crop by 16 hexadecimal digits of a SHA-256.

    The classifier and the counters of BatchNorm do not affect embeddings and are left out.
    """
    digest = hashlib.sha256(json.dumps(crop.to_dict(), sort_keys=True).encode())
    for key, tensor in sorted(network.state_dict().items()):
        if not key.startswith("logits.") and not key.endswith("num_batches_tracked"):
            digest.update(key.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
