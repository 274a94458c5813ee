"""What a JPEG file says before it is decoded (ITU T.81, annex B): size, orientation, scans, end."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Not in coded data: there, FF is followed by 00 or a restart marker.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those three are tables
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class JpegHeader:
    """What stands before the first scan.

    Attributes:
        width, height: in pixels, before the orientation is applied.
        progressive: the image comes in several scans, each over all of it.
        orientation: EXIF's, 1 … 8; 1 (upright) where it is not stated or cannot be read.
        scan: where the first scan begins.
    """

    width: int
    height: int
    progressive: bool
    orientation: int
    scan: int


def read_header(data: bytes) -> JpegHeader | None:
    """Read the header of a JPEG file; None if it has no frame or no scan."""
    frame, progressive, exif, xmp = b"", False, None, None
    for marker, start, stop in _segments(data, 2):
        content = data[start + 2 : stop]
        if marker in _FRAMES:
            frame, progressive = content, marker in _PROGRESSIVE
        elif marker == _APP1 and content.startswith(b"Exif\0\0"):
            exif = exif or exif_orientation(content[6:])
        elif marker == _APP1 and (stated := _XMP_ORIENTATION.search(content)):
            xmp = int(stated[1])
        elif marker == _SCAN and len(frame) >= 5:
            height, width = struct.unpack_from(">HH", frame, 1)
            return JpegHeader(width, height, progressive, exif or xmp or 1, start - 2)
        elif marker == _SCAN:
            break
    return None


def scans_and_end(data: bytes, start: int) -> tuple[int, int | None]:
    """Walk over a file from `start`; return how many scans there are, and where the image ends.

    The end is the position after the end marker, None without one. What is behind it (a phone's
    trailer, a film, a second image, padding) is not part of the image.
    """
    scans = 0
    for marker, _, stop in _segments(data, start):
        scans += marker == _SCAN
        if marker == _END:
            return scans, stop
    return scans, None


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield each segment's marker, and where its content, which its length begins, starts and ends.

    Coded data and stray bytes between segments are skipped, as by decoders.
    """
    while found := _MARKER.search(data, at):
        marker, start = found[1][0], found.end()
        at = start if marker == _END else start + int.from_bytes(data[start : start + 2], "big")
        yield marker, start, at


def exif_orientation(tiff: bytes) -> int | None:
    """Return the orientation in EXIF data, 1 … 8; None where it is not stated or cannot be read."""
    value = tiff_number(tiff, _ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else None


def tiff_number(tiff: bytes, tag: int) -> int | None:
    """Return the first number of an entry in TIFF or EXIF data; None where it cannot be read.

    No other entry is looked at: many are odd, and none decides about this one.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * entries, 12):
            found, kind, count = struct.unpack_from(order + "HHI", tiff, entry)
            if found == tag:
                format, size = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4)}[kind]
                at = entry + 8
                if count * size > 4:  # elsewhere
                    (at,) = struct.unpack_from(order + "I", tiff, at)
                return int(struct.unpack_from(order + format, tiff, at)[0])
    except (struct.error, KeyError):
        pass  # cut off, or no number
    return None
