"""Hostile and odd images: no program is started, and the memory that is taken has a limit."""

import importlib.util
import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facesync import decoding
from facesync.errors import ImageError
from facesync.images import decode_fault, read_image_rgb
from facesync.jpeg import exif_orientation, read_header, scans_and_end, tiff_number

ROOT = Path(__file__).parents[1]


def _encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _chunk(kind, data, checked=None):
    checksum = zlib.crc32(kind + data) if checked is None else checked
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _png(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(bytes(99))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def _webp(kind, width, height):
    sides = {
        b"VP8X": bytes(4) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3],
        b"VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(5),
        b"VP8 ": bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height),
    }[kind]
    return b"RIFF\x1e\0\0\0WEBP" + kind + struct.pack("<I", len(sides)) + sides


def _gif(width, height):
    data = bytearray(_encoded(Image.new("P", (8, 8)), "GIF"))
    struct.pack_into("<HH", data, 6, width, height)
    return bytes(data)


_CLAIMS = {
    "PNG": _png(9900, 9900),
    "PNG that Pillow refuses": _png(30000, 30000),
    **{kind.decode(): _webp(kind, 16383, 16383) for kind in (b"VP8X", b"VP8L", b"VP8 ")},
    "GIF": _gif(65535, 65535),
    "PNM": b"P5 9900 9900 255\n1234",
}


@pytest.mark.parametrize("data", _CLAIMS.values(), ids=_CLAIMS)
def test_a_size_that_would_fill_the_memory_is_refused_before_decoding(data, monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL._webp.WebPAnimDecoder", lambda data: pytest.fail("allocated"))
    with pytest.raises(ImageError, match=r"the image: .* is too large"):
        read_image_rgb(data)


_WITHIN = """
import resource, sys
from facesync.images import read_image_rgb
read_image_rgb(sys.argv[1])  # loads what has to be loaded
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (int(sys.argv[3]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(*read_image_rgb(sys.argv[2]).shape)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
@pytest.mark.parametrize(
    "size_wh, shape, options",
    [
        ((12000, 9000), "4500 6000 3", {}),
        ((16320, 12240), "3060 4080 3", {}),
        ((12000, 9000), "4500 6000 3", {"progressive": True}),
    ],
    ids=["108 megapixels", "200 megapixels", "108 megapixels, progressive"],
)
def test_photographs_of_large_phones_are_read_in_little_memory(tmp_path, size_wh, shape, options):
    Image.new("L", (16, 16)).save(tmp_path / "small.jpg")
    Image.new("L", size_wh, 90).save(tmp_path / "large.jpg", **options)
    command = [sys.executable, "-c", _WITHIN, "small.jpg", "large.jpg", "500"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == shape, done.stderr[-300:]


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("error", [MemoryError, cv2.error])
def test_too_little_memory_is_one_line(monkeypatch, format, error):
    def full(*args):
        raise error

    monkeypatch.setattr(cv2, "cvtColor", full)
    monkeypatch.setattr(decoding, "_to_rgb", full)
    with pytest.raises(ImageError, match="the image: there is too little memory"):
        read_image_rgb(_encoded(Image.new("RGB", (8, 8)), format))


@pytest.mark.parametrize("format, mode", [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA"),
                                        ("PNG", "P"), ("PNG", "I;16"), ("TIFF", "F")])  # fmt: skip
def test_large_images_are_halved(monkeypatch, format, mode):
    grey = Image.fromarray(np.tile(np.arange(0, 240, 2, np.uint8), (80, 1)))
    image = grey.convert("I").convert(mode) if mode == "I;16" else grey.convert(mode)
    data = _encoded(image, format)
    whole = read_image_rgb(data).astype(int)
    monkeypatch.setattr(decoding, "MAX_PIXELS_READ", 120 * 80 // 5)
    half = read_image_rgb(data).astype(int)
    assert half.shape == (20, 30, 3)
    assert np.abs(half - whole.reshape(20, 4, 30, 4, 3).mean((1, 3))).max() < 4


def test_a_progressive_jpeg_of_many_scans_is_refused(monkeypatch):
    data = _encoded(Image.new("RGB", (160, 160), "red"), "JPEG", progressive=True)
    header = read_header(data)
    scans, end = scans_and_end(data, header.scan)
    assert header.progressive and scans > 5 and end == len(data)
    monkeypatch.setattr(decoding, "MAX_SCAN_PIXELS", 160 * 160 * scans)
    trailer = b"\xff\xda" * 99  # is no scan
    assert read_image_rgb(data + trailer).shape == (160, 160, 3)
    monkeypatch.setattr(decoding, "MAX_SCAN_PIXELS", 160 * 160 * scans - 1)
    with pytest.raises(ImageError, match=rf"160 x 160 is too large for a JPEG of {scans} scans"):
        read_image_rgb(data)


@pytest.mark.parametrize("data", [b"\xff" * 300_000, b"\xff\xfe\0\0" * 100_000])
def test_a_jpeg_of_nothing_but_marks_is_refused_at_once(data):
    """A pattern that looks back would take hours."""
    with pytest.raises(ImageError, match="damaged image"):
        read_image_rgb(b"\xff\xd8\xff" + data)


@pytest.mark.parametrize("data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
                                  b"\xc5\xd0\xd3\xc6" + bytes(40), b"%PDF-1.4\n"])  # fmt: skip
@pytest.mark.parametrize("name", ["x.jpg", "x.eps"])
def test_no_image_starts_a_program(tmp_path, monkeypatch, data, name):
    from PIL import EpsImagePlugin

    gs = tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", str(gs.parent), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError, match=rf"{name}: not an image that can be decoded"):
        read_image_rgb(tmp_path / name)
    assert not (tmp_path / "started").exists()


def test_images_are_opened_in_one_place():
    opens = re.compile(
        r"Image\.open\(|cv2\.(imread|imdecode)|imageio|skimage\.io|plt\.imread|mpimg|"
        r"decode_(jpeg|png|image)\b|torchvision\.io"
    )
    usual_ways = {"benchmarks/loader.py", "benchmarks/conversion.py"}  # that ours is compared with
    files = [*ROOT.glob("*.py"), *ROOT.glob("facesync/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    found = {str(f.relative_to(ROOT)) for f in files if opens.search(f.read_text("utf-8"))}
    assert found - usual_ways == {"facesync/decoding.py"}


def test_heic_says_what_it_needs():
    if importlib.util.find_spec("pillow_heif"):
        pytest.skip("pillow-heif is installed")
    with pytest.raises(ImageError, match="pip install pillow-heif"):
        read_image_rgb(b"\0\0\0\x1cftypheic" + bytes(40))


def _exif(*entries, order="<"):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    rows = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return mark + struct.pack(order + "IH", 8, len(entries)) + rows + bytes(4)


_TURNED = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
_ODD = {
    "nothing odd": [_TURNED],
    "resolution is text": [_TURNED, (0x011A, 2, 3, b"72\0\0"), (0x0128, 3, 1, b"\3\0\0\0")],
    "artist is a number": [_TURNED, (0x013B, 3, 1, b"\7\0\0\0")],
    "minus over zero": [_TURNED, (0x011A, 10, 1, b"\x08\0\0\0")],
    "endless text": [_TURNED, (0x013B, 2, 0x7FFFFFFF, b"\xff\xff\xff\x7f")],
    "GPS nowhere": [_TURNED, (0x8825, 4, 1, b"\x08\0\0\0")],
}


@pytest.mark.parametrize("entries", _ODD.values(), ids=_ODD)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_only_the_orientation_is_read_from_exif(format, entries):
    image = Image.new("RGB", (60, 40))
    exif = b"Exif\0\0" + _exif(*entries)
    assert read_image_rgb(_encoded(image, format, exif=exif)).shape == (60, 40, 3)


_LONG = b"key\0\0" + zlib.compress(bytes(2 << 20))


@pytest.mark.parametrize(
    "odd",
    [
        _chunk(b"zTXt", _LONG),
        _chunk(b"iCCP", _LONG),
        _chunk(b"tEXt", b"key\0damaged", checked=1),
        _chunk(b"pHYs", b""),
    ],
    ids=["long text", "long profile", "damaged text", "empty resolution"],
)
def test_only_the_pixels_are_read_from_png(odd):
    image = Image.effect_noise((40, 30), 60).convert("P")
    plain = _encoded(image, "PNG", transparency=0)
    head = 8 + 25  # signature and IHDR
    assert np.array_equal(read_image_rgb(plain[:head] + odd + plain[head:]), read_image_rgb(plain))


def test_tiff_of_odd_metadata_is_read():
    image = Image.new("L", (60, 40), 7)
    data = _encoded(image, "TIFF", tiffinfo={0x0112: 6, 0x0128: 3, 0x011A: 2.5, 0x011B: 2.5})
    for tag in (b"\x1a\x01", b"\x1b\x01"):
        at = data.index(tag + b"\5\0\1\0\0\0")
        data = data[: at + 2] + b"\2\0\3\0\0\x0072\0\0" + data[at + 12 :]
    image = read_image_rgb(data)
    assert image.shape == (60, 40, 3) and (image == 7).all()


def test_an_orientation_that_cannot_be_read_is_upright():
    assert exif_orientation(_exif(_TURNED)) == 6
    assert exif_orientation(_exif((0x0112, 3, 1, b"\0\6\0\0"), order=">")) == 6
    for odd in (b"", b"II", _exif(), _exif(_TURNED)[:-9], _exif((0x0112, 2, 2, b"6\0\0\0")),
                _exif((0x0112, 3, 1, b"\x09\0\0\0"))):  # fmt: skip
        assert exif_orientation(odd) is None
    assert tiff_number(_exif((0x0101, 4, 2, b"\4\0\0\0")), 0x0101) == 8  # at 4, as said


def test_orientation_in_xmp_counts_where_exif_has_none():
    xmp = b'<x:xmpmeta xmlns:tiff="x"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    assert read_image_rgb(_encoded(Image.new("RGB", (60, 40)), "JPEG", xmp=xmp)).shape[0] == 60


@pytest.mark.parametrize("case", ["resolution_is_text", "artist_is_number",
                                  "rational_minus_over_zero"])  # fmt: skip
def test_the_fields_odd_exif(shared, case):
    folder = shared / "cases" / "exif"
    good = read_image_rgb(folder / "good.jpg")
    assert np.array_equal(read_image_rgb(folder / f"{case}.jpg"), good)


@pytest.mark.parametrize("case, mean", [("float01.tif", 115), ("gray10in16.png", 115),
                                        ("x.pgm", 115), ("y.jfif", 115)])  # fmt: skip
def test_the_fields_odd_encodings(shared, case, mean):
    assert abs(read_image_rgb(shared / "cases" / "img" / case).mean() - mean) < 1


def test_the_fields_hostile_images(shared):
    hostile = shared / "cases" / "hostile"
    for name in ("progressive_300_scans.jpg", "eps_loop_named.jpg", "eps_error_named.jpg"):
        with pytest.raises(ImageError, match=name):
            read_image_rgb(hostile / name)
    assert decode_fault((shared / "cases" / "img" / "trunc_end.jpg").read_bytes()) is not None
