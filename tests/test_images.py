"""Any image is read as a viewer shows it, or refused in one line."""

import io
import logging
import os
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from facesync.decoder_warnings import listen
from facesync.errors import ImageError
from facesync.images import (
    decode_fault,
    images_below,
    marker_fault,
    read_image_rgb,
    save_jpeg,
    suffix_of,
)


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


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP", "TIFF", "GIF", "JPEG", "PPM"])
def test_common_encodings_read_as_rgb(red_left, format):
    image = read_image_rgb(_encoded(red_left, format))
    assert image.shape == (40, 60, 3)
    assert image.dtype == np.uint8
    assert image[20, 5, 0] > 200 > 60 > image[20, 5, 2]
    assert image[20, 55, 2] > 200 > 60 > image[20, 55, 0]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation, where", [(1, (20, 5)), (3, (20, 55)), (6, (5, 20)),
                                                (8, (55, 20))])  # fmt: skip
def test_exif_orientation_is_applied(red_left, orientation, where, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image_rgb(_encoded(red_left, format, exif=exif))
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


def test_suffix_follows_content(red_left):
    for format, suffix in {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp",
                           "GIF": ".gif", "TIFF": ".tif", "PPM": ".pnm"}.items():  # fmt: skip
        assert suffix_of(_encoded(red_left, format)) == suffix
    for brand, suffix in {"avif": ".avif", "heic": ".heic", "mif1": ".heic"}.items():
        assert suffix_of(b"\0\0\0\x1cftyp" + brand.encode()) == suffix
    assert suffix_of(b"what") == ".bin"


def test_marker_faults(red_left):
    jpeg, png = _encoded(red_left, "JPEG"), _encoded(red_left, "PNG")
    assert marker_fault(jpeg) is None
    assert marker_fault(png) is None
    assert marker_fault(b"") == "empty"
    assert "start marker" in marker_fault(b"\0\0" + jpeg[2:])
    assert "end marker" in marker_fault(jpeg[:-2])
    assert "end marker" in marker_fault(png[:-4])


@pytest.mark.parametrize("trailer", [bytes(999), b"SEFT" * 99, b"....ftypmp42\xff\xda\xff\xd9" * 9])
def test_what_stands_behind_the_end_is_no_part_of_the_image(red_left, trailer):
    for format in ("JPEG", "PNG"):
        data = _encoded(red_left, format)
        assert marker_fault(data + trailer) is None
        assert decode_fault(data + trailer) is None
        assert np.array_equal(read_image_rgb(data + trailer), read_image_rgb(data))
        assert marker_fault(data[:-12] + b"SEFT" * 99) is not None


def _parts_lost(jpeg):
    middle, part = len(jpeg) // 2, len(jpeg) // 8
    yield jpeg[:middle] + b"\xff\xd9"
    yield jpeg[:middle] + jpeg[middle + part :]
    yield jpeg[:middle] + b"\xff\xd9" + jpeg[middle:]


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"mode": "CMYK"}, {"mode": "L"}],
)
def test_a_jpeg_that_has_lost_a_part_is_not_whole(options, capfd, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    image = Image.fromarray(noise).convert(options.pop("mode", "RGB"))
    jpeg = _encoded(image, "JPEG", **options)
    assert decode_fault(jpeg) is None
    for number, lost in enumerate(_parts_lost(jpeg)):
        file = tmp_path / f"{number}.jpg"
        file.write_bytes(lost)
        assert marker_fault(lost) is None
        assert decode_fault(lost) is not None
        with pytest.raises(ImageError, match=rf"{number}\.jpg: damaged image \(Corrupt JPEG data"):
            read_image_rgb(file)
    assert capfd.readouterr().err == ""


def test_a_warning_names_the_file(red_left, tmp_path, caplog, capfd, monkeypatch):
    """A few bytes that do not belong there: the pixels are all right."""
    # A script that ran before in this process left its handler.
    monkeypatch.setattr(logging.getLogger("facesync"), "handlers", [])
    data = _encoded(red_left, "JPEG")
    (tmp_path / "odd.jpg").write_bytes(data[:-2] + b"?" * 20 + data[-2:])
    image = read_image_rgb(tmp_path / "odd.jpg")
    assert np.array_equal(image, read_image_rgb(data))
    [message] = caplog.messages
    said = message.removeprefix(f"{tmp_path / 'odd.jpg'}: ")
    assert re.fullmatch(r"Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9", said)
    assert decode_fault((tmp_path / "odd.jpg").read_bytes()) == said
    assert capfd.readouterr().err == ""


def test_what_others_write_on_standard_error_is_not_lost(capfd):
    def decode():
        os.write(2, b"theirs\nCorrupt JPEG data: ours\nalso theirs\n")
        return 7

    assert listen(lambda: listen(decode)) == ((7, "Corrupt JPEG data: ours"), None)
    assert listen(decode) == (7, "Corrupt JPEG data: ours")
    assert capfd.readouterr().err == "theirs\nalso theirs\n" * 2
    saved = os.dup(2)
    os.close(2)
    try:
        assert listen(lambda: 7) == (7, None)
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def test_saved_jpeg_reads_back(tmp_path, red_left):
    image = np.asarray(red_left)
    save_jpeg(image, tmp_path / "a" / "x.jpg")
    assert np.abs(read_image_rgb(tmp_path / "a" / "x.jpg").astype(int) - image).mean() < 8


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_values_are_scaled_by_the_bits_that_they_fill(bits):
    ramp = np.linspace(0, 2**bits - 1, 64 * 64).reshape(64, 64).astype(np.uint16)
    colours = np.stack([ramp, ramp, ramp // 2], axis=2)
    files = [
        _encoded(Image.fromarray(ramp), "PNG"),
        _encoded(Image.fromarray(ramp), "TIFF"),
        cv2.imencode(".png", colours[..., ::-1])[1].tobytes(),
        cv2.imencode(".tif", colours[..., ::-1])[1].tobytes(),
    ]
    for data in files:
        image = read_image_rgb(data)
        assert image[0, 0, 0] == 0 and image[-1, -1, 0] == 255
        assert abs(int(image[32, 0, 0]) - 128) <= 1
    assert abs(int(image[-1, -1, 2]) - 128) <= 1


@pytest.mark.parametrize("low, high", [(0, 1), (-1, 1), (0, 255), (0, 65535)])
def test_floats_are_scaled_by_the_range_that_they_fill(low, high):
    ramp = np.linspace(low, high, 64 * 64, dtype=np.float32).reshape(64, 64)
    colours = cv2.imencode(".tif", np.dstack([ramp] * 3))[1].tobytes()
    for data in (_encoded(Image.fromarray(ramp), "TIFF"), colours):
        image = read_image_rgb(data)
        assert image[0, 0, 0] == 0 and image[-1, -1, 0] == 255
        assert abs(int(image[32, 0, 0]) - 128) <= 1


def test_floats_that_are_no_numbers_are_black():
    values = np.full((8, 8), 0.5, np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    image = read_image_rgb(_encoded(Image.fromarray(values), "TIFF"))
    assert image[0, :4, 0].tolist() == [0, 0, 0, 128]


def test_images_of_a_folder_are_found_by_content(red_left, tmp_path, caplog):
    files = {
        "a.jfif": _encoded(red_left, "JPEG"),
        "b.pgm": _encoded(red_left.convert("L"), "PPM"),
        "c": _encoded(red_left, "PNG"),
        "d.JPG": b"not what it says",
        "sub/e.dat": _encoded(red_left, "WEBP"),
    }
    others = {"notes.txt": b"some", "z.csv": b"", ".hidden.jpg": files["a.jfif"], "sub/f.txt": b""}
    for name, data in (files | others).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "pipe")
    with caplog.at_level(logging.WARNING, logger="facesync"):
        assert [path.name for path in images_below(tmp_path)] == ["a.jfif", "b.pgm", "c", "d.JPG"]
        found = images_below(tmp_path, subfolders=True)
    assert [str(path.relative_to(tmp_path)) for path in found] == sorted(files)
    assert caplog.messages == [
        f"{tmp_path}: passed over as not being images: 3 (the first: notes.txt)",
        f"{tmp_path}: passed over as not being images: 4 (the first: notes.txt)",
    ]
    with pytest.raises(ImageError, match="none: cannot be read"):
        images_below(tmp_path / "none")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_pipes_and_devices_are_no_images(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(ImageError, match="not a regular file"):
            read_image_rgb(path)


def test_a_file_that_is_larger_than_memory_allows_is_not_read(tmp_path):
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(20 << 30)
    with pytest.raises(ImageError, match=r"sparse.jpg: the file is too large"):
        read_image_rgb(tmp_path / "sparse.jpg")


@pytest.mark.parametrize("name", ["a:b.jpg", os.fsdecode(b"caf\xe9.jpg"), "line\nbreak.jpg"])
def test_any_file_name_will_do(tmp_path, monkeypatch, red_left, name):
    monkeypatch.chdir(tmp_path)
    save_jpeg(np.asarray(red_left), tmp_path / name)
    assert read_image_rgb(name).shape == (40, 60, 3)
    assert images_below(tmp_path) == [tmp_path / name]
