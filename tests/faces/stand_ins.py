"""A tiny ONNX model in place of the embedded one: its embeddings are the colours of an image."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from facesync.faces.crops import CropSpec
from facesync.faces.onnx_files import write

CROP = CropSpec("square", crop_size=112, input_size=112)


def tiny_model() -> bytes:
    """ONNX from (N, 3, 112, 112) to (N, 512) of unit length: means of 8 x 8 pixels."""
    nodes = [
        helper.make_node("AveragePool", ["input"], ["p"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("Slice", ["f", "from", "to", "axis"], ["s"]),
        helper.make_node("LpNormalization", ["s"], ["embedding"], axis=1, p=2),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("from", 0), ("to", 512), ("axis", 1))
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 512])],
        constants,
    )
    opset = [helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def write_embedded(folder: Path, **facts: object) -> Path:
    """Write the stand-in to a folder, under the names of the embedded model's files."""
    path = folder / "embedded.onnx"
    known = {"fingerprint": "0123456789abcdef", "crop": CROP.to_dict(), "description": "stand-in"}
    write(path, tiny_model(), {**known, **facts})
    return path
