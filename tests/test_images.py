"""Any image is read as a viewer shows it, or refused in one line."""

import io

import numpy as np
import pytest
from PIL import Image

from facesync import images
from facesync.errors import ImageError
from facesync.images import decode_fault, marker_fault, read_image_rgb, save_jpeg, suffix_of


def _encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def red_left():
    """Red left half, blue right half, 60 wide and 40 high."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30, 0] = pixels[:, 30:, 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP", "TIFF", "GIF", "JPEG"])
def test_common_encodings_read_as_rgb(red_left, format):
    image = read_image_rgb(_encoded(red_left, format))
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert image[20, 5, 0] > 200 > 60 > image[20, 5, 2]
    assert image[20, 55, 2] > 200 > 60 > image[20, 55, 0]


@pytest.mark.parametrize("orientation, where", [(1, (20, 5)), (3, (20, 55)), (6, (5, 20)),
                                                (8, (55, 20))])  # fmt: skip
def test_exif_orientation_is_applied(red_left, orientation, where):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image_rgb(_encoded(red_left, "JPEG", exif=exif))
    assert image[where][0] > 200 > image[where][2]


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "I;16", "F"])
def test_every_mode_becomes_rgb(red_left, mode):
    format = "JPEG" if mode == "CMYK" else "TIFF" if mode == "F" else "PNG"
    converted = red_left.convert("I").convert("I;16") if mode == "I;16" else red_left.convert(mode)
    image = read_image_rgb(_encoded(converted, format))
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert image.std() > 5


def test_sixteen_bits_keep_their_high_bits():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = read_image_rgb(_encoded(Image.fromarray(ramp), "PNG"))
    assert image[0, 0, 0] == 0
    assert image[-1, -1, 0] == 255
    assert abs(int(image[32, 0, 0]) - 128) <= 1


def test_transparency_is_put_on_white():
    image = read_image_rgb(_encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG"))
    assert (image == 255).all()


@pytest.mark.parametrize(
    "content, says",
    [(b"", "empty"), (b"hello", "not an image"), (b"\xff\xd8\xff", "not an image|damaged")],
)
def test_something_that_is_not_an_image_is_one_line(tmp_path, content, says):
    file = tmp_path / "x.jpg"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=rf"x\.jpg.*({says})"):
        read_image_rgb(file)


def test_missing_files_and_folders_are_one_line(tmp_path):
    for path in (tmp_path / "none.jpg", tmp_path, "a\0b"):
        with pytest.raises(ImageError, match="cannot be read"):
            read_image_rgb(path)


def test_half_an_image_is_refused(red_left):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8))
    for format in ("JPEG", "PNG", "WEBP"):
        data = _encoded(noise, format)
        with pytest.raises(ImageError):
            read_image_rgb(data[: len(data) // 2])


def test_a_decompression_bomb_is_refused_before_it_is_decoded(red_left, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="60 x 40 is too large"):
        read_image_rgb(_encoded(red_left, "PNG"))


def test_suffix_follows_content(red_left):
    for format, suffix in {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp",
                           "GIF": ".gif", "TIFF": ".tif"}.items():  # fmt: skip
        assert suffix_of(_encoded(red_left, format)) == suffix
    assert suffix_of(b"what") == ".bin"


def test_marker_faults(red_left):
    jpeg, png = _encoded(red_left, "JPEG"), _encoded(red_left, "PNG")
    assert marker_fault(jpeg) is None
    assert marker_fault(jpeg + bytes(3)) is None
    assert marker_fault(png) is None
    assert marker_fault(b"") == "empty"
    assert "start marker" in marker_fault(b"\0\0" + jpeg[2:])
    assert "end marker" in marker_fault(jpeg[:-2])
    assert "end marker" in marker_fault(png[:-4])


def test_decode_faults(red_left):
    jpeg = _encoded(red_left, "JPEG")
    assert decode_fault(jpeg) is None
    early = jpeg[: len(jpeg) // 2] + b"\xff\xd9"
    assert marker_fault(early) is None
    assert decode_fault(early) is not None


def test_saved_jpeg_reads_back(tmp_path, red_left):
    image = np.asarray(red_left)
    save_jpeg(image, tmp_path / "a" / "x.jpg")
    assert np.abs(read_image_rgb(tmp_path / "a" / "x.jpg").astype(int) - image).mean() < 8
