"""Write facesync/assets/edgeface-xs.graph.onnx: EdgeFace-XS's network, without its weights.

    python -m pip install timm          # needed for this alone
    python docs/generate_edgeface_graph.py

`facesync.faces.edgeface` puts the weights in, by their names in the authors' file. Only a change of
the exporter's or of ONNX Runtime's demands makes another run necessary, and then another `EXPORT`
in `facesync.faces.onnx_files`. `tests/faces/test_edgeface.py` compares the result with timm's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import torch

ROOT = Path(__file__).resolve().parent.parent


def network() -> torch.nn.Module:
    """Build the network with random weights; its embeddings have unit length."""
    import timm

    class Unit(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = timm.create_model("edgenext_x_small", num_classes=512)

        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            embeddings: torch.Tensor = torch.nn.functional.normalize(self.model(faces))
            return embeddings

    made = Unit()
    for weight in made.parameters():  # the exporter merges those that are equal
        torch.nn.init.uniform_(weight, 0.1, 1)
    return made


def main() -> None:
    """Write the file."""
    sys.path.insert(0, str(ROOT))
    from facesync.faces.edgeface import graph_path
    from facesync.faces.onnx_export import to_onnx

    made = network()
    model = onnx.load_from_string(to_onnx(made, (2, 3, 112, 112), fold=False))
    missing = {tensor.name for tensor in model.graph.initializer} ^ set(made.state_dict())
    if missing:
        raise SystemExit(f"these are not weights, or were left out: {missing}")
    del model.graph.initializer[:]
    graph_path().write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
