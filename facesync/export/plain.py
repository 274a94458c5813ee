"""ONNX networks with their weights as float32, and nothing left to work out from weights alone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from facesync.errors import ModelError

_WITH_GELU = 20
"""Opset from which on ONNX has the operator: in the other formats it is faster than its parts."""


def plain(network: bytes, shape: Sequence[int] | None = None) -> bytes:
    """Unpack a network's weights and work out what depends on them alone.

    Args:
        network: the ONNX file.
        shape: of its input from now on; then whatever depends on shapes is worked out, too.

    Raises:
        ModelError: ONNX Runtime cannot run it, or not with this input.
    """
    import onnx.version_converter
    import onnxruntime

    model = onnx.load_from_string(network)
    if shape and model.opset_import[0].version < _WITH_GELU:
        model = onnx.version_converter.convert_version(model, _WITH_GELU)
    axes = model.graph.input[0].type.tensor_type.shape.dim
    for axis, size in zip(axes, shape or (), strict=False):
        axis.dim_value = size
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 4  # errors are raised; the log would only repeat them
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        written = Path(folder) / "plain.onnx"
        options.optimized_model_filepath = str(written)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            reason = str(error).partition("\n")[0]
            raise ModelError(f"the model cannot be exported: {reason}") from error
        return written.read_bytes()
