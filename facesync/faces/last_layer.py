"""The last layer that ships for the VGGFace2 weights, in place of their own.

It is one linear layer as theirs is, so that the network keeps its shape and its speed;
`distill_model.py --student vggface2-head` learns it (`facesync.distillation.head`).
"""

from __future__ import annotations

import hashlib
import io

import numpy as np

from facesync.errors import ModelError
from facesync.faces.onnx_files import ASSETS

HEAD_NAME = "vggface2.head.npy"

_EPSILON = 0.001
"""What the batch norm behind it adds to a variance."""


def shipped(sha256: str) -> dict[str, np.ndarray]:
    """Return the layer that ships, see `as_weights`, from the file with this SHA-256.

    Raises:
        ModelError: the file is missing or damaged.
    """
    path = ASSETS / HEAD_NAME
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{path} is missing or damaged; install FaceSync again")
    return as_weights(np.load(io.BytesIO(content), allow_pickle=False))


def as_weights(layer: np.ndarray) -> dict[str, np.ndarray]:
    """Return a last layer as weights of an InceptionResnetV1, by their names there.

    Args:
        layer: (512, 1793): weights of the 1792 pooled features, then the bias.
    """
    values, size = layer.astype(np.float32), len(layer)
    return {
        "last_linear.weight": values[:, :-1],
        "last_bn.bias": values[:, -1],  # the batch norm is left nothing else to do
        "last_bn.weight": np.ones(size, np.float32),
        "last_bn.running_mean": np.zeros(size, np.float32),
        "last_bn.running_var": np.full(size, 1 - _EPSILON, np.float32),
    }
