from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from pathlib import Path

import pytest

from facesync.data.index import Fault, read_index
from facesync.data.pack import Pack, Record, find_pack
from facesync.data.recordio import MAGIC, RecordFile, join_header, write_pack
from facesync.errors import DataError
from tests.data.packs import (
    image,
    images,
    index_of,
    overwrite,
    write_im2rec,
    write_index,
    write_records,
)


@pytest.fixture
def rec(tmp_path) -> Path:
    """3 identities with 4 images each: keys 1 to 12, bookkeeping 13 to 15."""
    return write_pack(tmp_path / "pack", images(3, 4))


def kinds(pack: Pack) -> Counter[str]:
    return Counter("fault" if isinstance(r, Fault) else r.kind for r in pack.records())


def keys(pack: Pack) -> list[int]:
    return sorted(record.key for record in pack.records())


def faults(pack: Pack) -> dict[int | None, str]:
    found = pack.faults + [r for r in pack.records() if isinstance(r, Fault)]
    assert len({fault.key for fault in found}) == len(found)
    return {fault.key: fault.reason for fault in found}


def read_images(pack: Pack) -> dict[int, tuple[str, bytes]]:
    return {
        r.key: (r.identity, r.data)
        for r in pack.records()
        if isinstance(r, Record) and r.kind == "image"
    }


def expected(without: int | None = None) -> dict[int, tuple[str, bytes]]:
    all_of_them = {key: (str(w), data) for key, (w, data) in enumerate(images(3, 4), 1)}
    return {key: value for key, value in all_of_them.items() if key != without}


@pytest.mark.parametrize("index", ["as written", "shuffled", "CRLF and blank lines", "none"])
def test_any_index_gives_the_same(rec, index):
    path = rec.with_suffix(".idx")
    lines = path.read_text().splitlines()
    if index == "shuffled":
        random.Random(1).shuffle(lines)
        path.write_text("\n".join(lines))
    elif index == "CRLF and blank lines":
        path.write_bytes("\r\n\r\n".join(lines).encode())
    elif index == "none":
        path.unlink()
    pack = Pack(rec)
    assert keys(pack) == list(range(16)) and len(pack) == 16
    assert pack.key_range == (13, 16)
    assert faults(pack) == {}
    assert kinds(pack) == {"image": 12, "bookkeeping": 3, "header": 1}
    assert read_images(pack) == expected()
    assert [pack.read(key).data for key in range(1, 13)] == [d for _, d in expected().values()]


def test_images_with_two_labels_are_images(tmp_path):
    samples = [((who, 0.5), data) for who, data in images(2, 3)]
    write_im2rec(tmp_path / "a.rec", samples)
    pack = Pack(tmp_path / "a.rec")
    assert kinds(pack) == {"image": 6}
    assert pack.read(5).identity == "1" and pack.read(5).labels == (1.0, 0.5)


@pytest.mark.parametrize("index", [True, False], ids=["index", "no index"])
def test_im2rec_has_no_header_and_key_0_is_an_image(tmp_path, index):
    samples = [((float(who),), data) for who, data in images(2, 3)]
    write_im2rec(tmp_path / "a.rec", samples)
    if not index:
        (tmp_path / "a.idx").unlink()
    pack = Pack(tmp_path / "a.rec")
    assert pack.key_range is None
    assert kinds(pack) == {"image": 6}
    assert pack.read(0).data == image(0)


@pytest.mark.parametrize("own_ids", ["all the same", "too large", "none"])
def test_without_usable_ids_the_position_is_the_key(tmp_path, own_ids):
    if own_ids == "none":
        records = [b"raw", b"", b"payload"]
    else:
        own_id = 0 if own_ids == "all the same" else (1 << 64) - 1
        records = [join_header((1.0,), own_id, image(i)) for i in range(3)]
    write_records(tmp_path / "a.rec", records)
    pack = Pack(tmp_path / "a.rec")
    assert keys(pack) == [0, 1, 2]
    assert kinds(pack) == {"fault" if own_ids == "none" else "image": 3}


def test_an_empty_record_among_the_images_is_an_image_without_content(tmp_path):
    rec = write_pack(tmp_path, [(0, image(0)), (0, b""), (1, image(1))])
    assert kinds(Pack(rec)) == {"image": 3, "bookkeeping": 2, "header": 1}


def test_a_wrong_header_loses_no_image(rec):
    content = join_header((3.0, 16.0), 0, b"")
    overwrite(rec, index_of(rec)[0] + 8, content)
    assert read_images(Pack(rec)) == expected()


@pytest.mark.parametrize("labels", [(1.0, math.inf), (math.nan, 5.0), (0.0, 5.0), (9.0, 5.0)])
def test_a_meaningless_header_is_ignored(rec, labels):
    overwrite(rec, index_of(rec)[0] + 8, join_header(labels, 0, b""))
    pack = Pack(rec)
    assert pack.key_range is None
    assert read_images(pack) == expected()
    assert kinds(pack)["bookkeeping"] == 4


@pytest.mark.parametrize("label", [0.5, math.nan, -math.inf])
def test_a_label_that_is_not_an_identity(tmp_path, label):
    write_im2rec(tmp_path / "a.rec", [((1.0,), image(0)), ((label,), image(1))])
    assert faults(Pack(tmp_path / "a.rec")) == {1: f"label {label} is not a whole number"}


def shifted(rows: dict[int, int], by: int) -> list[tuple[int, int]]:
    return [(key, offset + by) for key, offset in rows.items()]


WRONG_INDEXES = {
    "one row beyond the end": lambda rows: (rows | {5: 10**9}).items(),
    "one row beyond 64 bits": lambda rows: (rows | {0: 10**30}).items(),
    "one negative row": lambda rows: (rows | {15: -8}).items(),
    "one row inside a record": lambda rows: (rows | {5: 12}).items(),
    "one row that is odd": lambda rows: (rows | {5: 13}).items(),
    "all shifted": lambda rows: shifted(rows, 8),
    "of another pack": lambda rows: [(key, 500 * key) for key in range(40)],
    "shifted by a row": lambda rows: zip(list(rows)[1:], rows.values(), strict=False),
    "one key for all": lambda rows: [(1, offset) for offset in rows.values()],
    "one key twice": lambda rows: [*rows.items(), (3, rows[4])],
    "one record twice": lambda rows: [*rows.items(), (99, rows[4])],
    "cut short": lambda rows: list(rows.items())[:6],
    "empty": lambda rows: [],
}


@pytest.mark.parametrize("rows", WRONG_INDEXES.values(), ids=WRONG_INDEXES.keys())
def test_an_index_that_does_not_fit_loses_nothing_and_is_named(rec, caplog, rows):
    write_index(rec, rows(index_of(rec)))
    pack = Pack(rec)
    assert read_images(pack) == expected() and len(pack) == 16
    assert faults(pack) == {}
    assert [pack.read(key).data for key in range(1, 13)] == [d for _, d in expected().values()]
    assert "train.idx does not fit train.rec" in caplog.text and "16 records" in caplog.text


def test_repeated_keys_in_the_index_and_in_the_records(shared):
    pack = Pack(shared / "cases" / "packs" / "idx_one_key")
    assert kinds(pack) == {"image": 18} and keys(pack) == list(range(18))


@pytest.mark.parametrize(
    "content", [b"\0" * 10_000, b"a\n" * 10_000, b"1\t0\n" * 10_000], ids=["hole", "text", "rows"]
)
def test_a_large_file_that_is_no_index_is_not_read_to_its_end(rec, content):
    """A sparse file of 3 GB takes no memory on disk, but would in here."""
    path = rec.with_suffix(".idx")
    path.write_bytes(content)
    keys, _, faults = read_index(path, 800)
    assert len(keys) <= 101 and len(faults) <= 100
    assert faults[-1].reason.startswith(("line 1 of", "line 100 of", "train.idx has more rows"))
    assert read_images(Pack(rec)) == expected()


def test_a_row_beyond_a_cut_file_is_a_fault_even_if_the_rest_fits(rec):
    write_index(rec, [*index_of(rec).items(), (70, 10**9)])
    assert faults(Pack(rec)) == {70: "outside the file"}


def test_index_lines_that_are_not_rows(rec, caplog):
    path = rec.with_suffix(".idx")
    path.write_bytes(
        b"key\toffset\n7\n" + path.read_bytes() + b"\xff\xfe\n9" + b"9" * 30 + b"\t0\n"
    )
    found = read_index(path, rec.stat().st_size)[2]
    assert [fault.reason for fault in found] == [
        f"line {number} of train.idx is not a key and an offset" for number in (1, 2, 19, 20)
    ]
    assert read_images(Pack(rec)) == expected()
    assert caplog.text == ""


def test_an_index_that_was_cut_short_where_records_have_no_ids(tmp_path):
    rec = tmp_path / "a.rec"
    offsets = write_records(rec, [join_header((1.0,), 0, image(i)) for i in range(4)])
    write_index(rec, enumerate(offsets[:2]))
    assert {key: data for key, (_, data) in read_images(Pack(rec)).items()} == {
        i: image(i) for i in range(4)
    }


@pytest.mark.parametrize("index", [True, False], ids=["index", "no index"])
def test_a_truncated_tail(rec, index):
    start = index_of(rec)[12]
    rec.write_bytes(rec.read_bytes()[: start + 100])
    if not index:
        rec.with_suffix(".idx").unlink()
    pack = Pack(rec)
    # The header and the bookkeeping stand behind the images here, and are gone too.
    assert pack.key_range is None
    assert read_images(pack) == expected(without=12)
    found = faults(pack)
    assert "truncated" in found.pop(12)
    assert found == ({key: "outside the file" for key in (0, 13, 14, 15)} if index else {})


@pytest.mark.parametrize("index", [True, False], ids=["index", "no index"])
def test_a_broken_magic(rec, index):
    offset = index_of(rec)[6]
    overwrite(rec, offset, b"\0\0\0\0")
    if not index:
        rec.with_suffix(".idx").unlink()
    pack = Pack(rec)
    assert read_images(pack) == expected(without=6)
    assert faults(pack) == (
        {6: "no record starts here"}
        if index
        else {None: f"at byte {offset}: no record starts here"}
    )


def test_garbage_after_the_last_record(rec):
    size = rec.stat().st_size
    with open(rec, "ab") as file:
        file.write(b"garbage at the end")
    pack = Pack(rec)
    assert faults(pack) == {None: f"at byte {size}: no record starts here"}
    assert read_images(pack) == expected()


def test_a_file_of_nothing_but_damage_is_refused(tmp_path, monkeypatch):
    """Each broken record of 8 bytes takes many times as much memory."""
    monkeypatch.setattr("facesync.data.pack._MOST_BROKEN", 20)
    (tmp_path / "a.rec").write_bytes((MAGIC + b"\xff\xff\xff\x1f") * 21)
    with pytest.raises(DataError, match="too damaged, 21 records"):
        Pack(tmp_path / "a.rec")


def test_a_pack_is_found_up_to_two_levels_down(tmp_path):
    rec = write_pack(tmp_path / "a" / "b" / "c", images(1, 1))
    assert find_pack(rec) == rec
    assert [find_pack(rec.parents[up]) for up in range(3)] == [rec, rec, rec]
    with pytest.raises(DataError, match="no RecordIO pack"):
        find_pack(tmp_path)


def test_the_nearest_train_rec_is_taken(tmp_path):
    write_pack(tmp_path / "down", images(1, 1))
    for name in ("train.rec", "val.rec"):
        write_records(tmp_path / name, [b"x"])
    assert find_pack(tmp_path) == tmp_path / "train.rec"
    (tmp_path / "train.rec").unlink()
    assert find_pack(tmp_path) == tmp_path / "val.rec"
    write_records(tmp_path / "test.rec", [b"x"])
    with pytest.raises(DataError, match=r"several packs in it \(test\.rec, val\.rec\)"):
        find_pack(tmp_path)


def test_nothing_to_find(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        find_pack(tmp_path / "missing")
    with pytest.raises(DataError, match="no RecordIO pack"):
        find_pack(tmp_path)
    with pytest.raises(DataError, match="no record with key 7"):
        Pack(write_pack(tmp_path, images(1, 1))).read(7)


PACKS = ("train", "listlabel", "multipart", "unaligned", "corrupt", "png")


@pytest.mark.parametrize("index", [True, False], ids=["index", "no index"])
@pytest.mark.parametrize("name", PACKS)
def test_agrees_with_mxnets_packs(shared, tmp_path, name, index):
    """Every record's bytes have the SHA-256 that MXNet's own writer noted down."""
    folder = shared / "data" / "recordio"
    known = json.loads((folder / "manifest.json").read_text())[name]
    path = folder / f"{name}.rec"
    if not index:
        (tmp_path / path.name).symlink_to(path.resolve())
        path = tmp_path / path.name
    pack, file = Pack(path), RecordFile(path)
    assert pack.faults == []
    assert len(pack) == known["records"]
    for entry in known["entries"]:
        record = pack.read(entry["key"])
        data = file.read(record.offset)
        assert record.kind == "image"
        assert record.identity == str(entry["label"])
        assert len(data) == entry["record_len"]
        assert hashlib.sha256(data).hexdigest() == entry["record_sha256"]
    assert kinds(pack) == {
        "image": len(known["entries"]),
        "bookkeeping": known["identities"],
        "header": 1,
    }


def test_agrees_with_mxnets_raw_records(shared):
    folder = shared / "data" / "recordio"
    known = json.loads((folder / "manifest.json").read_text())["raw"]
    file = RecordFile(folder / "raw.rec")
    found = list(file.scan())
    assert all(reason is None for _, reason in found)
    assert [file.read(offset).hex() for offset, _ in found] == known


def test_a_real_pack_in_casias_layout(shared):
    pack = Pack(shared / "data" / "celeba_pack")
    assert kinds(pack) == {"image": 4936, "bookkeeping": 240, "header": 1}
    assert len({identity for identity, _ in read_images(pack).values()}) == 240
