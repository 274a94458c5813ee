"""An ONNX network as a torch module, for the exporters that take nothing else.

It knows the operators that the app's own networks have after `plain` fixed the shape of the input.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

from facesync.errors import ModelError

Value = Any
"""A tensor, a number, or the integers that an operator takes as an input."""


class OnnxNetwork(torch.nn.Module):
    """Computes the first output of an ONNX network with one input.

    Raises:
        ModelError: it has an operator that is not known here.
    """

    def __init__(self, network: bytes) -> None:
        super().__init__()
        graph = onnx.load_from_string(network).graph
        self._input, self._output = graph.input[0].name, graph.output[0].name
        # An exporter sees a linear layer only where no transposition of its weights is computed.
        turned = {node.input[1] for node in graph.node if _multiplies_untransposed(node)}
        self._numbers: dict[str, list[int] | float] = {}
        self._tensors: dict[str, str] = {}
        for kept in graph.initializer:
            array = numpy_helper.to_array(kept)
            if array.dtype == np.int64:
                self._numbers[kept.name] = array.reshape(-1).tolist()
            elif array.ndim == 0:
                self._numbers[kept.name] = array.item()
            else:
                if kept.name in turned:
                    array = array.T
                name = f"weight_{len(self._tensors)}"
                self.register_buffer(name, torch.from_numpy(array.copy("C")))
                self._tensors[kept.name] = name
        self._steps = [_Step(node) for node in graph.node]

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        values: dict[str, Value] = {"": None, self._input: given, **self._numbers}
        values |= {name: getattr(self, kept) for name, kept in self._tensors.items()}
        for step in self._steps:
            found = step.run(*[values[name] for name in step.inputs], **step.attributes)
            outputs = found if isinstance(found, tuple) else (found,)
            values.update(zip(step.outputs, outputs, strict=True))
        output: torch.Tensor = values[self._output]
        return output


def _multiplies_untransposed(node: onnx.NodeProto) -> bool:
    attributes = {each.name: each.i for each in node.attribute}
    return node.op_type == "Gemm" and not attributes.get("transB", 0)


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
    return functional.max_pool2d(x, how["kernel_shape"], how.get("strides", 1), ceil_mode=ceil)


def _average_pool(x: Value, **how: Any) -> Value:
    if any(how.get("pads", ())) and not how.get("count_include_pad", 0):
        raise ModelError("the model cannot be exported: an AveragePool leaves its border out")
    x = _padded(x, how.get("pads"))
    return functional.avg_pool2d(
        x, how["kernel_shape"], how.get("strides", 1), count_include_pad=False
    )


def _gemm(a: Value, b: Value, c: Value = None, **how: Any) -> Value:
    plainest = how.get("alpha", 1.0), how.get("beta", 1.0), how.get("transA", 0)
    if plainest != (1.0, 1.0, 0):
        raise ModelError("the model cannot be exported: a Gemm has factors or turns its input")
    return functional.linear(a, b, c)  # the weights were turned when they were read


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


_TYPES = {int(onnx.TensorProto.FLOAT): torch.float32, int(onnx.TensorProto.BOOL): torch.bool}


def _cast(x: Value, to: int, **_: Any) -> Value:
    return x.to(_TYPES[to])


_OPERATORS: dict[str, Callable[..., Value]] = {
    "Add": operator.add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": torch.clamp,
    "Concat": lambda *parts, axis: torch.cat(parts, dim=axis),
    "Conv": _conv,
    "Div": operator.truediv,
    "Erf": torch.erf,
    "Expand": lambda x, shape: x.expand(*shape),
    "Flatten": lambda x, axis=1: x.flatten(axis),
    "Gather": _gather,
    "Gelu": lambda x, approximate: functional.gelu(x, approximate=approximate.decode()),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "Greater": operator.gt,
    "LayerNormalization": lambda *given, axis, stash_type=1, **how: _layer_norm(*given, **how),
    "LogSoftmax": lambda x, axis=-1: x.log_softmax(axis),
    "MatMul": torch.matmul,
    "MaxPool": _max_pool,
    "Mul": operator.mul,
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
    "Sub": operator.sub,
    "Transpose": lambda x, perm: x.permute(perm),
}
