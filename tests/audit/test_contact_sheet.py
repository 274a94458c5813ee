from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facesync.audit import contact_sheet
from facesync.audit.contact_sheet import Entry, write_sheets
from facesync.errors import FileError

RED = (208, 52, 44)


def image(index: int) -> np.ndarray | None:
    return None if index == 99 else np.full((40, 60, 3), (index, 200, 250), np.uint8)


def entries(count: int) -> list[Entry]:
    return [Entry((n,), ((100, 101),), f"a/{n}", "similarity 0.5") for n in range(count)]


def colours(page: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in page.getcolors(1 << 24)}


def test_pages_show_all_images_and_frame_the_flagged_ones(tmp_path):
    paths = write_sheets(tmp_path, "wrong identity", entries(20), image)
    assert [path.name for path in paths] == ["wrong_identity_01.png", "wrong_identity_02.png"]
    first, second = (Image.open(path) for path in paths)
    assert {(n, 200, 250) for n in range(16)} | {(100, 200, 250), RED} <= colours(first)
    assert {(n, 200, 250) for n in range(16, 20)} <= colours(second)
    assert (0, 200, 250) not in colours(second)
    assert first.width == second.width and first.height > second.height


def test_of_many_some_are_shown_from_first_to_last(tmp_path, monkeypatch):
    monkeypatch.setattr(contact_sheet, "SHOWN_OF_A_KIND", 5)
    (path,) = write_sheets(tmp_path, "near copy", entries(41), image)
    shown = {n for n in range(41) if (n, 200, 250) in colours(Image.open(path))}
    assert shown == {0, 10, 20, 30, 40}


def test_the_widest_entry_stays_in_its_column(tmp_path):
    wide = [Entry((n,), ((1, 2, 3), (4, 5, 6)), "a/1", "") for n in (10, 20)]
    (path,) = write_sheets(tmp_path, "wide", wide, image)
    page = np.asarray(Image.open(path))
    last = np.flatnonzero((page == (6, 200, 250)).all(axis=2).any(axis=0))
    right = np.flatnonzero((page == (20, 200, 250)).all(axis=2).any(axis=0))
    gaps = np.flatnonzero(np.diff(last) > 1)
    assert len(gaps) == 1 and last[gaps[0]] < right[0] - contact_sheet._GAP
    assert last[-1] < page.shape[1] - contact_sheet._GAP


@pytest.mark.parametrize("title", ["x" * 500, "caf\udce9/1", "José/张伟"])
def test_any_name_and_an_image_that_cannot_be_shown(tmp_path, title):
    (path,) = write_sheets(tmp_path, "odd", [Entry((99,), (), title, title)], image)
    assert RED in colours(Image.open(path))


def test_pages_of_an_earlier_run_are_deleted(tmp_path):
    write_sheets(tmp_path, "near copy", entries(20), image)
    write_sheets(tmp_path, "no face", entries(1), image)
    assert write_sheets(tmp_path, "near copy", [], image) == []
    assert [path.name for path in tmp_path.iterdir()] == ["no_face_01.png"]


def test_a_page_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match="cannot write"):
        write_sheets(tmp_path / "file", "odd", entries(1), image)
