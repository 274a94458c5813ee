"""An export is made once, found again, and made again if it is stale or damaged."""

import json
import os

import pytest

from facesync.errors import FileError, ModelError
from facesync.faces.onnx_files import exported, read_description, user_cache, write


class Maker:
    """Stands for torch's export; counts its calls."""

    def __init__(self, content=b"net"):
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


def test_exported_once_beside_the_weights(weights):
    make = Maker()
    onnx, facts = exported(weights, make)
    again, same = exported(weights, make)
    assert make.calls == 1
    assert (onnx, facts) == (again, same)
    assert onnx.parent == weights.parent and onnx.read_bytes() == b"net"
    assert facts["fingerprint"] == "f"


def test_new_weights_are_exported_and_the_old_export_is_deleted(weights):
    other = weights.with_name("other-0123456789abcdef.onnx")
    other.write_bytes(b"not ours")
    old, _ = exported(weights, Maker())
    weights.write_bytes(b"trained on")
    new, _ = exported(weights, Maker(b"new"))
    assert new.read_bytes() == b"new" and not old.exists()
    assert not old.with_suffix(".json").exists() and other.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda onnx: onnx.write_bytes(b"nut"),
        lambda onnx: onnx.write_bytes(b""),
        lambda onnx: onnx.with_suffix(".json").unlink(),
        lambda onnx: onnx.with_suffix(".json").write_bytes(b"{"),
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


def test_exports_of_weights_in_a_read_only_folder_go_to_the_users_cache(weights):
    os.chmod(weights.parent, 0o555)
    try:
        make = Maker()
        onnx, _ = exported(weights, make)
        assert onnx.parent == user_cache() and exported(weights, make)[0] == onnx
        assert make.calls == 1
        assert os.listdir(weights.parent) == [weights.name]
    finally:
        os.chmod(weights.parent, 0o755)


def test_no_writable_folder_is_one_line(weights, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(FileError, match="cannot be written"):
        exported(weights, Maker(), beside=False)


def test_an_export_that_fails_leaves_nothing(weights):
    def fail():
        raise ModelError("damaged")

    with pytest.raises(ModelError, match="damaged"):
        exported(weights, fail)
    assert [path.name for path in weights.parent.iterdir() if path.suffix != ".lock"] == [
        weights.name
    ]


def test_missing_weights_are_one_line(tmp_path):
    with pytest.raises(ModelError, match="cannot read"):
        exported(tmp_path / "none.pth", Maker())


def test_what_is_written_is_read(tmp_path):
    facts = write(tmp_path / "a.onnx", b"net", {"crop": {"kind": "square"}})
    assert read_description(tmp_path / "a.onnx") == facts
    with pytest.raises(ModelError, match="cannot be saved"):
        write(tmp_path / "a.onnx", b"net", {"calibration": float("nan")})
