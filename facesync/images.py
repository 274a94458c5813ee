"""Images: find and read those of any common encoding, check bytes for damage, write JPEG."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from facesync.decoding import MAX_BYTES, decode
from facesync.errors import ImageError
from facesync.files import replacing
from facesync.jpeg import read_header, scans_and_end

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic"}
    | {".heif", ".pbm", ".pgm", ".ppm", ".pnm"}
)
"""Usual suffixes of image files, in lower case; what a file is, its content decides."""

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp"}
)
"""Suffixes by which video files are known, in lower case."""


@dataclass(frozen=True)
class NamedImage:
    """An encoded image that is no file here, such as one that was sent.

    Attributes:
        name: what messages call it.
        data: its bytes.
    """

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name


def read_image_rgb(source: Path | str | bytes | NamedImage, name: str = "") -> np.ndarray:
    """Decode an image to RGB as a viewer shows it.

    Any common encoding; the EXIF orientation is applied; grey, 16-bit, float, palette and CMYK
    become RGB; transparency is put on white; of an animation the first frame is taken. An image of
    more than 32 million pixels (`decoding.MAX_PIXELS_READ`) is halved until it has fewer.

    Args:
        source: path of a file, or encoded bytes, or those with a name.
        name: what messages call it; empty means the path, or "the image".

    Returns:
        image_rgb, uint8, shape (height, width, 3).

    Raises:
        ImageError: missing, empty, damaged, not an image, or too large.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    if isinstance(source, NamedImage):
        source = source.data
    try:
        image_rgb, warning = _decoded(source if isinstance(source, bytes) else read_file(source))
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    if warning:
        log.warning("%s: %s", name, warning)
    return image_rgb


def read_file(path: Path | str) -> bytes:
    """Read an image file.

    Raises:
        ImageError: it cannot be read, is not a regular file, or is larger than `MAX_BYTES`.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise ImageError(f"the file is too large ({size:,} bytes)")
        return file.read()


@contextmanager
def _opened(path: Path | str) -> Iterator[BinaryIO]:
    """Open a regular file; never wait for a pipe or a device."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageError("cannot be read (it is not a regular file)")
            yield file
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"cannot be read ({reason})") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _decoded(data: bytes) -> tuple[np.ndarray, str | None]:
    if not data:
        raise ImageError("the file is empty (0 bytes)")
    return decode(data, suffix_of(data))


def encode_jpeg(image_rgb: np.ndarray, quality: int = 95) -> bytes:
    """Encode uint8 RGB (height, width, 3) as a JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image_rgb).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def save_jpeg(image_rgb: np.ndarray, path: Path) -> None:
    """Write uint8 RGB (height, width, 3) as a JPEG of quality 95, whole or not at all."""
    with replacing(path) as file:
        file.write(encode_jpeg(image_rgb))


_MAGIC = re.compile(
    rb"(?P<jpg>\xff\xd8\xff)|(?P<png>\x89PNG\r\n\x1a\n)|(?P<webp>RIFF....WEBP)|(?P<bmp>BM)"
    rb"|(?P<gif>GIF8[79]a)|(?P<tif>II[*+]\0|MM\0[*+])|(?P<pnm>P[1-6]\s)"
    rb"|(?P<avif>....ftypavi[fs])|(?P<heic>....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1))",
    re.DOTALL,
)


def suffix_of(data: bytes) -> str:
    """Return the file suffix for encoded bytes, by their first bytes; `.bin` if unknown."""
    found = _MAGIC.match(data)
    return f".{found.lastgroup}" if found else ".bin"


MARKER_HEAD, MARKER_TAIL = 16, 64
"""How many bytes at the start and end `marker_fault` needs."""


def marker_fault(data: bytes) -> str | None:
    """Say what is wrong with an image by its start and end alone; None if nothing is.

    JPEG (ITU T.81) starts with FF D8 and ends with FF D9, which coded data never contains; PNG
    starts with its signature and ends with IEND. What other programs put behind the end is not
    part of the image. Of other encodings only the start is checked.
    """
    if not data:
        return "empty"
    suffix = suffix_of(data)
    if suffix == ".bin":
        return "start marker missing: not an image of a known encoding"
    if suffix == ".jpg" and not _has_end(data):
        return "end marker missing: truncated JPEG"
    if suffix == ".png" and b"IEND\xaeB`\x82" not in data:
        return "end marker missing: truncated PNG"
    return None


def _has_end(data: bytes) -> bool:
    if b"\xff\xd9" in data[-MARKER_TAIL:]:
        return True
    header = read_header(data)
    return header is not None and scans_and_end(data, header.scan)[1] is not None


def fault_of_file(path: Path | str) -> str | None:
    """Return the `marker_fault` of a file; of most, only the two ends are read."""
    try:
        with _opened(path) as file:
            ends = file.read(MARKER_HEAD + MARKER_TAIL)
            if len(ends) == MARKER_HEAD + MARKER_TAIL:
                file.seek(-MARKER_TAIL, os.SEEK_END)
                ends = ends[:MARKER_HEAD] + file.read(MARKER_TAIL)
            fault = marker_fault(ends)
        # Something may stand behind the end.
        return marker_fault(read_file(path)) if fault and "end marker" in fault else fault
    except ImageError as error:
        return str(error)


def decode_fault(data: bytes) -> str | None:
    """Decode an image and say what is wrong with it, or what the decoder warns of; None if nothing.

    A JPEG that has lost its end or its middle still decodes, with a warning.
    """
    try:
        return _decoded(data)[1]
    except ImageError as error:
        return str(error)


def is_image(path: Path | str) -> bool:
    """Whether a file is an image by its content, or says so by its suffix."""
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:
        return True
    try:
        with _opened(path) as file:
            return suffix_of(file.read(MARKER_HEAD)) != ".bin"
    except ImageError:
        return False


def is_video(path: Path) -> bool:
    """Whether a file is called like a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def images_below(folder: Path, *, subfolders: bool = False, videos: bool = False) -> list[Path]:
    """List the images in a folder, sorted; how many other files are passed over is logged.

    Args:
        folder: where they are.
        subfolders: look into its subfolders, too.
        videos: list videos, too.

    Raises:
        ImageError: the folder cannot be read.
    """
    try:
        entries = sorted(folder.rglob("*") if subfolders else folder.iterdir())
    except OSError as error:
        raise ImageError(f"{folder}: cannot be read ({error.strerror})") from error
    files = [path for path in entries if not path.name.startswith(".") and not path.is_dir()]
    images = [path for path in files if (videos and is_video(path)) or is_image(path)]
    say_passed_over(folder, [str(p.relative_to(folder)) for p in set(files) - set(images)])
    return images


def say_passed_over(folder: Path | str, names: Iterable[str]) -> None:
    """Log how many files of a folder are passed over because they are not images."""
    if names := sorted(names):
        log.warning(
            "%s: passed over as not being images: %d (the first: %s)",
            folder,
            len(names),
            names[0],
        )
