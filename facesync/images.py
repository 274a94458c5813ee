"""Images: read whatever people have, check what a pack holds, write whole files."""

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
"""Suffixes, in lower case, by which a folder is searched for images."""

MAX_PIXELS = 100_000_000
"""Images with more pixels than this are refused: no camera makes them, a bomb does."""


def read_image_rgb(source: Path | str | bytes) -> np.ndarray:
    """Decode an image to RGB as a person sees it.

    Takes every common encoding; turns it by its EXIF orientation; grey, 16-bit, palette and CMYK
    become RGB, transparency is laid on white; of an animation the first frame is taken.

    Args:
        source: a file's path, or the encoded bytes.

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
    """Whether the bytes are a JPEG with its end, and say nothing of an orientation.

    Such a one OpenCV decodes to the same pixels in half the time, for it copies them less often;
    of half an image it would make a whole one.
    """
    return (
        data[:2] == b"\xff\xd8"
        and data.rstrip(b"\0")[-2:] == b"\xff\xd9"
        and b"Exif\0" not in data
        and b"ns.adobe.com" not in data
    )


def _to_rgb(image):  # type: ignore[no-untyped-def]
    """PIL image of any mode to mode RGB."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        # 16 bits and more: keep the eight high ones. PIL's own convert() would clip instead.
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
    """File suffix for encoded bytes, by their first bytes; `.bin` where they are of no kind known.

    A damaged JPEG is `.bin` here: what cannot be told from its content is not guessed.
    """
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
    return ".bin"


MARKER_HEAD, MARKER_TAIL = 16, 64
"""How many bytes at the start and at the end `marker_fault` looks at."""


def marker_fault(data: bytes) -> str | None:
    """Say what is wrong with an image by its start and end alone, or None.

    JPEG (ITU T.81) starts with FF D8 and ends with FF D9, which coded data never holds; PNG starts
    with its signature and ends with IEND. A few bytes behind the end, within `MARKER_TAIL`, are
    let pass as decoders do. Other encodings are told by their start.
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
    """Decode an image fully and say what is wrong with it, or None."""
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
    """Whether coded image data goes on behind the end marker of a JPEG (ITU T.81, B.1).

    Decoders stop at that marker and fill the rest with grey without a word. Other things that
    cameras put behind the end (a second image, say) do not look like coded data.
    """
    at = 2
    while segment := _JPEG_SEGMENT.match(data, at):
        at = segment.start(2) + int.from_bytes(segment[2], "big")
        if segment[1] == b"\xda":  # a scan: its coded data goes on to the next marker
            marker = _JPEG_MARKER.search(data, at)
            at = marker.start() if marker else len(data)
    end = data.find(b"\xff\xd9", at) + 2
    return end < len(data.rstrip(b"\x00")) and bool(_JPEG_SCAN_REST.match(data, end))
