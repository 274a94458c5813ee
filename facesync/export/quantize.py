"""Quantisation of an ONNX model: 8-bit weights and activations.

Of a convolutional network everything, with ranges calibrated on images, in QDQ format. A network
with layer norms has activations whose range no calibration holds: of it the linear layers, with
ranges found at each call, as EdgeFace's authors do. Unsigned activations, signed weights with a
scale per channel. Weights use seven bits (`reduce_range`): x86 processors without VNNI add pairs of
8-bit products in 16 bits, which overflow silently, and a model must give the same embeddings
everywhere.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def quantized(network: bytes, calibration: Sequence[np.ndarray]) -> bytes:
    """Quantise a model whose input is named `input`.

    Args:
        network: the model in float32.
        calibration: inputs, each float32 for one face, to take the ranges from.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"input": batch}

    with tempfile.TemporaryDirectory() as name, _quiet():
        folder = Path(name)
        given, prepared, result = (folder / f"{step}.onnx" for step in ("given", "ready", "int8"))
        given.write_bytes(network)
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(str(prepared)).graph.node
        if any(node.op_type == "LayerNormalization" for node in nodes):
            quantize_dynamic(
                str(prepared),
                str(result),
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
            return result.read_bytes()
        quantize_static(
            str(prepared),
            str(result),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return result.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the quantiser's warnings, which are meant for programmers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
