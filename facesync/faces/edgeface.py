"""EdgeFace-XS (George et al., arXiv:2307.01838) for ONNX Runtime, without torch.

The network ships here without its weights (`docs/generate_edgeface_graph.py` makes it); these are
in the authors' file, whose linear layers are quantized.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facesync.errors import ModelError
from facesync.faces.models import ASSETS
from facesync.faces.torch_files import dequantized, read_torch_file


def graph_path() -> Path:
    """Return where the network without its weights is."""
    return ASSETS / "edgeface-xs.graph.onnx"


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read the authors' file: float32 arrays by the names they have in the network.

    Raises:
        ModelError: missing, damaged, or something else.
    """
    state = read_torch_file(path)
    if not isinstance(state, dict):
        raise ModelError(f"{path} does not hold the weights of EdgeFace-XS")
    return {name: value.astype(np.float32) for name, value in dequantized(state).items()}


def to_onnx(weights: dict[str, np.ndarray]) -> bytes:
    """Put weights into the network and return it as an ONNX file.

    Its input is float32 (N, 3, 112, 112), RGB, its output float32 (N, 512) of unit length.
    """
    import onnx

    model = onnx.load_model(graph_path())
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in weights.items()
    )
    content: bytes = model.SerializeToString()
    return content
