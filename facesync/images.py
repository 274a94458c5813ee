"""Images: read any common encoding, check encoded bytes for damage, write JPEG."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import cv2
import numpy as np

from facesync.errors import ImageError
from facesync.files import replacing

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Suffixes of image files, in lower case."""

MAX_PIXELS = 100_000_000
"""Images with more pixels are refused as decompression bombs."""


def read_image_rgb(source: Path | str | bytes) -> np.ndarray:
    """Decode an image to RGB as a viewer shows it.

    Any common encoding; the EXIF orientation is applied; grey, 16-bit, palette and CMYK become RGB;
    transparency is put on white; of an animation the first frame is taken.

    Args:
        source: path of a file, or encoded bytes.

    Returns:
        image_rgb, uint8, shape (height, width, 3).

    Raises:
        ImageError: missing, empty, damaged, not an image, or over `MAX_PIXELS`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = "the image" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{name}: cannot be read ({reason})") from error
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"{name}: {image.width} x {image.height} is too large; "
                    f"save it with fewer than {MAX_PIXELS // 1_000_000} million pixels"
                )
            if image.mode == "RGB" and _is_whole_upright_jpeg(data):
                decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
                if decoded is not None:
                    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
            turned = ImageOps.exif_transpose(image)
            return np.asarray(_to_rgb(turned))
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image that can be decoded") from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        struct.error,
        EOFError,
        MemoryError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise ImageError(f"{name}: damaged image ({error})") from error


def _is_whole_upright_jpeg(data: bytes) -> bool:
    """Whether the bytes are a complete JPEG without a stated orientation.

    OpenCV decodes those to the same pixels in half the time; it would fill up half an image.
    """
    return (
        data[:2] == b"\xff\xd8"
        and data.rstrip(b"\0")[-2:] == b"\xff\xd9"
        and b"Exif\0" not in data
        and b"ns.adobe.com" not in data
    )


def _to_rgb(image):  # type: ignore[no-untyped-def]
    """Convert a PIL image of any mode to RGB."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        # 16 bits and more: keep the high eight. PIL's own convert() would clip instead.
        values = np.asarray(image, dtype=np.float64)
        scale = 256.0 if values.max(initial=0) > 255 else 1.0
        image = Image.fromarray(np.clip(values / scale, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, "white")
        image.paste(layer, mask=layer.getchannel("A"))
    return image.convert("RGB")


def encode_jpeg(image_rgb: np.ndarray) -> bytes:
    """Encode uint8 RGB (height, width, 3) as a JPEG of quality 95."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image_rgb).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def save_jpeg(image_rgb: np.ndarray, path: Path) -> None:
    """Write uint8 RGB (height, width, 3) as a JPEG of quality 95, whole or not at all."""
    with replacing(path) as file:
        file.write(encode_jpeg(image_rgb))


def suffix_of(data: bytes) -> str:
    """Return the file suffix for encoded bytes, by their first bytes; `.bin` if unknown."""
    if data[:3] == b"\xff\xd8\xff":
        return ".jpg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return ".png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[:2] == b"BM":
        return ".bmp"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return ".gif"
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return ".tif"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return ".pnm"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return ".avif"
    return ".bin"


MARKER_HEAD, MARKER_TAIL = 16, 64
"""How many bytes at the start and end `marker_fault` needs."""


def marker_fault(data: bytes) -> str | None:
    """Say what is wrong with an image by its start and end alone; None if nothing is.

    JPEG (ITU T.81) starts with FF D8 and ends with FF D9, which coded data never contains; PNG
    starts with its signature and ends with IEND. A few bytes after the end, within `MARKER_TAIL`,
    are tolerated, as by decoders. Of other encodings only the start is checked.
    """
    if not data:
        return "empty"
    suffix = suffix_of(data)
    if suffix == ".bin":
        return "start marker missing: not an image of a known encoding"
    tail = data[-MARKER_TAIL:]
    if suffix == ".jpg" and b"\xff\xd9" not in tail:
        return "end marker missing: truncated JPEG"
    if suffix == ".png" and b"IEND\xaeB`\x82" not in tail:
        return "end marker missing: truncated PNG"
    return None


def decode_fault(data: bytes) -> str | None:
    """Decode an image and say what is wrong with it; None if nothing is."""
    try:
        read_image_rgb(data)
    except ImageError as error:
        return str(error).removeprefix("the image: ")
    if suffix_of(data) == ".jpg" and _ends_early(data):
        return "end marker in the middle: the rest of the JPEG is lost"
    return None


_JPEG_SEGMENT = re.compile(rb"\xff+([^\x00\xd0-\xd9\xff])(..)", re.DOTALL)
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_JPEG_SCAN_REST = re.compile(rb"(?:[^\xff]|\xff[\x00\xd0-\xd7\xd9])*\xff\xd9\x00*\Z")


def _ends_early(data: bytes) -> bool:
    """Whether coded image data continues after the end marker of a JPEG (ITU T.81, B.1).

    Decoders stop at that marker and silently fill the rest with grey. Other things that cameras
    append (a second image, say) do not look like coded data.
    """
    at = 2
    while segment := _JPEG_SEGMENT.match(data, at):
        at = segment.start(2) + int.from_bytes(segment[2], "big")
        if segment[1] == b"\xda":  # a scan: its coded data reaches to the next marker
            marker = _JPEG_MARKER.search(data, at)
            at = marker.start() if marker else len(data)
    end = data.find(b"\xff\xd9", at) + 2
    return end < len(data.rstrip(b"\x00")) and bool(_JPEG_SCAN_REST.match(data, end))
