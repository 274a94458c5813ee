"""Our reader and writer against the real MXNet, in an environment of its own.

MXNet is retired and does not run beside the NumPy of today. To ask it:

    python3.10 -m venv mxnet-env
    mxnet-env/bin/pip install mxnet==1.9.1 numpy==1.23.5
    FACESYNC_MXNET_PYTHON=mxnet-env/bin/python python -m pytest -m mxnet
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from facesync.data.pack import Pack
from facesync.data.recordio import MAGIC, RecordFile, join_header, split_header, write_pack
from tests.data.packs import images, write_im2rec, write_records

pytestmark = [
    pytest.mark.mxnet,
    pytest.mark.skipif(
        "FACESYNC_MXNET_PYTHON" not in os.environ,
        reason="FACESYNC_MXNET_PYTHON names no Python with MXNet (see tests/data/test_mxnet.py)",
    ),
]

AWKWARD = [b"", b"x", MAGIC, MAGIC * 3, b"abcd" + MAGIC + b"ef", b"abc" + MAGIC, bytes(4099)]

READ_INDEXED = """
import hashlib, json, sys
from mxnet import recordio
reader = recordio.MXIndexedRecordIO(sys.argv[1], sys.argv[2], "r")
found = {}
for key in reader.keys:
    data = reader.read_idx(key)
    header, content = recordio.unpack(data)
    labels = [float(x) for x in header.label] if header.flag else [float(header.label)]
    digests = [hashlib.sha256(part).hexdigest() for part in (data, content)]
    found[key] = [labels, header.id] + digests
json.dump(found, sys.stdout)
"""

READ_IN_ORDER = """
import json, sys
from mxnet import recordio
reader = recordio.MXRecordIO(sys.argv[1], "r")
json.dump([data.hex() for data in iter(reader.read, None)], sys.stdout)
"""

WRITE = """
import json, sys
from mxnet import recordio
writer = recordio.MXRecordIO(sys.argv[1], "w")
for data in json.load(sys.stdin):
    writer.write(bytes.fromhex(data))
writer.close()
"""


def ask_mxnet(code: str, *args: object, given: str = "") -> str:
    python = os.environ["FACESYNC_MXNET_PYTHON"]
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code, *map(str, args)],
        input=given,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def assert_mxnet_agrees(rec: Path) -> None:
    theirs = json.loads(ask_mxnet(READ_INDEXED, rec.with_suffix(".idx"), rec))
    pack, file = Pack(rec), RecordFile(rec)
    ours = {}
    for each in pack.records():
        record = pack.read(each.key)
        data = file.read(record.offset)
        digests = [hashlib.sha256(part).hexdigest() for part in (data, record.data)]
        ours[str(each.key)] = [list(record.labels), split_header(data)[1], *digests]
    assert ours == theirs


@pytest.mark.parametrize(
    "name",
    [
        "celeba_pack/train.rec",
        *(
            f"recordio/{name}.rec"
            for name in ("train", "listlabel", "multipart", "unaligned", "corrupt", "png")
        ),
    ],
)
def test_real_packs_read_the_same(shared, name):
    assert_mxnet_agrees(shared / "data" / name)


def test_raw_records_read_the_same(shared):
    rec = shared / "data" / "recordio" / "raw.rec"
    file = RecordFile(rec)
    ours = [file.read(offset).hex() for offset, _ in file.scan()]
    assert ours == json.loads(ask_mxnet(READ_IN_ORDER, rec))


def test_mxnet_reads_the_packs_that_we_write(tmp_path):
    assert_mxnet_agrees(write_pack(tmp_path / "ours", images(3, 4)))
    write_im2rec(tmp_path / "a.rec", [((1.0, 0.5), data) for data in AWKWARD])
    assert_mxnet_agrees(tmp_path / "a.rec")


def test_both_write_the_same_bytes(tmp_path):
    records = [*AWKWARD, *(join_header((1.0,), 7, data) for data in AWKWARD)]
    write_records(tmp_path / "ours.rec", records)
    ask_mxnet(WRITE, tmp_path / "theirs.rec", given=json.dumps([data.hex() for data in records]))
    assert (tmp_path / "ours.rec").read_bytes() == (tmp_path / "theirs.rec").read_bytes()
    assert json.loads(ask_mxnet(READ_IN_ORDER, tmp_path / "ours.rec")) == [
        data.hex() for data in records
    ]
