from __future__ import annotations

import logging

import pytest

from facesync.data.conversion import convert_pack
from facesync.data.datasets import FaceDataset, split_fingerprint
from facesync.data.left_out import list_path, read_list, write_list
from facesync.data.recordio import write_pack
from facesync.errors import DataError, FileError
from tests.data.packs import image, images

REASONS = {"0/2": "no face", "1/7": 'copy of "1/6", recompressed', "caf\udce9/é": "a\nb"}


def test_a_list_is_read_as_it_was_written(tmp_path):
    write_list(tmp_path / "left_out.csv", REASONS)
    assert read_list(tmp_path / "left_out.csv") == REASONS
    assert read_list(tmp_path / "none.csv") == {}


def test_a_list_that_a_spreadsheet_saved(tmp_path):
    path = tmp_path / "left_out.csv"
    path.write_bytes(b"\xef\xbb\xbfpicture,reason\n0/1,blurred\n\n0/2,\n")
    assert read_list(path) == {"0/1": "blurred", "0/2": ""}


@pytest.mark.parametrize(
    "text",
    ["", "0/1,blurred\n", "picture,reason\n0/1\n", "picture,reason\nname,x\n",
     'picture,reason\n0/1,"open\n', "picture,reason\n0/1,a,b\n"],
    ids=["empty", "no first line", "no reason", "no identity", "open quote", "three columns"],
)  # fmt: skip
def test_an_invalid_list_is_refused_in_one_line(tmp_path, text):
    for number in range(5):
        (tmp_path / "0").mkdir(exist_ok=True)
        (tmp_path / "0" / f"{number}.jpg").write_bytes(image(number))
    (tmp_path / "left_out.csv").write_text(text)
    with pytest.raises(DataError, match=r"left_out.csv.*fix or remove it$"):
        FaceDataset(tmp_path)


def test_a_list_that_cannot_be_read_or_written(tmp_path):
    (tmp_path / "left_out.csv").mkdir()
    with pytest.raises(DataError, match="cannot read"):
        read_list(tmp_path / "left_out.csv")
    with pytest.raises(FileError, match="cannot write"):
        write_list(tmp_path / "left_out.csv", REASONS)


def test_folder_and_pack_leave_out_the_same_images(tmp_path, caplog):
    pack = write_pack(tmp_path / "pack", images(3, 6))
    convert_pack(pack, tmp_path / "folder", workers=1)
    whole = FaceDataset(pack)
    reasons = {"0/2": "no face", "1/8": "a copy", "1/9": "a copy"}
    sets = []
    for source in (pack, tmp_path / "folder"):
        write_list(list_path(source), reasons)
        with caplog.at_level(logging.INFO, logger="facesync"):
            dataset = FaceDataset(source)
        assert dataset.list_path == list_path(source) and dataset.list_path.is_file()
        assert dataset.left_out == list(reasons.items())
        assert caplog.messages == [
            f"{dataset.list_path}: 0 unreadable, 3 left out by the list",
            f"{source}: 1 identity left out for having fewer than 5 images (the first: 1)",
        ]
        caplog.clear()
        sets.append(dataset)
    assert sets[0].names == sets[1].names and sets[0].label_map == sets[1].label_map
    # Identity 1 has four images left, fewer than a dataset takes.
    assert sets[0].names == [n for n in whole.names if n[0] != "1" and n != "0/2"]
    assert split_fingerprint(sets[0].names) != split_fingerprint(whole.names)
    list_path(pack).unlink()
    assert FaceDataset(pack).names == whole.names


def test_listed_images_do_not_count_before_the_cut(tmp_path):
    pack = write_pack(tmp_path, images(2, 6))
    write_list(list_path(pack), {"0/1": "blurred"})
    assert FaceDataset(pack, max_images=2, min_images=1).names == ["0/2", "0/3", "1/7", "1/8"]


def test_a_list_of_another_dataset_is_noticed(tmp_path, caplog):
    pack = write_pack(tmp_path, images(2, 6))
    write_list(list_path(pack), {"0/1": "blurred", "9/1": "a copy"})
    FaceDataset(pack)
    assert "1 image on this list not found in" in caplog.text and "9/1" in caplog.text


def test_a_list_that_leaves_nothing(tmp_path):
    pack = write_pack(tmp_path, images(1, 6))
    write_list(list_path(pack), {f"0/{key}": "no face" for key in range(1, 4)})
    with pytest.raises(DataError, match="0 unreadable, 3 left out by the list"):
        FaceDataset(pack)
