"""The one place where encoded images become pixels.

Encodings are chosen by content from a short list. A decoder is only started where the size that the
data claims fits into memory, and what it warns of is caught, because warnings name no file.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from typing import TYPE_CHECKING

import cv2
import numpy as np

from facesync.decoder_warnings import listen
from facesync.errors import ImageError
from facesync.jpeg import exif_orientation, read_header, scans_and_end, tiff_number

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 250_000_000
"""JPEG images with more pixels are refused."""

MAX_PIXELS_READ = 32_000_000
"""Images with more pixels are read at half, a quarter or an eighth of their width and height."""

MAX_BYTES = 512 << 20
"""Images whose decoder would need more memory are refused."""

MAX_SCAN_PIXELS = 1_500_000_000
"""Pixels times scans of a progressive JPEG, at most: about two seconds."""

# As measured.
_BYTES_PER_PIXEL = {".webp": 16, ".avif": 9, ".heic": 9}
_BYTES_PER_PIXEL_OTHERS = 8
_BYTES_PER_PIXEL_PROGRESSIVE = 4
_BYTES_PER_PIXEL_FLOAT = 16

_PLUGINS = {".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF",
            ".pnm": "PPM", ".avif": "AVIF", ".heic": "HEIF"}  # fmt: skip
"""Pillow's decoders by suffix. Others are never asked: one of them starts Ghostscript."""

_PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"}


def decode(data: bytes, suffix: str) -> tuple[np.ndarray, str | None]:
    """Decode an image of the encoding that `images.suffix_of` found.

    Returns:
        image_rgb as from `images.read_image_rgb`, and what the decoder warned of, or None.

    Raises:
        ImageError: it cannot be decoded; the message does not name it.
    """
    try:
        if suffix == ".jpg":
            return _decode_jpeg(data)
        if suffix == ".tif":
            return listen(lambda: _decode_with_pillow(data, suffix))
        if suffix == ".png":
            data = _png_of_pixels(data)
        return _decode_with_pillow(data, suffix), None
    except (MemoryError, cv2.error) as error:
        raise ImageError("there is too little memory to decode it") from error


def _refuse_over(limit: int, width: int, height: int, what: str = "") -> None:
    if width * height > limit:
        raise ImageError(
            f"{width} x {height} is too large{what}; "
            f"save it with fewer than {limit / 1_000_000:.3g} million pixels"
        )


def _halvings(pixels: int) -> int:
    return next(n for n in range(64) if pixels >> 2 * n <= MAX_PIXELS_READ)


_REDUCED = (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4,
            cv2.IMREAD_REDUCED_COLOR_8)  # fmt: skip
_HARMLESS = re.compile(
    "(?!Corrupt JPEG data|Premature end)|.* extraneous bytes before marker 0x(?!d[0-7])"
)


def _decode_jpeg(data: bytes) -> tuple[np.ndarray, str | None]:
    header = read_header(data)
    if header is None:
        raise ImageError("damaged image (a JPEG without a frame)")
    size = header.width, header.height
    pixels = header.width * header.height
    _refuse_over(MAX_PIXELS, *size)
    if header.progressive:
        _refuse_over(MAX_BYTES // _BYTES_PER_PIXEL_PROGRESSIVE, *size, " for a progressive JPEG")
        # Counting marks overestimates: they occur in thumbnails and trailers, too.
        if pixels * data.count(b"\xff\xda") > MAX_SCAN_PIXELS:
            scans, _ = scans_and_end(data, header.scan)
            _refuse_over(MAX_SCAN_PIXELS // max(1, scans), *size, f" for a JPEG of {scans} scans")
    if _has_no_end(data, header.scan):
        raise ImageError("damaged image (its end is missing)")
    flags = _REDUCED[min(3, _halvings(pixels))] | cv2.IMREAD_IGNORE_ORIENTATION
    image_bgr, warning = _imdecode(data, flags)
    if image_bgr is None:
        raise ImageError("damaged image (the JPEG decoder cannot read it)")
    if warning and not _HARMLESS.match(warning):
        raise ImageError(f"damaged image ({warning})")
    return _turned(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB), header.orientation), warning


def _has_no_end(data: bytes, scan: int) -> bool:
    # The walk is needed only where something stands behind the end.
    return not data[-64:].rstrip(b"\0").endswith(b"\xff\xd9") and not scans_and_end(data, scan)[1]


def _imdecode(data: bytes, flags: int) -> tuple[np.ndarray | None, str | None]:
    try:
        return listen(lambda: cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    except cv2.error:
        return None, None


def _png_of_pixels(data: bytes) -> bytes:
    """Leave out of a PNG what decides about no pixel: Pillow refuses odd texts and profiles."""
    kept, at = [data[:8]], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in _PNG_PIXELS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _decode_with_pillow(data: bytes, suffix: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    Image.init()
    plugin = _PLUGINS.get(suffix)
    if suffix == ".heic":
        _register_heif()
    if suffix == ".webp":
        _refuse_over(MAX_BYTES // _BYTES_PER_PIXEL[suffix], *_webp_size(data))
    if plugin is None:
        raise ImageError("not an image that can be decoded")
    if plugin not in Image.OPEN:
        raise ImageError(f"{plugin} needs a newer Pillow: pip install -U pillow")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata and size: damage is an error
            with Image.open(io.BytesIO(data), formats=(plugin,)) as image:
                need = _BYTES_PER_PIXEL.get(suffix, _BYTES_PER_PIXEL_OTHERS)
                _refuse_over(MAX_BYTES // need, *image.size)
                image.load()
                return _turned(_to_rgb(image, data), _orientation(image))
    except (ImageError, MemoryError, cv2.error):
        raise
    except UnidentifiedImageError as error:
        if suffix != ".tif":
            raise ImageError("not an image that can be decoded") from error
        return _decode_odd_tiff(data)
    except Image.DecompressionBombError as error:
        raise ImageError("the image is too large; save it with fewer pixels") from error
    except Exception as error:  # Pillow's decoders raise anything on damaged data
        raise ImageError(f"damaged image ({error})") from error


def _decode_odd_tiff(data: bytes) -> np.ndarray:
    """Decode TIFF that Pillow does not know: floats in colour, or odd metadata."""
    width, height = (tiff_number(data, tag) or 0 for tag in (256, 257))
    if not width * height:
        raise ImageError("not an image that can be decoded")
    _refuse_over(MAX_BYTES // _BYTES_PER_PIXEL_FLOAT, width, height)
    image = _decode_deep(data, _halvings(width * height))  # turned: OpenCV always does for TIFF
    return _to_rgb(image, b"")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return the size that WebP data claims: Pillow allocates it on opening."""
    kind, content = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        sides = content[4:7] + b"\0" + content[7:10] + b"\0"
        width, height = struct.unpack("<II", sides)
        return width + 1, height + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", content, 6)
    return width & 0x3FFF, height & 0x3FFF


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError("a HEIC image needs `pip install pillow-heif`, or save it as JPEG") from (
            error
        )
    register_heif_opener()


def _orientation(image: Image.Image) -> int:
    """Return the orientation of a loaded image; upright where it cannot be read."""
    exif = image.info.get("exif")
    if isinstance(exif, bytes):
        return exif_orientation(exif.removeprefix(b"Exif\0\0")) or 1
    try:
        stated = image.getexif().get(0x0112)
    except Exception:  # odd metadata decides about no pixel
        return 1
    return stated if isinstance(stated, int) else 1


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image upright by its EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        image = cv2.transpose(image)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return image if flip is None else cv2.flip(image, flip)


def _to_rgb(image: Image.Image, data: bytes) -> np.ndarray:
    """Convert a loaded Pillow image of any mode to RGB, halved where it is large."""
    from PIL import Image

    halvings = _halvings(image.width * image.height)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        values = values.astype(np.float32) if image.mode == "I" else values
        image = Image.fromarray(_to_eight_bits(_halved(values, halvings)))
    elif _is_deep(image, data):
        image = _decode_deep(data, halvings)
    elif halvings:
        mode = "RGBA" if _is_transparent(image) else "RGB"
        image = image if image.mode == mode else image.convert(mode)
        image = image.reduce(2**halvings)
    if _is_transparent(image):
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, "white")
        image.paste(layer, mask=layer.getchannel("A"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _decode_deep(data: bytes, halvings: int) -> Image.Image:
    """Decode colours of more than eight bits with OpenCV: Pillow cuts them off or refuses them."""
    from PIL import Image

    deep, _ = _imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if deep is None:
        raise ImageError("not an image that can be decoded")
    deep = np.atleast_3d(_halved(deep, halvings))
    colours, alpha = deep[..., :3][..., ::-1], deep[..., 3:]
    layers = [values if values.dtype == np.uint8 else _to_eight_bits(values)
              for values in (colours, alpha)]  # fmt: skip
    return Image.fromarray(np.concatenate(layers, axis=2).squeeze())


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _halved(values: np.ndarray, halvings: int) -> np.ndarray:
    scale = 0.5**halvings
    return cv2.resize(values, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether a colour image has 16 bits a channel, of which Pillow would drop the low eight."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    if image.format == "PNG":
        return data[24] == 16
    bits = getattr(image, "tag_v2", {}).get(258, ())
    return bool(bits) and max(bits) == 16


_RANGES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Scale floats, or whole numbers of more than eight bits, by the range that they fill.

    That is from 0 to 1 (floats), or to what 8, 10, 12, 14 or 16 bits hold: cameras and scanners
    store fewer bits in 16.
    """
    ranges = _RANGES if values.dtype.kind in "iu" else (1.0, *_RANGES)
    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = min(0.0, values.min(initial=0)), values.max(initial=0)
    top = high if low < 0 else next((top for top in ranges if high <= top), high)
    values -= low
    values *= 255.0 / max(top - low, 1e-12)
    return np.rint(values).astype(np.uint8)
