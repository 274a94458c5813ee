"""The restricted reader reads plain data and runs no code."""

import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest

from facesync.errors import FileError
from facesync.pickles import is_same, load_plain, loads_plain, save_plain
from tests.conftest import ROOT


class _Runs:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def _ways_in(target):
    yield _Runs(os.system, f"touch {target}")
    yield _Runs(eval, f"__import__('os').mkdir({str(target)!r})")
    yield _Runs(exec, f"import os; os.mkdir({str(target)!r})")
    yield _Runs(np.save, str(target), np.zeros(1))
    yield {"deep": [1, (2, _Runs(os.mkdir, str(target)))]}
    yield np.array([_Runs(os.mkdir, str(target))], dtype=object)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("way", range(6))
def test_code_is_refused_and_not_run(tmp_path, protocol, way):
    target = tmp_path / "ran"
    file = tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps(list(_ways_in(target))[way], protocol=protocol))
    with pytest.raises(FileError, match="not opened"):
        load_plain(file)
    assert not target.exists()
    pickle.loads(file.read_bytes())  # the stock reader would have run it
    assert target.exists() or target.with_suffix(".npy").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol_is_read(tmp_path, protocol):
    data = {
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.float64(0.5),
        "more": OrderedDict(a=[1, 2.5, None, True], b=(b"\xff\x00", "é", {3}, frozenset({4}))),
    }
    file = tmp_path / "plain.pkl"
    file.write_bytes(pickle.dumps(data, protocol=protocol))
    back = load_plain(file)
    np.testing.assert_array_equal(back["array"], data["array"])
    assert back["array"].dtype == np.float32
    assert back["scalar"] == 0.5
    assert back["more"] == data["more"]


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"\x80", b"\x80\x04\x95", b"\xff" * 99, b"(dp0\n", b"cos\\O\nx\n."]
)
def test_a_damaged_file_is_one_line(tmp_path, content):
    file = tmp_path / "x.pkl"
    file.write_bytes(content)
    with pytest.raises(FileError, match=r"x\.pkl"):
        load_plain(file)


def test_every_cut_of_a_pickle_is_refused(tmp_path):
    whole = pickle.dumps({"a": np.arange(9.0), "b": ["x"] * 9}, protocol=4)
    file = tmp_path / "x.pkl"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(FileError):
            load_plain(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"there is no file .*nothing\.pkl"):
        load_plain(tmp_path / "nothing.pkl")


def test_what_is_saved_is_read(tmp_path):
    save_plain({"a": np.ones(3)}, tmp_path / "x.pkl")
    np.testing.assert_array_equal(load_plain(tmp_path / "x.pkl")["a"], np.ones(3))


def test_what_a_file_has_once_is_in_memory_once():
    image, both = np.ones(1000, np.uint8), (0.9, 0.999)
    images, *groups = loads_plain(pickle.dumps([[image] * 500, {"b": both}, {"b": both}]), "x")
    assert all(each is images[0] for each in images) and groups[0]["b"] is groups[1]["b"]


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def doubled(times: int) -> bytes:
    """Lists, each of which holds the one before it twice."""
    return b"]\x940" + b"".join(b"](h%ch%ce\x940" % (n, n) for n in range(times)) + b"h%c" % times


MODULUS = 2**61 - 1  # by which Python hashes whole numbers
COLLIDING = b"}(" + b"".join(number(n * MODULUS) + b"N" for n in range(1, 50_000)) + b"u"
SPARSE = b"}(" + b"".join(number(n << 20) + b"N" for n in range(50_000)) + b"u"
MANY_TIMES = 100_000
HOSTILE = {
    "deep list": b"]" * MANY_TIMES + b"a" * (MANY_TIMES - 1),
    "deep tuple": b")" + b"\x85" * MANY_TIMES,
    "deep as a name": b"]" * MANY_TIMES + b"a" * (MANY_TIMES - 1) + b"\x8c\x01x\x93",
    "a list in itself": b"]\x94h\x00a",
    "doubled": doubled(40),
    "doubled, as a name": doubled(40) + b"\x8c\x01x\x93",
    "doubled, as a type": b"cnumpy\ndtype\n" + doubled(40) + b"\x85R",
    "doubled, as an encoding": b"c_codecs\nencode\n\x8c\x01x" + doubled(40) + b"\x86R",
    "empty sets": b"(" + b"\x8f" * MANY_TIMES + b"l",
    "empty ordered dicts": b"ccollections\nOrderedDict\n\x940](" + b"h\x00)R" * MANY_TIMES + b"e",
    "colliding keys": COLLIDING,
    "colliding members": COLLIDING.replace(b"}(", b"\x8f(", 1).replace(b"Nu", b"N\x90"),
    "many numbers as keys": SPARSE,
    "a fraction as a key": b"}G" + bytes(8) + b"Ns",
    "a long number": number(10**400),
    "notes": b"N" + b"\x94" * MANY_TIMES,
    "a type": b"cnumpy\ndtype\n",
    "an array that was not made": b"cnumpy.core.multiarray\n_reconstruct\n)R",
    "an array copied": b"c__builtin__\nbytearray\n\x940B" + MANY_TIMES.to_bytes(4, "little")
    + bytes(MANY_TIMES) + b"\x940](" + b"h\x00h\x01\x85R" * 3000 + b"e",
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_hostile_pickles_are_refused_at_once_and_take_no_memory(tmp_path):
    """In a child that may have 100 MB more than it starts with."""
    for name, body in HOSTILE.items():
        (tmp_path / f"{name}.pkl").write_bytes(b"\x80\x04" + body + b".")
    script = """
import resource, sys
from pathlib import Path
from facesync.errors import FileError
from facesync.pickles import load_plain
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (100 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load_plain(path)
        print("read", path)
    except FileError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, cwd=ROOT
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(HOSTILE), done.stderr[-2000:]
    assert not [line for line in lines if "was not opened" not in line or len(line) > 400]


def test_files_that_are_too_large_or_no_files_are_one_line(tmp_path):
    with open(tmp_path / "large.pkl", "wb") as file:
        file.truncate(3 << 30)  # of which the disk holds nothing
    with pytest.raises(FileError, match="larger than 2048 MB"):
        load_plain(tmp_path / "large.pkl")
    with pytest.raises(FileError, match="directory"):
        load_plain(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pkl")
        with pytest.raises(FileError, match="not a file"):
            load_plain(tmp_path / "pipe.pkl")


def test_an_array_is_no_answer_to_a_comparison():
    assert is_same(2, 2) and is_same("a", "a")
    assert not any(is_same(value, 2) for value in (3, 2.0, True, None, np.array([2, 2])))
