"""An export is made once, found again, and made again if it is stale or damaged."""

import hashlib
import json
import os
import shutil
import stat

import numpy as np
import onnx as onnx_library
import pytest
from onnx import helper, numpy_helper

from facesync.errors import FileError, ModelError
from facesync.faces.onnx_files import FORMAT, exported, exports_folder, read_description, write


def net(values=(1.0, 2.0)) -> onnx_library.ModelProto:
    """Make a network that answers with a constant."""
    weights = numpy_helper.from_array(np.array(values, np.float32), "w")
    output = helper.make_tensor_value_info("w", onnx_library.TensorProto.FLOAT, [len(values)])
    return helper.make_model(helper.make_graph([], "g", [], [output], [weights]))


NET, OTHER = net().SerializeToString(), net((3.0,)).SerializeToString()


class Maker:
    """Stands for torch's export; counts its calls."""

    def __init__(self, content=NET):
        self.content = content
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.content, {"fingerprint": "f"}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "models" / "my model.pth"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are of POSIX systems")


@posix
def test_exported_once_to_a_folder_that_is_the_users_alone(weights):
    make = Maker()
    before = os.umask(0)
    try:
        onnx, facts = exported(weights, make)
    finally:
        os.umask(before)
    assert exported(weights, make) == (onnx, facts) and make.calls == 1
    assert onnx.parent == exports_folder() and onnx.read_bytes() == NET
    assert facts["fingerprint"] == "f"
    assert os.listdir(weights.parent) == [weights.name]
    assert stat.S_IMODE(onnx.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in onnx.parent.iterdir()} == {0o600}


def test_new_weights_are_exported_and_the_old_export_is_deleted(weights):
    same_name = weights.parent / "other folder" / weights.name
    same_name.parent.mkdir()
    same_name.write_bytes(b"others")
    other, _ = exported(same_name, Maker())
    old, _ = exported(weights, Maker())
    weights.write_bytes(b"trained on")
    new, _ = exported(weights, Maker(OTHER))
    assert new.read_bytes() == OTHER and not old.exists()
    assert not old.with_suffix(".json").exists() and other.exists()


def others(path):
    """Make a file look as if somebody else had written it, as far as this user can."""
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    else:
        path.chmod(0o666)


def linked(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@posix
@pytest.mark.parametrize("suffix", [".onnx", ".json"])
@pytest.mark.parametrize("spoil", [others, linked, lambda path: path.chmod(0o660)])
def test_an_export_that_somebody_else_may_have_written_is_made_again(
    weights, spoil, suffix, caplog
):
    onnx, _ = exported(weights, Maker())
    spoil(onnx.with_suffix(suffix))
    make = Maker(OTHER)
    assert exported(weights, make)[0].read_bytes() == OTHER and make.calls == 1
    assert "not the user's own; making it again" in caplog.text
    assert exported(weights, make)[0] == onnx and make.calls == 1


def test_an_export_of_changed_weights_is_another(weights):
    plain, _ = exported(weights, Maker())
    changed, _ = exported(weights, Maker(OTHER), "with another layer")
    assert changed.name != plain.name and changed.read_bytes() == OTHER


def test_a_pair_that_fits_planted_beside_the_weights_is_not_looked_at(weights):
    onnx, _ = exported(weights, Maker())
    shutil.copytree(onnx.parent, weights.parent, dirs_exist_ok=True)
    write(weights.parent / onnx.name, OTHER, {"fingerprint": "planted"})
    shutil.rmtree(onnx.parent)
    make = Maker()
    found, facts = exported(weights, make)
    assert (found.read_bytes(), facts["fingerprint"], make.calls) == (NET, "f", 1)


@posix
def test_a_cache_that_was_open_to_all_is_closed_and_one_of_others_is_refused(weights):
    folder = exports_folder()
    folder.chmod(0o777)
    assert stat.S_IMODE(exports_folder().stat().st_mode) == 0o700
    linked(folder)
    with pytest.raises(FileError, match="not the user's own"):
        exported(weights, Maker())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda onnx: onnx.write_bytes(b"nut"),
        lambda onnx: onnx.write_bytes(b""),
        lambda onnx: onnx.with_suffix(".json").unlink(),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b"{"),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b" " * 2_000_000 + b"{}"),
        lambda onnx: write(onnx, b"", {}, private=True),
        lambda onnx: write(onnx, b"\x0f\xff", {}, private=True),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b"[" * 100_000),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b"[1]"),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b"\xff\xfe"),
        lambda onnx: onnx.with_suffix(".json").write_text(
            json.dumps({**read_description(onnx), "format": 0})
        ),
    ],
)
def test_a_damaged_export_is_made_again(weights, spoil):
    onnx, _ = exported(weights, Maker())
    spoil(onnx)
    with pytest.raises(ModelError) as caught:
        read_description(onnx)
    assert "\n" not in str(caught.value)
    make = Maker()
    assert exported(weights, make)[0] == onnx
    assert make.calls == 1 and read_description(onnx)["fingerprint"] == "f"


def test_no_writable_folder_is_one_line(weights, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(FileError, match="cannot be kept"):
        exported(weights, Maker())


def test_an_export_that_fails_leaves_nothing(weights):
    def fail():
        raise ModelError("damaged")

    with pytest.raises(ModelError, match="damaged"):
        exported(weights, fail)
    assert not [path for path in exports_folder().iterdir() if path.suffix != ".lock"]


def test_missing_weights_are_one_line(tmp_path):
    with pytest.raises(ModelError, match="cannot read"):
        exported(tmp_path / "none.pth", Maker())


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
