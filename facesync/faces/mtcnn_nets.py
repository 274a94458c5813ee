"""Load MTCNN's three networks; they ship as ONNX files (`docs/generate_graphs.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facesync.faces.facenet import import_facenet
from facesync.faces.mtcnn import Net, Nets
from facesync.faces.onnx_files import ASSETS, read_description
from facesync.faces.onnx_runtime import open_net

if TYPE_CHECKING:
    import torch


def load_mtcnn(device: str) -> Nets:
    """Load the networks: on `cpu` they run in ONNX Runtime, on any other torch device in torch.

    Raises:
        ModelError: they are missing or damaged.
    """
    return onnx_nets() if device == "cpu" else torch_nets(device)


def net_path(name: str) -> Path:
    """Return where `pnet`, `rnet` or `onet` is."""
    return ASSETS / f"mtcnn-{name}.onnx"


def onnx_nets() -> Nets:
    """Open the networks in ONNX Runtime.

    Raises:
        ModelError: they are missing or damaged.
    """
    paths = [net_path(name) for name in ("pnet", "rnet", "onet")]
    for path in paths:
        read_description(path)
    # What so few crops need fits a core's cache; more at once take longer, and more memory.
    pnet, rnet, onet = map(open_net, paths)
    return Nets(pnet, rnet, onet, batch=20)


def torch_nets(device: str) -> Nets:
    """Load the networks as torch modules on a device; they take and return arrays."""
    import torch

    mtcnn = import_facenet().models.mtcnn

    def net(network: torch.nn.Module) -> Net:
        network = network.to(device).eval()

        def run(batch: np.ndarray) -> list[np.ndarray]:
            with torch.inference_mode():
                outputs = network((torch.from_numpy(batch).to(device) - 127.5) / 128)
            *shifts, probabilities = (output.cpu().numpy() for output in outputs)
            return [*shifts, probabilities[:, 1]]

        return run

    return Nets(net(mtcnn.PNet()), net(mtcnn.RNet()), net(mtcnn.ONet()), batch=512)
