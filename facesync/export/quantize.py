"""Static quantisation of an ONNX model: 8-bit weights and activations, calibrated on images.

QDQ format, unsigned activations, signed weights with a scale per channel. Weights use seven bits
(`reduce_range`): x86 processors without VNNI add pairs of 8-bit products in 16 bits, which overflow
silently, and a model must give the same embeddings everywhere.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def quantized(onnx: bytes, calibration: Sequence[np.ndarray]) -> bytes:
    """Quantise a model whose input is named `input`.

    Args:
        onnx: the model in float32.
        calibration: inputs, each float32 (1, 3, S, S), to take the ranges from.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
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
        given.write_bytes(onnx)
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
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
