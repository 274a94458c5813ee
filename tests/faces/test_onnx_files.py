"""An ONNX file that is damaged, or is not the one described, is refused."""

import hashlib
import json

import numpy as np
import onnx as onnx_library
import pytest
from onnx import helper, numpy_helper

from facesync.errors import ModelError
from facesync.faces.onnx_files import FORMAT, read_description, write


def net() -> onnx_library.ModelProto:
    """Make a network that answers with a constant."""
    weights = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    output = helper.make_tensor_value_info("w", onnx_library.TensorProto.FLOAT, [2])
    return helper.make_model(helper.make_graph([], "g", [], [output], [weights]))


NET = net().SerializeToString()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda onnx: onnx.write_bytes(b"nut"),
        lambda onnx: onnx.write_bytes(b""),
        lambda onnx: onnx.with_suffix(".json").unlink(),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b"{"),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b" " * 2_000_000 + b"{}"),
        lambda onnx: write(onnx, b"", {}),
        lambda onnx: write(onnx, b"\x0f\xff", {}),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b"[" * 100_000),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b"[1]"),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b"\xff\xfe"),
        lambda onnx: onnx.with_suffix(".json").write_text(
            json.dumps({**read_description(onnx), "format": 0})
        ),
    ],
)
def test_a_damaged_export_is_one_line(tmp_path, spoil):
    onnx = tmp_path / "a.onnx"
    write(onnx, NET, {"fingerprint": "f"})
    spoil(onnx)
    with pytest.raises(ModelError) as caught:
        read_description(onnx)
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read(tmp_path):
    facts = write(tmp_path / "a.onnx", NET, {"crop": {"kind": "square"}})
    assert read_description(tmp_path / "a.onnx") == facts
    with pytest.raises(ModelError, match="cannot be saved"):
        write(tmp_path / "a.onnx", NET, {"calibration": float("nan")})


def in_an_attribute(model):
    constant = helper.make_node("Constant", [], ["c"], value=model.graph.initializer[0])
    branch = helper.make_graph([constant], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["w"], [], then_branch=branch))
    del model.graph.initializer[:]


def in_a_function(model):
    constant = helper.make_node("Constant", [], ["c"], value=model.graph.initializer[0])
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "F", [], ["c"], [constant], imports))
    del model.graph.initializer[:]


@pytest.mark.parametrize("move", [lambda model: None, in_an_attribute, in_a_function])
def test_weights_in_other_files_are_refused_wherever_they_are(tmp_path, move):
    """The checksum is of one file: the weights of such a network could be changed unnoticed."""
    model = net()
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx_library.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    move(model)
    path, content = tmp_path / "m.onnx", model.SerializeToString()
    path.write_bytes(content)
    card = {"format": FORMAT, "sha256": hashlib.sha256(content).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"m\.onnx has weights in other files"):
        read_description(path)
