from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from facesync.data.pack import Pack
from facesync.data.recordio import (
    MAGIC,
    BrokenRecord,
    RecordFile,
    join_header,
    split_header,
    write_pack,
)
from facesync.errors import DataError
from tests.conftest import ROOT
from tests.data.packs import image, images, index_of, overwrite, write_records

PAYLOADS = {
    "nothing": b"",
    "one byte": b"x",
    "a multiple of four": b"abcd",
    "the magic alone": MAGIC,
    "the magic at the start": MAGIC + b"x",
    "the magic at the end": b"abcd" + MAGIC,
    "the magic between": b"abcd" + MAGIC + b"efgh",
    "three magics in a row": MAGIC * 3,
    "a magic that is not at a multiple of four": b"abc" + MAGIC + b"de",
    "one of each": b"abc" + MAGIC + b"d" + MAGIC + b"ef",
    "overlapping magics": MAGIC[:2] + MAGIC + MAGIC[2:] + MAGIC,
}


def reasons(file: RecordFile) -> list[str | None]:
    return [reason for _, reason in file.scan()]


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_what_is_written_is_read(tmp_path, payload):
    offsets = write_records(tmp_path / "a.rec", [payload, b"next"])
    file = RecordFile(tmp_path / "a.rec")
    assert [file.read(offset) for offset in offsets] == [payload, b"next"]
    assert list(file.scan()) == [(offset, None) for offset in offsets]


def test_parts_are_written_as_mxnet_does(tmp_path):
    write_records(tmp_path / "a.rec", [b"abcd" + MAGIC + b"ef" + MAGIC, MAGIC])
    # The second magic is at 10, no multiple of four, so it stays where it is.
    part = b"abcd", b"ef" + MAGIC, b"", b""
    expected = b"".join(
        MAGIC + struct.pack("<I", flag << 29 | len(data)) + data + bytes(-len(data) % 4)
        for flag, data in zip((1, 3, 1, 3), part, strict=True)
    )
    assert (tmp_path / "a.rec").read_bytes() == expected


def test_released_memory_can_be_read_again(tmp_path):
    offsets = write_records(tmp_path / "a.rec", [bytes([i]) * 5000 for i in range(20)])
    file = RecordFile(tmp_path / "a.rec")
    first = [file.read(offset) for offset in offsets]
    assert file.release(offsets[3], file.size, every=1) == file.size
    assert [file.read(offset) for offset in offsets] == first
    assert file.release(0, 10, every=11) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"", "empty"), (b"no records in this text, none", "not a RecordIO")],
    ids=["missing", "empty", "text"],
)
def test_a_file_without_records_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "a.rec").write_bytes(content)
    with pytest.raises(DataError, match=said):
        RecordFile(tmp_path / "a.rec")


@pytest.mark.parametrize("broken", [0, 1])
def test_a_broken_magic_costs_one_record(tmp_path, broken):
    offsets = write_records(tmp_path / "a.rec", [b"one", b"two" * 9, b"three"])
    overwrite(tmp_path / "a.rec", offsets[broken], b"\0")
    file = RecordFile(tmp_path / "a.rec")
    assert reasons(file) == ["no record starts here" if i == broken else None for i in range(3)]
    with pytest.raises(BrokenRecord, match=rf"a\.rec: byte {offsets[broken]}: no record"):
        file.read(offsets[broken])


def test_a_tail_cut_in_the_padding_or_after_the_magic(tmp_path):
    write_records(tmp_path / "a.rec", [b"first", b"seco"])
    whole = (tmp_path / "a.rec").read_bytes()
    (tmp_path / "a.rec").write_bytes(whole[:16] + MAGIC)
    assert reasons(RecordFile(tmp_path / "a.rec")) == [None, "outside the file"]
    (tmp_path / "a.rec").write_bytes(whole[:13])
    assert RecordFile(tmp_path / "a.rec").read(0) == b"first"
    assert reasons(RecordFile(tmp_path / "a.rec")) == [None]


@pytest.mark.parametrize("length", [40, 5000], ids=["into the next record", "beyond the file"])
def test_a_length_that_is_too_large_costs_one_record(tmp_path, length):
    offsets = write_records(tmp_path / "a.rec", [b"one", b"two", b"t" * 64, b"four"])
    overwrite(tmp_path / "a.rec", offsets[1] + 4, struct.pack("<I", length))
    file = RecordFile(tmp_path / "a.rec")
    assert [offset for offset, reason in file.scan() if reason is None] == [
        offset for offset in offsets if offset != offsets[1]
    ]
    assert sum(reason is not None for reason in reasons(file)) == 1


@pytest.mark.parametrize(
    ("place", "flag", "said"),
    [
        (1, 0, "its last part is missing"),
        (2, 3, None),
        (0, 0, None),
        (1, 5, "one of its parts is broken"),
    ],
    ids=["a whole one among the parts", "an early last part", "no first part", "an unknown part"],
)
def test_parts_out_of_order(tmp_path, place, flag, said):
    path = tmp_path / "a.rec"
    parted = b"aaaa" + MAGIC + b"bbbb" + MAGIC + b"cccc" + MAGIC + b"dddd"
    offsets = write_records(path, [b"before", parted, b"behind"])
    overwrite(path, offsets[1] + place * 12 + 4, struct.pack("<I", flag << 29 | 4))
    file = RecordFile(path)
    assert file.read(offsets[0]) == b"before"
    assert file.read(offsets[2]) == b"behind"
    found = dict(file.scan())
    assert found[0] is None and found[offsets[2]] is None
    assert found[offsets[1]] == said
    assert any(found.values())


def sparse(path: Path, *records: tuple[int, bytes], size: int) -> Path:
    """Write records at offsets of a file of `size` bytes that is a hole elsewhere."""
    for offset, data in records:
        write_records(path.with_suffix(".one"), [data])
        with open(path, "ab") as file:
            file.truncate(offset)
            file.seek(offset)
            file.write(path.with_suffix(".one").read_bytes())
    os.truncate(path, size)
    return path


@pytest.mark.parametrize("more", [*range(0, 33, 4), 60 << 20])
def test_a_record_behind_a_hole_is_found(tmp_path, more):
    """At each place around the end of a step of the search, behind a magic at an odd place, too."""
    offset = (4 << 20) + more
    path = sparse(tmp_path / "a.rec", (0, b"first"), (offset, b"x"), size=offset + 12)
    overwrite(path, 22, MAGIC)
    found = [offset for offset, reason in RecordFile(path).scan() if reason is None]
    assert found == [0, offset]


@pytest.mark.skipif(os.name != "posix", reason="resource is of POSIX")
@pytest.mark.parametrize("hole", [True, False], ids=["a hole", "zeros"])
def test_a_large_file_without_records_fills_no_memory(tmp_path, hole):
    size = 128 << 20
    sparse(tmp_path / "a.rec", (0, join_header((1.0,), 0, b"x")), size=size)
    if not hole:
        overwrite(tmp_path / "a.rec", 64, bytes(size - 64))
    with open(tmp_path / "a.idx", "wb") as file:
        file.truncate(size)
    code = (
        "import resource, sys; from facesync.data.pack import Pack\n"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = used(); pack = Pack(sys.argv[1]); print(len(pack), used() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.rec"], capture_output=True, text=True, cwd=ROOT
    )
    records, grown = done.stdout.split()
    assert records == "1" and int(grown) < 60 << (20 if sys.platform == "darwin" else 10)


def test_a_record_that_is_larger_than_any_image(tmp_path):
    path = sparse(tmp_path / "a.rec", (0, b""), (100 << 20, b"next"), size=(100 << 20) + 12)
    overwrite(path, 4, struct.pack("<I", 100 << 20))
    assert reasons(RecordFile(path)) == ["longer than any image (64 MB)", None]
    write_records(path, [MAGIC * 1001])
    assert reasons(RecordFile(path)) == ["longer than any image (64 MB)"]


def test_every_cut_of_a_file_is_survived(tmp_path):
    path = tmp_path / "a.rec"
    payloads = [b"abcd" + MAGIC + b"ef", b"", b"xyz", MAGIC * 2]
    offsets = write_records(path, payloads)
    whole = path.read_bytes()
    for size in range(8, len(whole)):
        path.write_bytes(whole[:size])
        file = RecordFile(path)
        read = {offset: file.read(offset) for offset, reason in file.scan() if reason is None}
        assert read.items() <= dict(zip(offsets, payloads, strict=True)).items()


@pytest.mark.parametrize("labels", [(7.0,), (7.0, 0.5), (1.0, 2.0, 3.0)])
def test_header_round_trip(labels):
    assert split_header(join_header(labels, 12, b"picture")) == (labels, 12, b"picture")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(23),
        struct.pack("<IfQQ", 9, 0, 0, 0),
        struct.pack("<IfQQ", 20_000, 0, 0, 0) + bytes(80_000),
    ],
    ids=["empty", "cut", "no labels", "too many labels"],
)
def test_a_header_that_cannot_be_split(data):
    with pytest.raises(BrokenRecord):
        split_header(data)


def test_write_pack_is_insightfaces_layout(tmp_path):
    rec = write_pack(tmp_path / "made", images(3, 2))
    assert rec == tmp_path / "made" / "train.rec"
    assert (tmp_path / "made" / "property").read_text() == "3,16,24"
    assert sorted(index_of(rec)) == list(range(1 + 6 + 3))
    pack = Pack(rec)
    assert pack.key_range == (7, 10)
    assert pack.read(0).labels == (7.0, 10.0)
    assert [pack.read(key).labels for key in (7, 8, 9)] == [(1.0, 3.0), (3.0, 5.0), (5.0, 7.0)]
    assert [(pack.read(key).identity, pack.read(key).data) for key in range(1, 7)] == [
        (str(who), data) for who, data in images(3, 2)
    ]


def test_write_pack_requires_grouped_identities(tmp_path):
    mixed = [(0, image(0)), (1, image(1)), (0, image(2))]
    with pytest.raises(ValueError, match="identity 0"):
        write_pack(tmp_path / "made", mixed)
    assert not (tmp_path / "made" / "train.rec").exists()
