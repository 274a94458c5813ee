"""The network that is trained, and the weights it starts from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from facesync.errors import DownloadError, FileError, ModelError
from facesync.faces.torch_model import State, load_state, new_network, read_checkpoint
from facesync.faces.weights import vggface2_path, vggface2_state

if TYPE_CHECKING:
    import torch

INSTEAD = "or train from scratch with --weights none (much slower, less accurate)"


def starting_state(weights: str, *, offline: bool = False) -> tuple[State, str]:
    """Find the weights to start from.

    Args:
        weights: `vggface2`, `none`, or a file.
        offline: open no socket.

    Returns:
        The state, empty for `none`, and where it came from, in words.

    Raises:
        ModelError: missing, damaged, or of another architecture.
        DownloadError: they had to be downloaded and could not be.
    """
    if find_spec("facenet_pytorch") is None:
        raise ModelError("facenet-pytorch is missing; run: pip install -r requirements.txt")
    if weights == "none":
        return {}, "random weights"
    if weights != "vggface2":
        given: State = read_checkpoint(Path(weights))["model_state_dict"]
        load_state(new_network(), given, weights)
        return given, weights
    if offline and not vggface2_path().exists():
        raise ModelError(
            f"--offline, and the VGGFace2 weights are not at {vggface2_path()}; run once without "
            f"--offline, {INSTEAD}"
        )
    try:
        state, path = vggface2_state(offline=offline)
    except (DownloadError, FileError, ModelError) as error:
        raise type(error)(f"{error}; {INSTEAD}") from error
    return state, f"VGGFace2 weights ({path})"


def new_classifier(num_classes: int, state: State, source: str) -> torch.nn.Module:
    """Build an InceptionResnetV1 with `num_classes` outputs and load `state` where it fits.

    Parts that `state` lacks, such as the classifier itself, keep their random weights.

    Raises:
        ModelError: `state` is of another architecture, or holds values that are not finite.
    """
    network = new_network(num_classes)
    if state:
        load_state(network, state, source)
    return network
