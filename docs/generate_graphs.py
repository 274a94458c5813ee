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
    "pnet": ((1, 3, 48, 64), ("shifts", "probability")),
    "rnet": ((2, 3, 24, 24), ("shifts", "probability")),
    "onet": ((2, 3, 48, 48), ("shifts", "landmarks", "probability")),
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


def quick(network: torch.nn.Module) -> torch.nn.Module:
    """Return one of MTCNN's networks rearranged for ONNX Runtime: the same results, sooner.

    ONNX Runtime computes convolutions and what follows them in blocks of 16 channels, but leaves
    that order, copying everything twice, where a pooling has another number of channels or where
    there is a PReLU or a maximum. So channels are filled up with zeros, and a PReLU is written as
    multiplications and a ReLU. The inputs are 0…255, the heads are
    one, and of the two probabilities, of which one is the rest, there is that of a face.
    """

    class Slopes(torch.nn.Module):
        def __init__(self, slopes: torch.Tensor) -> None:
            super().__init__()
            self.slopes = slopes

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x) * (1 - self.slopes) + self.slopes * x

    class Pooled(torch.nn.Module):
        """The pooling of a PReLU of a convolution, which has its negative slopes' channels twice.

        The greatest of max(x, a x) is the greater of the greatest x and the greatest a x.
        """

        def __init__(self, slopes: torch.Tensor, pool: torch.nn.Module) -> None:
            super().__init__()
            self.slopes, self.pool = slopes.abs()[:, None, None], pool
            self.falling, self.flat = int((slopes < 0).sum()), int((slopes <= 1).sum())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.pool(x)
            every = x[:, : len(self.slopes)]
            other = torch.cat([x[:, len(self.slopes) :], every[:, self.falling :]], 1) * self.slopes
            flat, steep = every[:, : self.flat], every[:, self.flat :]
            flat = torch.maximum(flat, other[:, : self.flat])
            return torch.cat([flat, torch.minimum(steep, other[:, self.flat :])], 1)

    class Heads(torch.nn.Module):
        def __init__(self, body: torch.nn.Module, head: torch.nn.Module) -> None:
            super().__init__()
            self.body, self.head = body, head

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            x = self.head(self.body(x))
            points = (x[:, 6:],) if x.shape[1] > 6 else ()
            # The softmax of two; a sigmoid is rounded otherwise, and ties near 1 fall otherwise.
            return x[:, 2:6], *points, 1 / (1 + torch.exp(x[:, 0] - x[:, 1]))

    def with_weights(kind: Any, weight: torch.Tensor, bias: torch.Tensor) -> Any:
        layer = kind(weight.shape[1], weight.shape[0], *weight.shape[2:3])
        layer.weight.data, layer.bias.data = weight, bias
        return layer

    first: Any = network.requires_grad_(False)
    order = first.prelu1.weight.argsort()  # the order of `Pooled`
    for tensor in (first.conv1.weight, first.conv1.bias, first.prelu1.weight):
        tensor.data = tensor[order]
    first.conv2.weight.data = first.conv2.weight[:, order]
    falling = int((first.prelu1.weight < 0).sum())
    twice = first.conv1.out_channels + falling == 16  # P-Net: they fill a block

    layers: list[torch.nn.Module] = []
    heads: list[Any] = []
    channels = 3
    for name, layer in network.named_children():
        module: Any = layer
        if "_" in name:
            heads += [] if isinstance(module, torch.nn.Softmax) else [module]
        elif isinstance(module, torch.nn.Conv2d):
            real, fill = module.weight.shape, -module.out_channels % 16
            weight = torch.zeros(real[0] + fill, channels, *real[2:])
            weight[: real[0], : real[1]] = module.weight
            bias = torch.nn.functional.pad(module.bias, (0, fill))
            if not layers:  # (x - 127.5) / 128
                if twice:
                    weight[-fill:], bias[-fill:] = -weight[:falling], -bias[:falling]
                weight /= 128
                bias -= weight.sum(dim=(1, 2, 3)) * 127.5
            channels = len(weight)
            layers.append(with_weights(torch.nn.Conv2d, weight, bias))
        elif isinstance(module, torch.nn.Linear):  # of channels last, width before height
            weight = module.weight.reshape(len(module.weight), 3, 3, channels)
            weight = weight.permute(0, 3, 2, 1).flatten(1)
            layers += torch.nn.Flatten(), with_weights(torch.nn.Linear, weight, module.bias)
        elif twice and name == "prelu1":
            channels = len(module.weight)
            layers.append(Pooled(module.weight, first.pool1))
        elif isinstance(module, torch.nn.PReLU):
            before: Any = layers[-1]
            slopes = torch.nn.functional.pad(
                module.weight, (0, len(before.bias) - len(module.weight))
            )
            layers.append(Slopes(slopes.reshape(-1, *[1] * (before.weight.dim() - 2))))
        elif not (twice and name == "pool1"):
            layers.append(module)
    weight = torch.cat([head.weight for head in heads])
    bias = torch.cat([head.bias for head in heads])
    return Heads(torch.nn.Sequential(*layers), with_weights(type(heads[0]), weight, bias))


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
        content = to_onnx(quick(networks[name]()), shape, outputs, any_size=name == "pnet")
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
