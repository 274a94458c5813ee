"""Pack a student into the two files that FaceSync runs: `embedded.onnx` and `embedded.json`.

Large weights are stored as 4-bit integers with a scale for every 32 of them, others as 8-bit
integers with a scale for each output channel, and DequantizeLinear nodes. ONNX Runtime unpacks them
and computes in float32. No calibration images are needed, and the
embeddings are the same on every CPU.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from facesync.distillation.student import CROP, Student
from facesync.faces.onnx_export import to_onnx
from facesync.faces.onnx_files import write

log = logging.getLogger(__name__)

MODEL_NAME = "embedded.onnx"
_SMALLEST = 1024  # values; smaller tensors are not worth a scale
_LARGE = 100_000  # values; smaller tensors save little with 4 bits, and lose more
_BLOCK = 32
_SHARES = np.linspace(0.6, 1, 9)  # of the largest weight of a block, to be represented exactly
_OPSET = 21  # the first with 4-bit integers and scales of blocks


def pack(student: Student, folder: Path, description: str) -> Path:
    """Write `embedded.onnx` and `embedded.json` to a folder and return the path of the former.

    Raises:
        FileError: they cannot be written.
    """
    size = CROP.input_size
    content = with_small_weights(to_onnx(student, (2, 3, size, size)))
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


def with_small_weights(content: bytes) -> bytes:
    """Convert a model's float32 weights to integers of 4 or 8 bits."""
    import onnx
    from onnx import numpy_helper, version_converter

    model = version_converter.convert_version(onnx.load_from_string(content), _OPSET)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    unpacking: list[Any] = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in weights:
            continue
        name = node.input[1]
        values = numpy_helper.to_array(weights[name])
        if values.dtype != np.float32 or values.size < _SMALLEST:
            continue
        # Output channels come first in Conv, and in Gemm where it takes its weights transposed.
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        first = node.op_type == "Conv" or transposed
        if first and values.size >= _LARGE and values.shape[1] % _BLOCK == 0:
            tensors, nodes = _four_bits(name, values)
        else:
            tensors, nodes = _eight_bits(name, values, axis=0 if first else 1)
        graph.initializer.remove(weights.pop(name))
        graph.initializer.extend(tensors)
        unpacking += nodes
    for node in reversed(unpacking):
        graph.node.insert(0, node)
    onnx.checker.check_model(model)
    packed: bytes = model.SerializeToString()
    return packed


def _eight_bits(name: str, values: np.ndarray, axis: int) -> tuple[list[Any], list[Any]]:
    """Return tensors and nodes for weights of 8 bits, with a scale for each index of an axis."""
    from onnx import helper, numpy_helper

    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = np.maximum(np.abs(values).max(axis=others), 1e-12).astype(np.float32) / 127
    whole = np.rint(values / np.expand_dims(scale, others)).astype(np.int8)
    tensors = [
        numpy_helper.from_array(whole, f"{name}.whole"),
        numpy_helper.from_array(scale, f"{name}.scale"),
    ]
    inputs = [tensor.name for tensor in tensors]
    return tensors, [helper.make_node("DequantizeLinear", inputs, [name], axis=axis)]


def _four_bits(name: str, values: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Return tensors and nodes for weights of 4 bits, (outputs, inputs, ...).

    Each `_BLOCK` weights from neighbouring inputs share a scale, of those tried the one with the
    least squared error.
    """
    from onnx import TensorProto, helper, numpy_helper

    last = np.moveaxis(values, 1, -1)
    blocks = last.reshape(-1, _BLOCK)
    # No scale may be less than what is precise in 16 bits.
    largest = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), 1e-3)
    best, least = largest, np.full_like(largest, np.inf)
    for share in _SHARES:
        scale = (largest * share / 7).astype(np.float16).astype(np.float32)
        whole = np.clip(np.rint(blocks / scale), -8, 7)
        error = np.square(whole * scale - blocks).sum(axis=1, keepdims=True)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    whole = np.clip(np.rint(blocks / best), -8, 7).astype(np.int8)
    whole = np.moveaxis(whole.reshape(last.shape), -1, 1)
    scales = best.reshape(*last.shape[:-1], -1).astype(np.float16)
    nibbles = whole.reshape(-1, 2).astype(np.uint8) & 15
    tensors = [
        helper.make_tensor(
            f"{name}.whole",
            TensorProto.INT4,
            whole.shape,
            (nibbles[:, 0] | nibbles[:, 1] << 4).tobytes(),
            raw=True,
        ),
        numpy_helper.from_array(np.ascontiguousarray(np.moveaxis(scales, -1, 1)), f"{name}.scale"),
    ]
    nodes = [
        helper.make_node("Cast", [f"{name}.scale"], [f"{name}.float"], to=TensorProto.FLOAT),
        helper.make_node(
            "DequantizeLinear",
            [f"{name}.whole", f"{name}.float"],
            [name],
            axis=1,
            block_size=_BLOCK,
        ),
    ]
    return tensors, nodes
