"""Load MTCNN's three networks; their weights ship inside facenet-pytorch."""

from __future__ import annotations

import logging
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facesync.errors import FileError, ModelError
from facesync.faces.facenet import import_facenet
from facesync.faces.mtcnn import Net, Nets
from facesync.faces.onnx_files import exported
from facesync.faces.onnx_runtime import open_net

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Of each network: the shape of an example input, and the names of its outputs.
_NETS: dict[str, tuple[tuple[int, int, int, int], tuple[str, ...]]] = {
    "pnet": ((1, 3, 48, 64), ("shifts", "probabilities")),
    "rnet": ((2, 3, 24, 24), ("shifts", "probabilities")),
    "onet": ((2, 3, 48, 48), ("shifts", "landmarks", "probabilities")),
}


def load_mtcnn(device: str) -> Nets:
    """Load the networks: on `cpu` they run in ONNX Runtime, on any other torch device in torch.

    Raises:
        ModelError: facenet-pytorch is missing.
    """
    if device != "cpu":
        return torch_nets(device)
    try:
        return onnx_nets()
    except FileError as error:
        log.warning("%s: detection runs in torch, which is slower", error)
        return torch_nets(device)


def onnx_nets() -> Nets:
    """Open the networks in ONNX Runtime; the first time, torch exports them to the user's cache.

    Raises:
        ModelError: facenet-pytorch is missing.
        FileError: the cache cannot be written.
    """
    spec = find_spec("facenet_pytorch")  # without importing it, which would import torch
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("facenet-pytorch is missing; run: pip install -r requirements.txt")
    data = Path(spec.submodule_search_locations[0]) / "data"
    paths = [exported(data / f"{name}.pt", partial(_export, name))[0] for name in _NETS]
    return Nets(*map(open_net, paths))


def _export(name: str) -> tuple[bytes, dict[str, Any]]:
    from facesync.faces.onnx_export import to_onnx, without_prelu

    mtcnn = import_facenet().models.mtcnn
    shape, outputs = _NETS[name]
    network = without_prelu({"pnet": mtcnn.PNet, "rnet": mtcnn.RNet, "onet": mtcnn.ONet}[name]())
    return to_onnx(network, shape, outputs, any_size=name == "pnet"), {"net": f"MTCNN {name}"}


def torch_nets(device: str) -> Nets:
    """Load the networks as torch modules on a device; they take and return arrays."""
    import torch

    mtcnn = import_facenet().models.mtcnn

    def net(network: torch.nn.Module) -> Net:
        network = network.to(device).eval()

        def run(batch: np.ndarray) -> list[np.ndarray]:
            with torch.inference_mode():
                outputs = network(torch.from_numpy(batch).to(device))
            return [output.cpu().numpy() for output in outputs]

        return run

    return Nets(net(mtcnn.PNet()), net(mtcnn.RNet()), net(mtcnn.ONet()))
