"""The last layer that ships for the VGGFace2 weights, in place of their own.

It is one linear layer as theirs is, so that the network keeps its shape and its speed;
`distill_model.py --student vggface2-head` learns it (`facesync.distillation.head`).
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from facesync.errors import ModelError
from facesync.faces.models import ASSETS
from facesync.faces.torch_model import TorchModel, fingerprint

if TYPE_CHECKING:
    import torch

HEAD_NAME = "vggface2.head.npy"


def with_head(model: TorchModel, sha256: str) -> TorchModel:
    """Return a model, in place, with the last layer that ships.

    Args:
        model: the VGGFace2 weights.
        sha256: of the file that holds the layer.

    Raises:
        ModelError: the file is missing or damaged.
    """
    path = ASSETS / HEAD_NAME
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{path} is missing or damaged; install FaceSync again")
    set_last_layer(model.network, np.load(io.BytesIO(content), allow_pickle=False))
    return replace(model, fingerprint=fingerprint(model.network, model.crop))


def set_last_layer(network: torch.nn.Module, layer: np.ndarray) -> None:
    """Replace the last layer of an InceptionResnetV1 in place.

    Args:
        network: an embedder.
        layer: (512, 1793): weights of the 1792 pooled features, then the bias.
    """
    import torch

    values = torch.from_numpy(layer.astype(np.float32))
    norm: Any = network.get_submodule("last_bn")
    state = {
        "last_linear.weight": values[:, :-1],
        "last_bn.bias": values[:, -1],  # the batch norm is left nothing else to do
        "last_bn.weight": torch.ones(len(values)),
        "last_bn.running_mean": torch.zeros(len(values)),
        "last_bn.running_var": torch.full((len(values),), 1 - norm.eps),
    }
    network.load_state_dict({**network.state_dict(), **state})
