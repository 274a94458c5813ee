"""Packs for tests: other layouts than InsightFace's, and broken ones."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from facesync.data.recordio import join_header, write_record


def image(number: int, encoding: str = "JPEG") -> bytes:
    """A small encoded image (24 x 16), different for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=encoding)
    return buffer.getvalue()


def images(identities: int, each: int) -> list[tuple[int, bytes]]:
    """(identity, image) as `write_pack` takes them."""
    return [(who, image(who * each + i)) for who in range(identities) for i in range(each)]


def write_records(path: Path, records: Iterable[bytes]) -> list[int]:
    """Write a `.rec` file without an index; returns where each record starts."""
    offsets = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for data in records:
            offsets.append(file.tell())
            write_record(file, data)
    return offsets


def write_index(rec: Path, rows: Iterable[tuple[int, int]]) -> None:
    rec.with_suffix(".idx").write_text("".join(f"{key}\t{offset}\n" for key, offset in rows))


def write_im2rec(path: Path, samples: list[tuple[tuple[float, ...], bytes]]) -> list[int]:
    """Write a pack as plain im2rec does: no header record, key 0 is an image, with index."""
    records = [join_header(labels, key, data) for key, (labels, data) in enumerate(samples)]
    offsets = write_records(path, records)
    write_index(path, enumerate(offsets))
    return offsets


def index_of(rec: Path) -> dict[int, int]:
    """Offsets by key, as the index beside a `.rec` file says."""
    rows = (line.split() for line in rec.with_suffix(".idx").read_text().splitlines())
    return {int(key): int(offset) for key, offset in rows}


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def many_images(identities: int, each: int) -> Iterator[tuple[int, bytes]]:
    """The same image again and again, with its number in a JPEG comment."""
    start, rest = image(0)[:2], image(0)[2:]
    for number in range(identities * each):
        comment = b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big")
        yield number // each, start + comment + rest
