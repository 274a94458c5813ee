"""The list of images that are left out of a dataset although they can be read.

`preprocessing_dataset.py --audit --apply` writes it, and a person may edit it: a CSV file (UTF-8)
with the columns `picture` (`identity/key`, without suffix) and `reason`. In a folder of images it
is `left_out.csv`, beside a pack `train.rec` it is `train.left_out.csv`. Nothing is deleted: remove
a line and its image is back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from facesync.errors import DataError
from facesync.files import NAME_ENCODING, write_csv

_COLUMNS = ["picture", "reason"]


def list_path(source: Path) -> Path:
    """Return the path of the list for a folder of images or a `.rec` file."""
    return source / "left_out.csv" if source.is_dir() else source.with_suffix(".left_out.csv")


def read_list(path: Path) -> dict[str, str]:
    """Return the reason for each image on a list; empty if there is no list.

    Raises:
        DataError: it cannot be read, or is not such a list. Ignoring it would mean training on
            what somebody wanted left out.
    """
    try:
        text = path.read_bytes().decode(*NAME_ENCODING).removeprefix("\ufeff")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); fix or remove it") from error
    if not rows or rows[0] != _COLUMNS:
        raise DataError(
            f"{path} does not begin with the line `{','.join(_COLUMNS)}`; fix or remove it"
        )
    for row in rows[1:]:
        if len(row) != len(_COLUMNS) or "/" not in row[0]:
            raise DataError(
                f"{path}: `{','.join(row)[:60]}` is not `identity/key,reason`; fix or remove it"
            )
    return {name: reason for name, reason in rows[1:]}


def write_list(path: Path, reasons: Mapping[str, str]) -> None:
    """Write a list for `read_list`.

    Raises:
        FileError: it cannot be written.
    """
    write_csv(path, _COLUMNS, reasons.items())
