"""The restricted reader reads plain data and runs no code."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from facesync.errors import FileError
from facesync.pickles import load_plain, save_plain


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
