"""Write the networks that ship in facesync/assets, so that the app needs no torch.

    python -m pip install timm          # for EdgeFace-XS alone
    python docs/generate_graphs.py                       # all of them
    python docs/generate_graphs.py mtcnn                 # or inception-resnet-v1, edgeface-xs

MTCNN's three networks are whole: mtcnn-pnet.onnx, mtcnn-rnet.onnx and mtcnn-onet.onnx, with the
weights that ship inside facenet-pytorch. Of the others `<name>.graph.onnx` has no weights, and the
JSON beside it has the shape of each; `facesync.faces.graphs` puts them in. Only a change of the
exporter's or of ONNX Runtime's demands makes another run necessary. `tests/faces/test_graphs.py`,
`test_mtcnn.py` and `test_edgeface.py` compare the results with torch's own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnx
import torch

ROOT = Path(__file__).resolve().parent.parent

# Of each of MTCNN's networks: the shape of an example input, and the names of its outputs.
MTCNN: dict[str, tuple[tuple[int, int, int, int], tuple[str, ...]]] = {
    "pnet": ((1, 3, 48, 64), ("shifts", "probabilities")),
    "rnet": ((2, 3, 24, 24), ("shifts", "probabilities")),
    "onet": ((2, 3, 48, 48), ("shifts", "landmarks", "probabilities")),
}


def edgeface() -> torch.nn.Module:
    """Build EdgeFace-XS with random weights; its embeddings have unit length."""
    import timm

    class Unit(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = timm.create_model("edgenext_x_small", num_classes=512)

        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            embeddings: torch.Tensor = torch.nn.functional.normalize(self.model(faces))
            return embeddings

    return Unit()


def without_prelu(network: torch.nn.Module) -> torch.nn.Module:
    """Replace each PReLU by operators with the same result, in place.

    In ONNX Runtime PReLU is ten times slower than a multiplication and a maximum.
    """

    class Slopes(torch.nn.Module):
        def __init__(self, prelu: torch.nn.PReLU, dimensions: int) -> None:
            super().__init__()
            self.slopes = prelu.weight.detach().reshape(-1, *[1] * (dimensions - 2))
            self.convex = bool((self.slopes <= 1).all())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.convex:
                return torch.maximum(x, self.slopes * x)
            return x.clamp(min=0) + self.slopes * x.clamp(max=0)

    before = None
    for name, module in list(network.named_children()):
        if isinstance(module, torch.nn.PReLU):
            dimensions = 2 if isinstance(before, torch.nn.Linear) else 4
            setattr(network, name, Slopes(module, dimensions))
        before = module
    return network


def write_graph(name: str, network: torch.nn.Module, side: int) -> None:
    """Write a network without its weights; its input is a batch of images of side `side`."""
    from facesync.faces.graphs import graph_path
    from facesync.faces.onnx_export import to_onnx
    from facesync.faces.onnx_files import write

    weights = {
        key: value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    for weight in weights.values():  # the exporter merges those that are equal
        torch.nn.init.uniform_(weight, 0.1, 1)
    model = onnx.load_from_string(to_onnx(network, (2, 3, side, side), fold=False))
    if different := {tensor.name for tensor in model.graph.initializer} ^ set(weights):
        raise SystemExit(f"these are not weights, or were left out: {different}")
    del model.graph.initializer[:]
    shapes = {key: "x".join(map(str, value.shape)) for key, value in weights.items()}
    write(graph_path(name), model.SerializeToString(), {"weights": shapes})


def write_mtcnn() -> None:
    """Write MTCNN's three networks with their weights."""
    from facesync.faces.facenet import import_facenet
    from facesync.faces.mtcnn_nets import net_path
    from facesync.faces.onnx_export import to_onnx
    from facesync.faces.onnx_files import write

    mtcnn: Any = import_facenet().models.mtcnn
    networks = {"pnet": mtcnn.PNet, "rnet": mtcnn.RNet, "onet": mtcnn.ONet}
    for name, (shape, outputs) in MTCNN.items():
        content = to_onnx(without_prelu(networks[name]()), shape, outputs, any_size=name == "pnet")
        write(net_path(name), content, {"net": f"MTCNN {name}"})


def main(names: list[str]) -> None:
    """Write those with these names, or all."""
    sys.path.insert(0, str(ROOT))
    from facesync.faces.graphs import EDGEFACE_XS, INCEPTION
    from facesync.faces.torch_model import new_network

    names = names or ["mtcnn", INCEPTION, EDGEFACE_XS]
    if "mtcnn" in names:
        write_mtcnn()
    if INCEPTION in names:
        write_graph(INCEPTION, new_network(), 160)
    if EDGEFACE_XS in names:
        write_graph(EDGEFACE_XS, edgeface(), 112)


if __name__ == "__main__":
    main(sys.argv[1:])
