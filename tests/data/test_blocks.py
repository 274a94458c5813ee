"""What an interrupted or foreign cache file leads to: one line that says what to do."""

from __future__ import annotations

import io

import numpy as np
import pytest

from facesync.data.blocks import read_block
from facesync.errors import FileError


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ROWS = np.eye(3, 4, dtype=np.float16)
ARCHIVE = io.BytesIO()
np.savez(ARCHIVE, ROWS)


def test_a_block_is_read_as_it_was_written(tmp_path):
    (tmp_path / "x.npy").write_bytes(saved(ROWS))
    for rows, width in ((3, 4), (None, 4), (3, None)):
        found = read_block(tmp_path / "x.npy", rows, width)
        np.testing.assert_array_equal(found, ROWS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        saved(ROWS)[:-1],
        saved(ROWS[:2]),
        saved(ROWS[:, :3]),
        saved(ROWS[0]),
        saved(np.float16(1)),
        saved(np.array([{}] * 3, dtype=object)),
        saved(ROWS).replace(b"(3, 4)", b"(9**99, 4)"),
        ARCHIVE.getvalue(),
        b"PK\3\4",
    ],
)  # fmt: skip
def test_something_else_is_one_line(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(FileError, match=r"x\.npy is damaged; delete it, and it is made again$"):
        read_block(tmp_path / "x.npy", 3, 4)


def test_rows_that_are_not_finite_are_damage(tmp_path):
    (tmp_path / "x.npy").write_bytes(saved(ROWS * np.nan))
    with pytest.raises(FileError):
        read_block(tmp_path / "x.npy", 3, 4)
