"""EdgeFace-XS (George et al., arXiv:2307.01838): its weights, from the authors' file.

Its linear layers are quantized there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facesync.errors import ModelError
from facesync.faces.checkpoints import fitting
from facesync.faces.graphs import EDGEFACE_XS, shapes
from facesync.faces.torch_files import dequantized, read_torch_file


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read the authors' file: float32 arrays by the names they have in the network.

    Raises:
        ModelError: missing, damaged, or something else.
    """
    state = read_torch_file(path)
    if not isinstance(state, dict):
        raise ModelError(f"{path} does not hold the weights of EdgeFace-XS")
    found = fitting(dequantized(state), shapes(EDGEFACE_XS), str(path), "EdgeFace-XS")
    return {name: np.asarray(value, np.float32) for name, value in found.items()}
