"""Files of torch are read as torch reads them, and hostile ones cost no more than their size."""

import io
import math
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from facesync.errors import ModelError
from facesync.faces.torch_files import dequantized, read_torch_file
from tests.conftest import ROOT

torch = pytest.importorskip("torch")


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def whatever_is_saved():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(network.parameters(), fused=False)
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "model_state_dict": network.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "random": [torch.get_rng_state(), {"python": (3, (1, 2**32 - 1), None)}],
        "kinds": [base.to(kind) for kind in (torch.half, torch.double, torch.bool, torch.int16)],
        "views": [base.T, base[1:, ::2], base[2, 3], base[:0], torch.tensor(7)],
        "shape": base.shape,
        "text": "é\n",
        "none": None,
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path, zipped):
    path = tmp_path / "x.pth"
    torch.save(whatever_is_saved(), path, _use_new_zipfile_serialization=zipped)
    read = read_torch_file(path, leaf=torch.from_numpy)
    theirs = torch.load(path, weights_only=True)
    theirs["shape"] = tuple(theirs["shape"])
    assert same(theirs, read)
    views = read_torch_file(path)["views"]
    assert all(isinstance(view, np.ndarray) and view.flags.writeable for view in views)
    assert np.shares_memory(views[0], views[1]) and views[2] == 15.0
    some = read_torch_file(path, wanted=lambda key: key not in ("views", "kinds"))
    assert list(some) == [key for key in theirs if key not in ("views", "kinds")]


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own: quantization will move
def test_bfloat16_and_quantized_tensors_become_float32(tmp_path):
    numbers = torch.linspace(-3, 3, 30).reshape(5, 6)
    quantized = torch.quantize_per_tensor(numbers, 0.05, 3, torch.qint8)
    torch.save([numbers.bfloat16(), quantized], tmp_path / "x.pth")
    read = read_torch_file(tmp_path / "x.pth", leaf=torch.from_numpy)
    assert same([numbers.bfloat16().float(), quantized.dequantize()], read)


def test_vggface2_is_read_bit_by_bit(shared):
    path = shared / "torch_home" / "checkpoints" / "20180402-114759-vggface2.pt"
    theirs = torch.load(path, weights_only=True)
    assert same(dict(theirs), read_torch_file(path, leaf=torch.from_numpy))


def test_edgeface_is_dequantized_without_running_anything(shared):
    state = dequantized(read_torch_file(shared / "torch_home/checkpoints/edgeface_xs_q.pt"))
    assert len(state) == 214 and sum(value.size for value in state.values()) == 2_242_620
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}
    weight = state["model.stages.0.blocks.0.mlp.fc1.weight"]
    assert weight.ndim == 2 and 0.01 < weight.std() < 1
    assert len(np.unique(weight)) <= 256 and np.isfinite(weight).all()
    assert not [key for key in state if "packed" in key or "scale" in key or "zero_point" in key]


def test_a_layer_without_bias_and_what_is_no_weight():
    ones = np.ones((2, 2), np.float32)
    packed = {"a._packed_params._packed_params": (ones, None), "a._packed_params.dtype": "qint8"}
    assert list(dequantized({**packed, "a.scale": ones, "b": ones})) == ["a.weight", "b"]
    with pytest.raises(ModelError, match="not a weight"):
        dequantized({**packed, "b": "text"})


# Hostile files


class Call:
    """Pickled as a call of a global, however it is named."""

    def __init__(self, module, name, arguments=None):
        self.line = f"c{module}\n{name}\n".encode()
        self.arguments = arguments


def program(value) -> bytes:
    """Write a pickle (without its STOP) of containers, `Call`s and persistent ids."""
    if isinstance(value, Call):
        if value.arguments is None:
            return value.line
        return value.line + program(value.arguments) + b"R"
    if isinstance(value, tuple):
        if value[:1] == ("storage",):
            return b"(" + b"".join(map(program, value)) + b"tQ"
        return b"(" + b"".join(map(program, value)) + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(program(k) + program(v) for k, v in value.items()) + b"u"
    return pickle.dumps(value, 2)[2:-1]


def storage(count, key="0", kind="FloatStorage"):
    return ("storage", Call("torch", kind), key, "cpu", count)


def tensor(what, offset, shape, strides, name="_rebuild_tensor_v2", more=()):
    arguments = (what, offset, shape, strides, *more, False, Call("collections", "OrderedDict", ()))
    return Call("torch._utils", name, arguments)


def archive(path: Path, data: bytes, storages=None, how=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as file:
        file.writestr("x/data.pkl", data)
        for key, content in (storages or {}).items():
            file.writestr(f"x/data/{key}", content)
    return path


FOUR = {"0": bytes(16)}


@pytest.mark.parametrize(
    "value",
    [
        tensor(storage(4), 0, (5,), (1,)),
        tensor(storage(4), 1, (4,), (1,)),
        tensor(storage(4), 5, (0,), (1,)),
        tensor(storage(4), 0, (10**9,), (0,)),
        tensor(storage(4), -1, (2,), (1,)),
        tensor(storage(4), 0, (2,), (-1,)),
        tensor(storage(4), 0, (-2,), (1,)),
        tensor(storage(4), 0, (2, 2), (2,)),
        tensor(storage(4), 0, (1,) * 40, (1,) * 40),
        tensor(storage(4), 0, 4, 1),
        tensor(storage(10**12), 0, (4,), (1,)),
        tensor(storage(2), 0, (2,), (1,)),
        tensor(storage(4, "1"), 0, (4,), (1,)),
        tensor(storage(4, kind="ComplexFloatStorage"), 0, (4,), (1,)),
        tensor(storage(4, kind="qint8"), 0, (4,), (1,)),
        tensor("text", 0, (4,), (1,)),
        [tensor(storage(4), 0, (4,), (1,)), tensor(storage(2, "0", "LongStorage"), 0, (2,), (1,))],
        tensor(storage(4), 0, (4,), (1,), "_rebuild_qtensor", more=(("per_channel_affine", 1, 0),)),
        tensor(
            storage(16, kind="QInt8Storage"), 0, (4,), (1,), "_rebuild_qtensor",
            more=((Call("torch", "per_tensor_affine"), math.nan, 0),),
        ),
        Call("torch._utils", "_rebuild_sparse_tensor", ()),
        Call("torch._utils", "_rebuild_meta_tensor_no_storage", ()),
        Call("torch._utils", "_rebuild_parameter", ("text", True, None)),
        Call("torch.storage", "_load_from_bytes", (b"x",)),
        ("storage", "FloatStorage"),
        {"a": Call("torch", "Size")},
        {"a": Call("os", "system", ("true",))},
    ],
)  # fmt: skip
def test_a_tensor_that_is_not_there_is_one_line(tmp_path, value):
    pickled = b"\x80\x02]" + b"".join(
        program(part) + b"a" for part in (value if isinstance(value, list) else [value])
    )
    path = archive(tmp_path / "x.pth", pickled + b".", FOUR)
    with pytest.raises(ModelError, match=r"x\.pth") as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value)


def test_the_writer_of_these_files_can_write_a_good_one(tmp_path):
    data = b"\x80\x02" + program(tensor(storage(4), 1, (3,), (1,))) + b"."
    numbers = np.arange(4, dtype=np.float32)
    path = archive(tmp_path / "x.pth", data, {"0": numbers.tobytes()})
    np.testing.assert_array_equal(read_torch_file(path), numbers[1:])
    with pytest.raises(ModelError, match="compressed"):
        read_torch_file(archive(path, data, FOUR, zipfile.ZIP_DEFLATED))
    for content in (bytes(12), bytes(20)):
        with pytest.raises(ModelError, match="another length"):
            read_torch_file(archive(path, data, {"0": content}))


def test_every_cut_of_a_file_is_one_line(tmp_path):
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save({"a": torch.ones(2)}, buffer, _use_new_zipfile_serialization=zipped)
        whole = buffer.getvalue()
        for length in range(0, len(whole), 7):
            (tmp_path / "x.pth").write_bytes(whole[:length])
            with pytest.raises(ModelError, match=r"x\.pth"):
                read_torch_file(tmp_path / "x.pth")


def one_place(path: Path, count: int, megabytes: int) -> None:
    """Write an archive in which many storages are one and the same place."""
    tensors = [
        tensor(storage(megabytes << 18, str(n)), 0, (megabytes << 18,), (1,)) for n in range(count)
    ]
    data = b"\x80\x02]" + b"".join(program(each) + b"a" for each in tensors) + b"."
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", data)
        file.writestr("x/data/0", bytes(megabytes << 20))
        first = file.infolist()[-1]
        for n in range(1, count):
            again = zipfile.ZipInfo(f"x/data/{n}")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(again, name, getattr(first, name))
            file.filelist.append(again)
            file.NameToInfo[again.filename] = again


def hostile_files(folder: Path):
    yield archive(folder / "deep.pth", b"\x80\x02)" + b"\x85" * 300_000 + b".")
    yield archive(folder / "wide.pth", b"\x80\x02(" + b"\x8f" * 1_000_000 + b"l.")
    yield archive(folder / "memo.pth", b"\x80\x04N" + b"\x94" * 1_000_000 + b".")
    collide = b"".join(b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N"
                       for n in range(1, 60_000))  # fmt: skip
    yield archive(folder / "keys.pth", b"\x80\x02}(" + collide + b"u.")
    laugh = b"".join(b"](h%ch%ce\x940" % (n, n) for n in range(40))
    yield archive(folder / "laugh.pth", b"\x80\x04]\x940" + laugh + b"h\x28.")
    numbers = 3 << 20
    quantized = tensor(
        storage(numbers, kind="QInt8Storage"), 0, (numbers,), (1,), "_rebuild_qtensor",
        more=((Call("torch", "per_tensor_affine"), 1.0, 0),),
    )  # fmt: skip
    yield archive(
        folder / "quantized.pth",
        b"\x80\x02]" + (program(quantized) + b"a") * 200 + b".",
        {"0": bytes(numbers)},
    )
    call = program(tensor(storage(4), 0, (4,), (1,)))
    many = b"\x80\x02]" + call[:-1] + b"q\x010" + b"ctorch._utils\n_rebuild_tensor_v2\nq\x020"
    yield archive(folder / "tensors.pth", many + b"h\x02h\x01Ra" * 200_000 + b".", FOUR)
    one_place(folder / "place.pth", 400, 3)
    yield folder / "place.pth"


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_hostile_files_take_no_more_than_their_size(tmp_path):
    """Of 1 to 3 MB each, read in a child that may have 150 MB more than it starts with."""
    script = """
import resource, sys
from pathlib import Path
from facesync.errors import ModelError
from facesync.faces.torch_files import read_torch_file
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (150 << 20),) * 2)
for name in sys.argv[1:]:
    try:
        read_torch_file(Path(name))
        print("read", name)
    except ModelError as error:
        print(error)
"""
    files = [str(path) for path in hostile_files(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", script, *files], capture_output=True, text=True, cwd=ROOT
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(files), done.stderr
    assert not [line for line in lines if "was not opened" not in line]


def test_a_case_that_crashed_torch(shared):
    path = shared / "cases" / "hostile" / "tuples_300000.pth"
    if not path.exists():
        pytest.skip("without the cases")
    with pytest.raises(ModelError, match="not opened"):
        read_torch_file(path)


def test_state_dicts_that_have_been_unpickled_keep_their_order(tmp_path):
    state = OrderedDict((name, torch.zeros(1)) for name in "zxy")
    torch.save(state, tmp_path / "x.pth")
    assert list(read_torch_file(tmp_path / "x.pth")) == ["z", "x", "y"]
