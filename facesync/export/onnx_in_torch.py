"""An ONNX network as a torch module, for the exporters that take nothing else.

Of the operators, those that the app's own networks have. Shapes are fixed: ONNX Runtime works out
beforehand whatever depends on shapes and weights alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch.nn import functional

from facesync.errors import ModelError

Value = Any
"""A tensor, or the integers that an operator takes as an input."""


def with_fixed_shapes(network: bytes, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Fix the shape of a network's input, unpack its weights, and work out what they allow.

    Raises:
        ModelError: ONNX Runtime cannot run it with this input.
    """
    model = onnx.load_from_string(network)
    axes = model.graph.input[0].type.tensor_type.shape.dim
    for axis, size in zip(axes, shape, strict=True):
        axis.dim_value = size
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="facesync-") as folder:
        written = Path(folder) / "plain.onnx"
        options.optimized_model_filepath = str(written)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            raise ModelError(f"the model cannot be exported: {error}") from error
        return onnx.load(str(written))


class OnnxNetwork(torch.nn.Module):
    """Computes what an ONNX network with one input and one output computes.

    Raises:
        ModelError: it has an operator that is not known here.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        graph = model.graph
        self._input, self._output = graph.input[0].name, graph.output[0].name
        self._integers: dict[str, list[int]] = {}
        self._tensors: dict[str, str] = {}
        for kept in graph.initializer:
            array = numpy_helper.to_array(kept)
            if array.dtype == np.int64:
                self._integers[kept.name] = array.reshape(-1).tolist()
            else:
                name = f"weight_{len(self._tensors)}"
                self.register_buffer(name, torch.from_numpy(array.copy()))
                self._tensors[kept.name] = name
        self._steps = [_Step(node) for node in graph.node]

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        values: dict[str, Value] = {"": None, self._input: given, **self._integers}
        values |= {name: getattr(self, kept) for name, kept in self._tensors.items()}
        for step in self._steps:
            found = step.run(*[values[name] for name in step.inputs], **step.attributes)
            outputs = found if isinstance(found, tuple) else (found,)
            values.update(zip(step.outputs, outputs, strict=True))
        output: torch.Tensor = values[self._output]
        return output


class _Step:
    """One node of a graph."""

    def __init__(self, node: onnx.NodeProto) -> None:
        if node.op_type not in _OPERATORS:
            raise ModelError(f"the model cannot be exported: it has the operator {node.op_type}")
        self.run = _OPERATORS[node.op_type]
        self.inputs, self.outputs = list(node.input), list(node.output)
        read = onnx.helper.get_attribute_value
        self.attributes = {each.name: read(each) for each in node.attribute}


def _padded(x: torch.Tensor, pads: list[int] | None, value: float = 0.0) -> torch.Tensor:
    """Pad height and width as ONNX says: top, left, bottom, right."""
    if not pads or not any(pads):
        return x
    top, left, bottom, right = pads
    return functional.pad(x, (left, right, top, bottom), value=value)


def _conv(x: Value, weight: Value, bias: Value = None, **how: Any) -> Value:
    pads = how.get("pads") or [0] * 4
    even = pads[:2] == pads[2:]  # then the exporters see one operator
    return functional.conv2d(
        x if even else _padded(x, pads),
        weight,
        bias,
        how.get("strides", 1),
        pads[:2] if even else 0,
        how.get("dilations", 1),
        how.get("group", 1),
    )


def _max_pool(x: Value, **how: Any) -> Value:
    x = _padded(x, how.get("pads"), -torch.inf)
    ceil = bool(how.get("ceil_mode", 0))
    return functional.max_pool2d(x, how["kernel_shape"], how.get("strides"), ceil_mode=ceil)


def _average_pool(x: Value, **how: Any) -> Value:
    if any(how.get("pads", ())) and not how.get("count_include_pad", 0):
        raise ModelError("the model cannot be exported: an AveragePool leaves its border out")
    x = _padded(x, how.get("pads"))
    return functional.avg_pool2d(x, how["kernel_shape"], how.get("strides"))


def _gemm(a: Value, b: Value, c: Value = None, **how: Any) -> Value:
    a = a.transpose(0, 1) if how.get("transA") else a
    weight = b if how.get("transB") else b.transpose(0, 1)
    factors = how.get("alpha", 1.0), how.get("beta", 1.0)
    if factors != (1.0, 1.0):
        raise ModelError("the model cannot be exported: a Gemm has factors")
    return functional.linear(a, weight, c)


def _batch_norm(x: Value, *weights: Value, **how: Any) -> Value:
    scale, bias, mean, variance = weights
    return functional.batch_norm(x, mean, variance, scale, bias, eps=how.get("epsilon", 1e-5))


def _layer_norm(x: Value, scale: Value, bias: Value = None, **how: Any) -> Value:
    return functional.layer_norm(x, scale.shape, scale, bias, how.get("epsilon", 1e-5))


def _reduced(reduce: Callable[..., Value]) -> Callable[..., Value]:
    def run(x: Value, axes_input: Value = None, **how: Any) -> Value:
        axes = axes_input or how.get("axes") or list(range(x.ndim))
        return reduce(x, axes, keepdim=bool(how.get("keepdims", 1)))

    return run


def _slice(x: Value, starts: Value, ends: Value, axes: Value = None, steps: Value = None) -> Value:
    taken = [slice(None)] * x.ndim
    order = axes or range(len(starts))
    for axis, start, end, step in zip(order, starts, ends, steps or [1] * len(starts), strict=True):
        taken[axis] = slice(start, end, step)
    return x[tuple(taken)]


def _split(x: Value, sizes: Value, axis: int = 0) -> Value:
    return torch.split(x, sizes, dim=axis)


def _reshape(x: Value, shape: Value, **_: Any) -> Value:
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])


def _squeeze(x: Value, axes: Value) -> Value:
    return x.squeeze(tuple(axes))


def _gather(x: Value, indices: Value, axis: int = 0) -> Value:
    (index,) = indices  # a scalar is all that the networks take
    return x.select(axis, index)


def _cast(x: Value, to: int) -> Value:
    return x.to({onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.BOOL: torch.bool}[to])


_OPERATORS: dict[str, Callable[..., Value]] = {
    "Add": torch.add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": torch.clamp,
    "Concat": lambda *parts, axis: torch.cat(parts, dim=axis),
    "Conv": _conv,
    "Div": torch.div,
    "Erf": torch.erf,
    "Expand": lambda x, shape: x.expand(*shape),
    "Flatten": lambda x, axis=1: x.flatten(axis),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "Greater": torch.gt,
    "LayerNormalization": lambda *given, axis, stash_type=1, **how: _layer_norm(*given, **how),
    "LogSoftmax": lambda x, axis=-1: x.log_softmax(axis),
    "MatMul": torch.matmul,
    "MaxPool": _max_pool,
    "Mul": torch.mul,
    "ReduceL2": _reduced(lambda x, axes, keepdim: x.square().sum(axes, keepdim=keepdim).sqrt()),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Relu": torch.relu,
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": lambda x, axis=-1: x.softmax(axis),
    "Split": _split,
    "Sqrt": torch.sqrt,
    "Squeeze": _squeeze,
    "Sub": torch.sub,
    "Transpose": lambda x, perm: x.permute(perm),
}
