"""What the exporters for phones get computes what the shipped network computes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from facesync.errors import ModelError
from facesync.export.formats import _in_torch
from facesync.export.onnx_in_torch import OnnxNetwork
from facesync.export.original import find_original
from facesync.export.plain import plain
from facesync.faces.detection import FaceDetector
from facesync.sample_images import photographs


def _network(operator: str, shape=(1, 4, 8, 8), **attributes) -> bytes:
    node = helper.make_node(operator, ["input"], ["output"], **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape[1:]])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
    )
    opset = [helper.make_opsetid("", 20)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return model


@pytest.mark.parametrize("name", ["embedded", "liveness", "edgeface-xs"])
def test_a_network_in_torch_gives_what_onnx_runtime_gives(name, request):
    if name == "edgeface-xs":
        request.getfixturevalue("shared_weights")
    original = find_original(name, offline=True)
    values = np.random.default_rng(0).integers(0, 256, original.shape).astype(np.float32)
    given = values if name == "liveness" else (values - 127.5) / 128
    network, (example,) = _in_torch(original.network, original.shape)
    assert tuple(example.shape) == original.shape and not network.training
    with torch.inference_mode():
        found = network(torch.from_numpy(given)).numpy()
    np.testing.assert_allclose(found, original.run(given), atol=2e-6)


@pytest.mark.parametrize("name", ["embedded", "liveness"])
def test_an_input_lies_in_memory_as_executorch_demands(name):
    photo = photographs()["Grace Hopper"]
    original = find_original(name, offline=True)
    given = original.cut(photo, FaceDetector().detect(photo)[0])
    assert given.shape == original.shape and given.dtype == np.float32
    assert given.flags.c_contiguous


@pytest.mark.parametrize("name", ["embedded", "liveness"])
def test_a_network_can_be_traced_without_running_python(name):
    original = find_original(name, offline=True)
    module, example = _in_torch(original.network, original.shape)
    program = torch.export.export(module, example)
    targets = {str(node.target) for node in program.graph.nodes}
    # A transposition of weights would hide a linear layer from the exporters.
    assert "aten.linear.default" in targets and "aten.transpose.int" not in targets


def test_fixed_shapes_leave_no_arithmetic_on_them():
    original = find_original("embedded", offline=True)
    before = onnx.load_from_string(original.network).graph
    after = onnx.load_from_string(plain(original.network, original.shape)).graph
    kinds = {node.op_type for node in after.node}
    assert "DequantizeLinear" in {node.op_type for node in before.node}
    assert not kinds & {"DequantizeLinear", "Shape", "Constant"}
    assert [axis.dim_value for axis in after.input[0].type.tensor_type.shape.dim] == [
        1,
        3,
        112,
        112,
    ]


@pytest.mark.parametrize(
    "network, reason",
    [
        (_network("Hardmax"), "the operator Hardmax"),
        (_network("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 1, 1]), "leaves its border out"),
    ],
)
def test_what_is_not_known_is_one_line_and_no_other_result(network, reason):
    with pytest.raises(ModelError, match=reason):
        OnnxNetwork(plain(network, (1, 4, 8, 8)))(torch.ones(1, 4, 8, 8))


def test_a_network_for_other_inputs_is_one_line():
    with pytest.raises(ModelError, match="cannot be exported"):
        plain(_network("Softmax").replace(b"Softmax", b"Sotfmax"), (1, 4, 8, 8))


@pytest.mark.parametrize(
    "operator, attributes, expected",
    [
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, (4, 4)),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 0, 0]}, (7, 7)),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, (4, 4)),
    ],
)
def test_pooling_pads_and_rounds_as_onnx_does(operator, attributes, expected):
    from facesync.faces.onnx_runtime import open_net

    network = _network(operator, **attributes)
    given = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32) - 5
    found = OnnxNetwork(plain(network, given.shape))(torch.from_numpy(given)).numpy()
    assert found.shape[2:] == expected
    np.testing.assert_allclose(found, open_net(network)(given)[0], atol=1e-6)
