"""The list of images that are left out of a set, though they can be read.

`preprocessing_dataset.py --audit --apply` writes it, a person may edit it: a CSV (UTF-8) with the
columns `image` (`identity/key`, without suffix) and `reason`. It lies in a folder of images as
`left_out.csv`, beside a pack `train.rec` as `train.left_out.csv`. Nothing is deleted: without a
line its image is back, without the file all are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from facesync.errors import DataError
from facesync.files import replacing

_COLUMNS = ["picture", "reason"]
_ENCODING = ("utf-8", "surrogateescape")  # file names on Linux need not be text


def list_path(source: Path) -> Path:
    """Return where the list of a folder of images, or of a `.rec` file, lies."""
    return source / "left_out.csv" if source.is_dir() else source.with_suffix(".left_out.csv")


def read_list(path: Path) -> dict[str, str]:
    """Return the reason of each image on a list; empty where there is no list.

    Raises:
        DataError: it cannot be read, or is something else. To go on without it would be to train
            on what somebody wanted left out.
    """
    try:
        text = path.read_bytes().decode(*_ENCODING).removeprefix("\ufeff")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); mend or remove it") from error
    if not rows or rows[0] != _COLUMNS:
        raise DataError(
            f"{path} does not begin with the line `{','.join(_COLUMNS)}`; mend or remove it"
        )
    for row in rows[1:]:
        if len(row) != len(_COLUMNS) or "/" not in row[0]:
            raise DataError(
                f"{path}: `{','.join(row)[:60]}` is no `identity/key,reason`; mend or remove it"
            )
    return {name: reason for name, reason in rows[1:]}


def write_list(path: Path, reasons: Mapping[str, str]) -> None:
    """Write a list that `read_list` reads.

    Raises:
        FileError: it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows(reasons.items())
    with replacing(path) as file:
        file.write(text.getvalue().encode(*_ENCODING))
