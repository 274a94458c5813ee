"""Read pickles that may come from a stranger: plain data only, nothing is run.

A pickle can name any function and call it. This reader admits containers, numbers, strings and
NumPy arrays and refuses every other name, following "Restricting Globals" in Python's own
documentation of the pickle module.
"""

from __future__ import annotations

import pickle
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from facesync.errors import FileError
from facesync.files import replacing


def _latin1(text: str, encoding: str) -> bytes:
    """Stand-in for `_codecs.encode`, by which pickle protocols 0 to 2 carry bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if module in ("builtins", "__builtin__") and name in ("set", "frozenset", "bytearray"):
            return super().find_class(module, name)
        if (module, name) == ("collections", "OrderedDict"):
            return super().find_class(module, name)
        # NumPy 2 moved numpy.core to numpy._core; files written by either are read by both.
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            if name in ("_reconstruct", "scalar"):
                return getattr(_numpy_core("multiarray"), name)
        if (module, name) in (
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
        ):
            return _numpy_core("numeric")._frombuffer
        if module == "numpy" and name in ("ndarray", "dtype"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def _numpy_core(module: str) -> Any:
    """Import `numpy._core.<module>`, or `numpy.core.<module>` where NumPy is older than 2."""
    home = "numpy._core" if find_spec("numpy._core") else "numpy.core"
    return import_module(f"{home}.{module}")


def load_plain(path: Path, *, encoding: str = "ASCII") -> Any:
    """Read a pickle of plain containers, numbers, strings and NumPy arrays.

    Args:
        path: the file.
        encoding: what the strings of Python 2 are read as; `bytes` leaves them bytes.

    Raises:
        FileError: the file is missing, damaged, or asks for anything else to be created.
    """
    try:
        with open(path, "rb") as file:
            return _PlainUnpickler(file, encoding=encoding).load()
    except FileNotFoundError as error:
        raise FileError(f"there is no file {path}") from error
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise FileError(
            f"{path} was not opened: it is damaged or asks to run code ({error})"
        ) from error
    except (
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        ImportError,
        MemoryError,
        OverflowError,
        RecursionError,
        SystemError,
    ) as error:  # what the pickle module may raise
        raise FileError(f"{path} is damaged: it is not a whole pickle file") from error


def dump_plain(data: Any, file: BinaryIO) -> None:
    """Write plain data as a pickle (protocol 4)."""
    pickle.dump(data, file, protocol=4)


def save_plain(data: Any, path: Path, *, private: bool = False) -> None:
    """Write plain data as a pickle file that appears whole or not at all."""
    with replacing(path, private=private) as file:
        dump_plain(data, file)
