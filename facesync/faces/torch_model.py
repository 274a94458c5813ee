"""InceptionResnetV1 in torch, for training and for devices other than the CPU."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facesync.faces import checkpoints
from facesync.faces.checkpoints import ARCHITECTURE, Facts, PlainModel, fitting, open_model
from facesync.faces.crops import CropSpec
from facesync.faces.facenet import import_facenet
from facesync.faces.last_layer import as_weights
from facesync.faces.onnx_export import to_onnx
from facesync.files import replacing

if TYPE_CHECKING:
    import torch

State = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class TorchModel(Facts):
    """A network that embeds faces, as its file describes it.

    Attributes:
        network: InceptionResnetV1 without its classifier, in evaluation mode, on the CPU.
    """

    network: torch.nn.Module

    def to_onnx(self) -> bytes:
        """Export the network, which takes batches of any size.

        Raises:
            ModelError: torch could not export it.
        """
        return to_onnx(self.network, (2, 3, self.crop.input_size, self.crop.input_size))


def open_torch_model(path: Path) -> TorchModel:
    """Read a model from a checkpoint or a bare state dict.

    Raises:
        ModelError: missing, damaged or of another architecture.
    """
    return in_torch(open_model(path))


def in_torch(model: PlainModel) -> TorchModel:
    """Make a torch network of a model."""
    network = new_network()
    _put(network, model.weights)
    facts = {each.name: getattr(model, each.name) for each in fields(Facts)}
    return TorchModel(network.eval(), **facts)


def _put(network: torch.nn.Module, weights: dict[str, np.ndarray]) -> None:
    """Copy weights into a network, which keeps what is not among them."""
    import torch

    state = {key: torch.from_numpy(value) for key, value in weights.items()}
    network.load_state_dict({**network.state_dict(), **state})


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
    """Open a checkpoint with torch's tensors in it; see `checkpoints.read_checkpoint`.

    Raises:
        ModelError: as there.
    """
    import torch

    return checkpoints.read_checkpoint(path, leave_out=leave_out, leaf=torch.from_numpy)


def new_network(num_classes: int | None = None) -> torch.nn.Module:
    """Build an InceptionResnetV1 with random weights: a classifier, or an embedder when None."""
    network: torch.nn.Module = import_facenet().InceptionResnetV1(
        pretrained=None, classify=num_classes is not None, num_classes=num_classes
    )
    return network


def load_state(
    network: torch.nn.Module, state: State, name: str, architecture: str = f"an {ARCHITECTURE}"
) -> None:
    """Load weights into a network after checking them; see `checkpoints.fitting`.

    The classifier (`logits.*`) is loaded if the network has one of the same size, else left as it
    is.

    Raises:
        ModelError: another architecture, missing weights, or values that are not finite.
    """
    own = network.state_dict()
    shapes = {key: value.shape for key, value in own.items()}
    network.load_state_dict({**own, **fitting(state, shapes, name, architecture)})


def set_last_layer(network: torch.nn.Module, layer: np.ndarray) -> None:
    """Replace the last layer of an InceptionResnetV1, an embedder, in place.

    Args:
        network: the embedder.
        layer: (512, 1793), see `last_layer.as_weights`.
    """
    _put(network, as_weights(layer))


def fingerprint(network: torch.nn.Module, crop: CropSpec) -> str:
    """Identify an embedding network and its crop; see `checkpoints.fingerprint`."""
    state = network.state_dict()
    weights = {key: value.detach().float().cpu().numpy() for key, value in state.items()}
    return checkpoints.fingerprint(weights, crop)
