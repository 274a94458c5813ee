"""Networks that ship without their weights, and these put in: an ONNX file without torch.

`docs/generate_graphs.py` makes the networks, and the JSON beside each with the shapes of its
weights. ONNX is a protocol buffer, and of a message that is there twice the parts are joined:
graphs that have nothing but a weight, behind the network's, give it its weights.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from facesync.errors import ModelError
from facesync.faces.onnx_files import ASSETS, read_description

INCEPTION, EDGEFACE_XS = "inception-resnet-v1", "edgeface-xs"

# Fields of ONNX's messages (`onnx.proto`), each the number and the kind of what follows.
_GRAPH, _INITIALIZER = 7 << 3 | 2, 5 << 3 | 2
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1 << 3, 2 << 3, 8 << 3 | 2, 9 << 3 | 2
_FLOAT = 1


def graph_path(name: str) -> Path:
    """Return where the network with this name is, without its weights."""
    return ASSETS / f"{name}.graph.onnx"


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a network, by its name.

    Raises:
        ModelError: the network is missing or damaged.
    """
    path = graph_path(name)
    try:
        written: dict[str, str] = read_description(path)["weights"]
        return {key: tuple(map(int, shape.split("x"))) for key, shape in written.items()}
    except (KeyError, AttributeError, ValueError) as error:
        raise ModelError(f"the description of {path} is damaged: install FaceSync again") from error


def to_onnx(name: str, weights: Mapping[str, np.ndarray]) -> bytes:
    """Return a network with its weights as an ONNX file; see `write`."""
    content = io.BytesIO()
    write(name, weights, content)
    return content.getvalue()


def write(name: str, weights: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Put float32 weights into a network and write it as an ONNX file.

    Its input is float32 (N, 3, S, S), RGB, its output float32 (N, 512) of unit length.
    """
    file.write(graph_path(name).read_bytes())
    for key, value in weights.items():
        data = np.ascontiguousarray(value, "<f4").reshape(-1).view(np.uint8).data
        dims = b"".join(_varint(_DIMS) + _varint(length) for length in value.shape)
        kind = _varint(_DATA_TYPE) + _varint(_FLOAT)
        head = dims + kind + _begun(_NAME, len(key.encode())) + key.encode()
        head += _begun(_RAW_DATA, len(data))
        weight = _begun(_INITIALIZER, len(head) + len(data)) + head
        file.write(_begun(_GRAPH, len(weight) + len(data)) + weight)
        file.write(data)


def _begun(tag: int, length: int) -> bytes:
    """Return the beginning of a field of so many bytes."""
    return _varint(tag) + _varint(length)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
