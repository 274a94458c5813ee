from __future__ import annotations

import io
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from facesync.sample_images import HOPPER, photographs
from facesync.training import augment
from facesync.training.augment import DRAWN, DRAWS, augmented, draws, jpeg
from facesync.training.settings import AUGMENTATIONS

SIDE = 160
CHANCES = ("place", "cover", "light", "grey", "blur", "coarse", "jpeg")
NEVER, ALWAYS, LEAST, MIDDLE, MOST = 0.999, 0.0, 0.0, 0.5, 0.999


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    """Grace Hopper's face and parts around it, uint8 (8, 3, 160, 160)."""
    photo = cv2.resize(photographs()[HOPPER], (240, 280), interpolation=cv2.INTER_AREA)
    cuts = [photo[y : y + SIDE, x : x + SIDE] for y in (0, 25, 50, 75) for x in (20, 60)]
    return torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2).contiguous()


def rows(count: int, epoch: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.stack([draws(7, epoch, index) for index in range(count)]))


def forced(count: int = 1, **values: float) -> torch.Tensor:
    """Draws that leave an image as it is, except for `values`."""
    row = dict.fromkeys(DRAWN, MIDDLE)
    row |= dict.fromkeys(("mirror", *CHANCES), NEVER)
    assert values.keys() <= row.keys()
    return torch.tensor([list((row | values).values())] * count, dtype=torch.float32)


def strong(images: torch.Tensor, **values: float) -> torch.Tensor:
    return augmented("strong", images, forced(len(images), **values))


def psnr(images: torch.Tensor, others: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / ((images.double() - others.double()) ** 2).mean()))


def pillow_jpeg(image: torch.Tensor, quality: int) -> torch.Tensor:
    file = io.BytesIO()
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy())
    pillow.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def chroma(rgb: list[int]) -> np.ndarray:
    red, green, blue = rgb
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.array([(blue - luma) / 1.772, (red - luma) / 1.402])


def fine_detail(images: torch.Tensor) -> float:
    """Energy of what changes faster than every 4 pixels, on average."""
    window = torch.hann_window(images.shape[-1])  # or the steps at the borders count as detail
    spectrum = torch.fft.fft2(images.float() * window * window[:, None]).abs() ** 2
    fast = torch.fft.fftfreq(images.shape[-1]).abs() > 0.25
    return float(spectrum[..., fast[:, None] | fast].mean())


def test_draws_are_uniform_and_differ_by_seed_epoch_and_image():
    one = draws(1, 2, 3)
    assert one.dtype == np.float32 and one.shape == (DRAWS,)
    assert np.array_equal(one, draws(1, 2, 3))
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (3, 2, 1)):
        assert not np.isclose(one, draws(*other)).all()
    many = rows(500)
    assert many.min() >= 0 and many.max() < 1
    assert torch.allclose(many.mean(0), torch.tensor(0.5), atol=0.07)


def test_none_changes_nothing(faces):
    assert torch.equal(augmented("none", faces, rows(8)), faces)


def test_basic_mirrors_the_images_that_were_drawn_bit_for_bit(faces):
    numbers = rows(8)
    mirrored = numbers[:, DRAWN.index("mirror")] < 0.5
    assert mirrored.any() and not mirrored.all()
    made = augmented("basic", faces, numbers)
    for image, result, flipped in zip(faces, made, mirrored, strict=True):
        assert torch.equal(result, image.flip(2) if flipped else image)
    ramp = torch.arange(4, dtype=torch.uint8).expand(1000, 3, 4, 4)
    made = augmented("basic", ramp, rows(1000))
    assert 0.4 < float((made[:, 0, 0, 0] == 3).float().mean()) < 0.6


def test_strong_does_only_what_was_drawn(faces):
    assert torch.equal(strong(faces), faces)
    assert torch.equal(strong(faces, mirror=0.0), faces.flip(3))


def test_strong_gives_images_and_repeats_itself(faces):
    before = faces.clone()
    made = augmented("strong", faces, rows(8))
    assert made.dtype == torch.uint8 and made.shape == faces.shape
    assert torch.equal(faces, before)
    assert torch.equal(made, augmented("strong", faces, rows(8)))
    again = augmented("strong", faces, rows(8, epoch=1))
    assert all(not torch.equal(one, other) for one, other in zip(made, again, strict=True))


def test_an_image_is_augmented_alike_whatever_the_batch(faces, monkeypatch):
    numbers = rows(24)
    images = faces.repeat(3, 1, 1, 1)
    varied = partial(augmented, "strong")
    together = varied(images, numbers)
    alone = torch.cat([varied(images[i : i + 1], numbers[i : i + 1]) for i in range(24)])
    backwards = varied(images.flip(0), numbers.flip(0)).flip(0)
    monkeypatch.setattr(augment, "CHUNK", 5)
    in_parts = varied(images, numbers)
    # Not bit for bit: matrix products of another shape may sum in another order, and the last bit
    # of a float32 may tip a rounding, by 1 in a pixel or by a step in a JPEG frequency.
    for others in (alone, backwards, in_parts):
        differing = (together.int() - others.int()).abs() > 1
        assert float(differing.float().mean()) < 1e-3
    others, other_numbers = 255 - images, rows(24, epoch=3)
    others[2], other_numbers[2] = images[2], numbers[2]
    assert torch.equal(varied(others, other_numbers)[2], in_parts[2])


@pytest.mark.parametrize("extreme", [LEAST, MOST])
@pytest.mark.parametrize("side", [50, 112])
def test_extremes_on_any_side_stay_images(side, extreme):
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    everything = dict.fromkeys(DRAWN, extreme) | dict.fromkeys(CHANCES, ALWAYS)
    everything["grey"] = NEVER
    drawn = dict(zip(DRAWN, forced(2, **everything).unbind(1), strict=True))
    for stage in (augment._placed, augment._covered, augment._lit, augment._softened):
        made = stage(images.float(), drawn)
        assert made.shape == images.shape and made.isfinite().all()
        assert made.min() > -0.01 and made.max() < 255.01
    made = strong(images, **everything)
    assert made.shape == images.shape
    assert made.float().std() > 1


@pytest.mark.parametrize("preset", AUGMENTATIONS)
def test_an_empty_batch_stays_one(preset):
    empty = torch.empty(0, 3, SIDE, SIDE, dtype=torch.uint8)
    assert augmented(preset, empty, torch.empty(0, DRAWS)).shape == empty.shape


def test_wrong_presets_and_draws_are_refused(faces):
    with pytest.raises(ValueError, match="basic"):
        augmented("weak", faces, rows(8))
    with pytest.raises(ValueError, match="draws"):
        augmented("strong", faces, rows(7))


@pytest.mark.parametrize("mirror", [0.0, NEVER])
@pytest.mark.parametrize("turn", [LEAST, MOST])
def test_rotation_moves_a_point_on_its_circle(turn, mirror):
    image = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    image[:, :, 38:43, 118:123] = 255  # right of the middle by 40.5 and above it by 39.5
    natural = -np.log(0.9) / np.log(1.2 / 0.9)  # where the zoom is 1
    made = strong(image, place=ALWAYS, turn=turn, zoom=natural, mirror=mirror)[0, 0].float()
    ys, xs = torch.nonzero(made > 150, as_tuple=True)  # brighter than the grey from outside
    angle = (2 * turn - 1) * augment.TURN
    x, y = 40.5, -39.5
    expected_x = np.cos(angle) * x - np.sin(angle) * y
    expected_y = np.sin(angle) * x + np.cos(angle) * y
    if mirror == 0.0:
        expected_x = -expected_x
    assert float(xs.float().mean()) - 79.5 == pytest.approx(expected_x, abs=1)
    assert float(ys.float().mean()) - 79.5 == pytest.approx(expected_y, abs=1)


def test_zooming_out_and_shifting_let_grey_in():
    white = torch.full((1, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    small = strong(white, place=ALWAYS, zoom=LEAST)[0, 0]
    assert set(small[0].tolist()) == {127} and int(small[80, 80]) == 255
    assert int((small[80] == 255).sum()) == pytest.approx(0.9 * SIDE, abs=2)
    natural = -np.log(0.9) / np.log(1.2 / 0.9)
    shifted = strong(white, place=ALWAYS, zoom=natural, shift_x=MOST)[0, 0]
    assert int((shifted[80] == 127).sum()) == pytest.approx(augment.SHIFT * SIDE, abs=1)
    assert (shifted == shifted[80]).all()


def test_covering_keeps_to_its_share_and_the_rest_stays(faces):
    numbers = forced(500)
    wild = rows(500)
    for column, name in enumerate(DRAWN):
        if name.startswith("cover_"):
            numbers[:, column] = wild[:, column]
    numbers[:, DRAWN.index("cover")] = ALWAYS
    image = torch.full((500, 3, 64, 64), 7, dtype=torch.uint8)
    covered = (augmented("strong", image, numbers) != 7).any(1)
    shares = covered.float().mean((1, 2))
    # In whole pixels, each side rounded down.
    assert shares.max() <= augment.COVER_SHARE[1] and shares.min() > 0
    assert 0.15 < shares.max() and shares.min() < 0.05
    filled = covered.any(1).sum(1) * covered.any(2).sum(1)
    assert torch.equal(filled, covered.sum((1, 2)))  # one full rectangle
    anywhere = covered.any(0)
    assert anywhere[4:-4, 4:-4].all()
    assert all(edge.any() for edge in (anywhere[0], anywhere[-1], anywhere.T[0], anywhere.T[-1]))
    grey = strong(faces, cover=ALWAYS, cover_grey=0.0)
    changed = (grey != faces).any(1)
    assert (grey.movedim(1, -1)[changed] == 127).all()


@pytest.mark.parametrize("name", CHANCES)
def test_chances_hold(faces, name):
    images = faces[:1, :, 40:72, 40:72].expand(1500, -1, -1, -1)
    numbers = forced(1500, sigma=MOST)
    numbers[:, DRAWN.index(name)] = rows(1500)[:, DRAWN.index(name)]
    changed = (augmented("strong", images, numbers) != images).flatten(1).any(1)
    chance = getattr(augment, f"{name.upper()}_CHANCE")
    assert float(changed.float().mean()) == pytest.approx(chance, abs=0.04)


def test_contrast_turns_about_mid_grey():
    levels = torch.tensor([60, 127, 190], dtype=torch.uint8).view(1, 1, 1, 3).expand(1, 3, 3, 3)
    natural = -np.log(augment.BRIGHTNESS[0]) / np.log(augment.BRIGHTNESS[1] / augment.BRIGHTNESS[0])
    for strength, times in zip((LEAST, MOST), augment.CONTRAST, strict=True):
        made = strong(levels, light=ALWAYS, grey=ALWAYS, brightness=natural, contrast=strength)
        wanted = (levels.float() - 127) * times + 127
        assert (made.float() - wanted).abs().max() < 1.2


def test_brightness_contrast_and_tint_do_what_they_say(faces):
    def mean(**values: float) -> float:
        return float(strong(faces, light=ALWAYS, **values).float().mean())

    assert mean(brightness=LEAST) < 0.75 * mean() and mean(brightness=MOST) > 1.25 * mean()
    flat, hard = (strong(faces, light=ALWAYS, contrast=c).float().std() for c in (LEAST, MOST))
    assert flat < 0.8 * hard
    red, _, blue = (
        strong(faces, light=ALWAYS, tint=MOST).float() - strong(faces, light=ALWAYS)
    ).mean((0, 2, 3))
    assert red > 2 and blue < -2


def test_saturation_and_hue_spare_grey_and_change_colours():
    grey = torch.full((1, 3, 8, 8), 90, dtype=torch.uint8)
    # Where the brightness, the contrast and the saturation are 1.
    ones = {
        name: -np.log(low) / np.log(high / low)
        for name, (low, high) in {
            "brightness": augment.BRIGHTNESS,
            "contrast": augment.CONTRAST,
            "saturation": augment.SATURATION,
        }.items()
    }
    red = torch.tensor([180, 80, 80], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert torch.equal(strong(red, light=ALWAYS, **ones), red)
    for values in ({"saturation": LEAST}, {"saturation": MOST}, {"hue": LEAST}, {"hue": MOST}):
        assert torch.equal(strong(grey, light=ALWAYS, **ones | values), grey)
    colours = {
        case: strong(red, light=ALWAYS, **ones | {case[0]: case[1]})[0, :, 0, 0].int().tolist()
        for case in [("saturation", LEAST), ("saturation", MOST), ("hue", LEAST), ("hue", MOST)]
    }
    spread = {case: max(colour) - min(colour) for case, colour in colours.items()}
    assert spread["saturation", LEAST] < 60 and spread["saturation", MOST] > 120
    # Rotated one way, red becomes orange, the other way pink; never by much.
    differences = [
        colours["hue", strength][1] - colours["hue", strength][2] for strength in (0, MOST)
    ]
    assert min(differences) < -10 and max(differences) > 10
    assert max(abs(difference) for difference in differences) < 40
    vector = np.linalg.norm(chroma([180, 80, 80]))
    for strength in (LEAST, MOST):  # rotated, not stretched
        assert np.linalg.norm(chroma(colours["hue", strength])) == pytest.approx(vector, abs=1)


def test_grey_images_keep_three_equal_channels(faces):
    for values in ({}, {"light": ALWAYS, "tint": MOST}, {"jpeg": ALWAYS}):
        red, green, blue = strong(faces, grey=ALWAYS, **values).unbind(1)
        assert torch.equal(red, green) and torch.equal(green, blue)
        assert red.float().std() > 10


def test_blur_is_gaussian_blur(faces):
    made = strong(faces, blur=ALWAYS, sigma=MOST)
    sigma = augment.BLUR[1] * SIDE
    for image, result in zip(faces, made, strict=True):
        peer = cv2.GaussianBlur(image.permute(1, 2, 0).numpy().astype(np.float32), (31, 31), sigma)
        inner = np.s_[15:-15, 15:-15]  # the two treat edges differently
        difference = result.permute(1, 2, 0).numpy()[inner] - peer[inner]
        assert np.abs(difference).max() < 1.5
    assert fine_detail(made) < 0.05 * fine_detail(faces)


def test_shaking_blurs_one_axis_more():
    dot = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    dot[:, :, 78:82, 78:82] = 255
    for shake, sideways in ((LEAST, True), (MOST, False)):
        spread = strong(dot, blur=ALWAYS, sigma=MOST, shake=shake)[0, 0] > 3
        width, height = int(spread.any(0).sum()), int(spread.any(1).sum())
        assert (width > 1.5 * height) if sideways else (height > 1.5 * width)


def test_blur_and_coarseness_keep_the_light_and_flat_images(faces):
    flat = torch.full((1, 3, SIDE, SIDE), 201, dtype=torch.uint8)
    assert torch.equal(strong(flat, blur=ALWAYS, sigma=MOST, coarse=ALWAYS, pixels=LEAST), flat)
    made = strong(faces, coarse=ALWAYS, pixels=LEAST)
    assert torch.allclose(made.float().mean((2, 3)), faces.float().mean((2, 3)), atol=1)


def test_coarseness_is_shrinking_by_area_and_enlarging(faces):
    made = strong(faces, coarse=ALWAYS, pixels=LEAST)
    for image, result in zip(faces, made, strict=True):
        small = cv2.resize(
            image.permute(1, 2, 0).numpy().astype(np.float32),
            (40, 40),
            interpolation=cv2.INTER_AREA,
        )
        peer = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        assert np.abs(result.permute(1, 2, 0).numpy() - peer).max() < 1
    assert fine_detail(made) < 0.05 * fine_detail(faces)
    details = [fine_detail(strong(faces, coarse=ALWAYS, pixels=p)) for p in (LEAST, MIDDLE, MOST)]
    assert details[0] < details[1] < details[2]


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 95])
@pytest.mark.parametrize("side", [160, 112, 101])
def test_jpeg_is_what_pillow_writes_and_reads(faces, side, quality):
    images = faces[:, :, :side, :side].contiguous()
    made = jpeg(images.float(), torch.full((8,), float(quality)))
    peers = torch.stack([pillow_jpeg(image, quality) for image in images])
    # What differs are frequencies halfway between two steps, which libjpeg's whole-number
    # arithmetic tips the other way.
    assert psnr(made, peers) > 44
    assert psnr(made, peers) > psnr(images, peers) + 6


def test_each_image_has_its_own_jpeg_quality_and_loses_more_at_a_lower_one(faces):
    qualities = torch.tensor([30.0, 95.0] * 4)
    made = jpeg(faces.float(), qualities)
    for index, quality in enumerate(qualities):
        assert torch.equal(made[index], jpeg(faces[index : index + 1].float(), quality[None])[0])
    kept = [psnr(faces, jpeg(faces.float(), torch.full((8,), q))) for q in (30.0, 60.0, 90.0)]
    assert kept[0] + 2 < kept[1] < kept[2] - 2


def test_strong_recompresses_with_the_quality_drawn(faces):
    low, high = augment.JPEG_QUALITY
    for strength, quality in ((LEAST, low), (MOST, high)):
        made = strong(faces, jpeg=ALWAYS, quality=strength)
        assert torch.equal(made, jpeg(faces.float(), torch.full((8,), float(quality))).byte())


def test_autocast_does_not_coarsen_pixels(faces):
    wanted = augmented("strong", faces, rows(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augmented("strong", faces, rows(8)), wanted)
