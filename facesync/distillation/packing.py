"""Pack a student into the two files that FaceSync runs: `embedded.onnx` and `embedded.json`.

The weights of convolutions and linear layers are stored as int8 with one scale per output channel
and a DequantizeLinear node; ONNX Runtime unpacks them once, when it opens the file, and computes in
float32. The file is a quarter of the size, no calibration images are needed, and the embeddings are
the same on every CPU.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np

from facesync.distillation.student import CROP, Student
from facesync.faces.onnx_export import to_onnx
from facesync.faces.onnx_files import write

log = logging.getLogger(__name__)

MODEL_NAME = "embedded.onnx"
_SMALLEST = 1024  # values; smaller tensors are not worth a scale


def pack(student: Student, folder: Path, description: str) -> Path:
    """Write `embedded.onnx` and `embedded.json` to a folder and return the path of the former.

    Raises:
        FileError: they cannot be written.
    """
    size = CROP.input_size
    content = with_int8_weights(to_onnx(student, (2, 3, size, size)))
    path = folder / MODEL_NAME
    facts = {
        "fingerprint": hashlib.sha256(content).hexdigest()[:16],
        "crop": CROP.to_dict(),
        "remark": description,
        "unpack": True,
    }
    write(path, content, facts)
    log.info("%s: %.2f MB", path, len(content) / 1e6)
    return path


def with_int8_weights(content: bytes) -> bytes:
    """Convert a model's float32 weights to int8 with a scale per output channel."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(content)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    unpacking = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in weights:
            continue
        name = node.input[1]
        values = numpy_helper.to_array(weights[name])
        if values.dtype != np.float32 or values.size < _SMALLEST:
            continue
        # Output channels come first in Conv, and in Gemm where it takes its weights transposed.
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        axis = 0 if node.op_type == "Conv" or transposed else 1
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.maximum(np.abs(values).max(axis=others), 1e-12).astype(np.float32) / 127
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        whole = np.rint(values / scale.reshape(shape)).astype(np.int8)
        graph.initializer.remove(weights.pop(name))
        graph.initializer.append(numpy_helper.from_array(whole, f"{name}.whole"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        unpacking.append(
            helper.make_node(
                "DequantizeLinear", [f"{name}.whole", f"{name}.scale"], [name], axis=axis
            )
        )
    for node in reversed(unpacking):
        graph.node.insert(0, node)
    onnx.checker.check_model(model)
    packed: bytes = model.SerializeToString()
    return packed
