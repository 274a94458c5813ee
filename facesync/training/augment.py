"""Augmentation: faces mirrored, rotated, badly lit, blurred, far away, recompressed.

A whole batch is augmented at once, by the same code on the CPU and a GPU. All randomness comes
from outside, as one row of uniform numbers per image, so that the result for an image depends
neither on the rest of the batch nor on the number of processes.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from facesync.training.settings import AUGMENTATIONS

GREY = 127
"""Empty areas are filled with the middle of the range, not with black."""

# How often (chance, 0 to 1) and how much. Less than half of the images are neither blurred, nor
# coarse, nor recompressed nor covered: most faces in practice are good ones.
MIRROR_CHANCE = 0.5  # a face and its mirror image are one person
PLACE_CHANCE = 0.8
TURN = math.radians(10)  # the tilt of a head that remains where the crop does not correct it
ZOOM = (0.9, 1.2)  # how far detectors' boxes are too wide or too narrow
STRETCH = 0.05  # boxes differ in shape; `box` crops are stretched to a square
SHIFT = 0.06  # share of the side that a detector's box is off by
COVER_CHANCE = 0.2
COVER_SHARE = (0.03, 0.2)  # share of the area: a hand, glasses, at most half a mask
COVER_SHAPE = (0.6, 3.0)  # width over height: most things that cover faces are wide
LIGHT_CHANCE = 0.8
BRIGHTNESS = (0.5, 1.35)  # a room in the evening to a window's light; more overexposes faces
CONTRAST = (0.7, 1.3)  # haze and backlight to a hard camera curve
SATURATION = (0.5, 1.4)  # webcams in the dark are pale, phones are vivid
HUE = math.radians(8)  # more makes skin green
TINT = 0.1  # lamplight or shade that the white balance missed: red up, blue down
GREY_CHANCE = 0.08  # old photographs, infrared cameras
BLUR_CHANCE = 0.25
BLUR = (0.003, 0.018)  # sigma as a share of the side: 0.5 to 3 of 160 pixels
SHAKE = 0.8  # share of the blur that may move to the other axis: a moving head or camera
COARSE_CHANCE = 0.25
COARSE = (0.25, 0.9)  # pixels across that remain: 40 to 144 of 160, a face across the room
JPEG_CHANCE = 0.4
JPEG_QUALITY = (30, 95)  # messengers and cheap webcams to cameras

CHUNK = 64
"""Images per call, to keep intermediate results small: about 0.2 GB at 160 pixels."""

DRAWN = (
    *("mirror", "place", "turn", "zoom", "stretch", "shift_x", "shift_y"),
    *("cover", "cover_share", "cover_shape", "cover_x", "cover_y"),
    *("cover_grey", "cover_red", "cover_green", "cover_blue"),
    *("light", "brightness", "contrast", "saturation", "hue", "tint", "grey"),
    *("blur", "sigma", "shake", "coarse", "pixels", "jpeg", "quality"),
)
"""What each number of a row decides; those named like a chance above are compared with it."""

DRAWS = len(DRAWN)
"""How many uniform numbers each image needs."""

_Drawn = dict[str, torch.Tensor]  # by the names of DRAWN, each (N,)

# ITU-R BT.601, as JFIF has it.
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))

# ITU-T T.81, tables K.1 (luma) and K.2 (chroma).
# fmt: off
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61,      12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,      14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,  72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99,      18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,      47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
)
# fmt: on


def draws(*entropy: int) -> np.ndarray:
    """Draw one image's numbers, float32 (DRAWS,) in [0, 1), from whole numbers alone.

    Args:
        entropy: such as the seed, the epoch and the image's index; none below 0.
    """
    return np.random.default_rng(entropy).random(DRAWS, dtype=np.float32)


@torch.no_grad()
def augmented(preset: str, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Augment a batch.

    Args:
        preset: `none`, `basic` (mirror every second image) or `strong` (all of the above).
        images: uint8 RGB, (N, 3, S, S); not written to.
        draws: float32 in [0, 1), (N, DRAWS), on the same device.

    Returns:
        uint8 RGB, (N, 3, S, S), on the same device.

    Raises:
        ValueError: there is no such preset, or not one row of draws for each image.
    """
    if preset not in AUGMENTATIONS:
        raise ValueError(f"no augmentation {preset!r}; there are {', '.join(AUGMENTATIONS)}")
    if draws.shape != (len(images), DRAWS):
        raise ValueError(f"{len(images)} images need {DRAWS} draws each: {draws.shape}")
    if preset == "none":
        return images
    if preset == "basic":
        mirrored = draws[:, DRAWN.index("mirror")] < MIRROR_CHANCE
        return torch.where(_each(mirrored), images.flip(3), images)
    # Autocast would compute the matrix products in 16 bits: too coarse for pixels.
    with torch.autocast(images.device.type, enabled=False):
        chunks = zip(images.split(CHUNK), draws.split(CHUNK), strict=True)
        return torch.cat([_strong(*chunk) for chunk in chunks])


def _strong(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Follow the light: head, what covers it, lamps, lens, sensor, file."""
    drawn = dict(zip(DRAWN, draws.unbind(1), strict=True))
    varied = _placed(images.float(), drawn)
    varied = _covered(varied, drawn)
    varied = _lit(varied, drawn)
    varied = _softened(varied, drawn)
    quality = torch.round(_between(JPEG_QUALITY, drawn["quality"]))
    recompressed = drawn["jpeg"] < JPEG_CHANCE
    varied = torch.where(_each(recompressed), jpeg(varied, quality), varied)
    return varied.round_().clamp_(0, 255).to(torch.uint8)


def _placed(images: torch.Tensor, drawn: _Drawn) -> torch.Tensor:
    """Rotate (clockwise), zoom, stretch, shift, mirror; the outside is grey."""
    placed = drawn["place"] < PLACE_CHANCE
    turn = placed * TURN * _signed(drawn["turn"])
    zoom = torch.where(placed, _log_between(ZOOM, drawn["zoom"]), 1)
    stretch = torch.exp(placed * STRETCH * _signed(drawn["stretch"]))
    shift_x, shift_y = (placed * 2 * SHIFT * _signed(drawn[f"shift_{axis}"]) for axis in "xy")
    mirror = torch.where(drawn["mirror"] < MIRROR_CHANCE, -1.0, 1.0)

    # From a pixel of the result back to the image, both from -1 to 1.
    side = images.shape[-1]
    at = (2 * torch.arange(side, device=images.device) + 1) / side - 1
    x, y = at * mirror[:, None, None], at[:, None]
    across, down = zoom * stretch, zoom / stretch
    cos, sin = torch.cos(turn), torch.sin(turn)
    from_x = _row(cos / across) * x + _row(sin / across) * y + _row(shift_x)
    from_y = _row(-sin / down) * x + _row(cos / down) * y + _row(shift_y)
    grid = torch.stack([from_x, from_y], dim=-1)
    # grid_sample fills with 0, so let 0 be grey.
    return F.grid_sample(images - GREY, grid, align_corners=False).add_(GREY)


def _covered(images: torch.Tensor, drawn: _Drawn) -> torch.Tensor:
    """Cover part of the face with a rectangle, grey or of some colour."""
    side = images.shape[-1]
    share = _between(COVER_SHARE, drawn["cover_share"])
    shape = _log_between(COVER_SHAPE, drawn["cover_shape"])
    at = torch.arange(side, device=images.device)

    def inside(share_of_side: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        length = torch.floor(share_of_side * side)  # down: never more than the share
        start = torch.floor(where * (side - length + 1))
        return (at >= start[:, None]) & (at < (start + length)[:, None])

    columns = inside((share * shape).sqrt(), drawn["cover_x"])
    rows = inside((share / shape).sqrt(), drawn["cover_y"])
    covered = _each(drawn["cover"] < COVER_CHANCE) & (
        rows[:, None, :, None] & columns[:, None, None]
    )
    colour = 255 * torch.stack([drawn[f"cover_{c}"] for c in ("red", "green", "blue")], dim=1)
    colour = torch.where(drawn["cover_grey"][:, None] < 0.5, float(GREY), colour)
    return torch.where(covered, colour[:, :, None, None], images)


def _lit(images: torch.Tensor, drawn: _Drawn) -> torch.Tensor:
    """Change brightness, contrast, saturation, hue and tint: one matrix and offset per image."""
    lit = drawn["light"] < LIGHT_CHANCE
    grey = drawn["grey"] < GREY_CHANCE
    brightness = torch.where(lit, _log_between(BRIGHTNESS, drawn["brightness"]), 1)
    contrast = torch.where(lit, _log_between(CONTRAST, drawn["contrast"]), 1)
    saturation = torch.where(lit, _log_between(SATURATION, drawn["saturation"]), 1) * ~grey
    hue = lit * HUE * _signed(drawn["hue"])
    tint = lit * ~grey * TINT * _signed(drawn["tint"])

    # Saturation and hue scale and rotate the plane of the two chroma channels.
    to_ycc, from_ycc, *_ = _constants(images.device)
    cos, sin, none = saturation * torch.cos(hue), saturation * torch.sin(hue), 0 * hue
    chroma = torch.stack([1 + none, none, none, none, cos, -sin, none, sin, cos], dim=1)
    gain = torch.stack([1 + tint, 1 + none, 1 - tint], dim=1) * (brightness * contrast)[:, None]
    matrix = gain[:, :, None] * (from_ycc @ chroma.view(-1, 3, 3) @ to_ycc)
    # Around mid-grey, not the image's mean: a pixel depends only on itself.
    offset = GREY * (1 - contrast)
    return (
        torch.baddbmm(offset[:, None, None], matrix, images.flatten(2))
        .clamp_(0, 255)
        .view_as(images)
    )


def _softened(images: torch.Tensor, drawn: _Drawn) -> torch.Tensor:
    """Blur, then shrink by area averaging and enlarge bilinearly.

    All of it is linear and works on rows and columns separately, so for each image one S x S
    matrix acts on its columns and one on its rows: the identity matrix if nothing is to be done.
    """
    side = images.shape[-1]
    at = torch.arange(side, device=images.device, dtype=torch.float32)

    sigma = side * _log_between(BLUR, drawn["sigma"]) * (drawn["blur"] < BLUR_CHANCE)
    shake = SHAKE * _signed(drawn["shake"])
    sigmas = torch.stack([sigma * (1 + shake), sigma * (1 - shake)], dim=1).clamp(min=0.01)
    # One curve for all rows, each of which sees a different part of it.
    distance = torch.arange(1 - side, side, device=images.device)
    curve = torch.exp(distance**2 * (-0.5 / sigmas**2)[:, :, None])
    blur = curve.unfold(2, side, 1).flip(2)
    blur /= blur.sum(3, keepdim=True)  # at the edge, of what lies inside

    coarse = drawn["coarse"] < COARSE_CHANCE
    pixels = torch.where(coarse, torch.round(side * _log_between(COARSE, drawn["pixels"])), side)
    step = _row(side / pixels)
    start = at[:, None] * step  # of each coarse pixel; those beyond the last lie outside
    shrink = (torch.minimum(start + step, at + 1) - torch.maximum(start, at)).clamp_(min=0) / step
    position = torch.minimum(((at[:, None] + 0.5) / step - 0.5).clamp_(min=0), _row(pixels) - 1)
    enlarge = (1 - (position - at).abs()).clamp_(min=0)

    columns, rows = ((enlarge @ shrink)[:, None] @ blur).unbind(1)
    return columns[:, None] @ images @ rows[:, None].mT


def jpeg(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Do to images what writing them as JPEG and reading them again does.

    Baseline with the tables of ITU-T T.81's Annex K scaled as libjpeg scales them, chroma halved
    both ways (4:2:0) by averaging and enlarged again bilinearly.

    Args:
        images: float32 RGB, 0 to 255, (N, 3, S, S).
        quality: float32 whole numbers from 1 to 100, (N,).

    Returns:
        float32 RGB, whole numbers from 0 to 255, (N, 3, S, S).
    """
    side = images.shape[-1]
    to_ycc, from_ycc, tables, dct = _constants(images.device)
    scale = torch.where(quality < 50, torch.floor(5000 / quality), 200 - 2 * quality)
    steps = torch.floor((tables * _each(scale) + 50) / 100).clamp_(1, 255)  # (N, 2, 8, 8)

    beyond = -side % 16  # whole blocks of 8 in the halved chroma too
    padded = F.pad(images, (0, beyond, 0, beyond), mode="replicate") if beyond else images
    # 128, the middle, is subtracted from luma; chroma is centred already.
    ycc = (to_ycc @ padded.round().flatten(2)).view_as(padded).round_()
    luma = _requantised(ycc[:, :1] - 128, steps[:, :1], dct) + 128
    # As libjpeg rounds: halves alternately down and up.
    up = 0.25 + 0.25 * (torch.arange(padded.shape[-1] // 2, device=images.device) % 2)
    halved = F.avg_pool2d(ycc[:, 1:], 2).add_(up).floor_()
    chroma = _requantised(halved, steps[:, 1:], dct)
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear")
    ycc = torch.cat([luma, chroma], dim=1)
    return (from_ycc @ ycc.flatten(2)).round_().clamp_(0, 255).view_as(ycc)[..., :side, :side]


def _requantised(channels: torch.Tensor, steps: torch.Tensor, dct: torch.Tensor) -> torch.Tensor:
    """Round the frequencies of each 8 x 8 block of (N, C, height, width) to multiples of `steps`.

    The channels hold whole numbers around 0; `steps` are (N, 1, 8, 8), the transform (8, 8).
    """
    count, depth, height, width = channels.shape

    def transformed(values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        down = matrix @ values.reshape(-1, 8, width)
        return down.view(-1, 8) @ matrix.T

    blocks = (count, depth, height // 8, 8, width // 8, 8)
    step = steps[:, :, None, :, None, :]
    rounded = transformed(channels, dct).view(blocks).div_(step).round_().mul_(step)
    back = transformed(rounded, dct.T).view_as(channels)
    return back.round_().clamp_(-128, 127)


@lru_cache(maxsize=8)
def _constants(device: torch.device) -> tuple[torch.Tensor, ...]:
    """Cache on a device: RGB to YCbCr, back, JPEG's two tables (2, 8, 8), the DCT (8, 8)."""
    tables = torch.tensor([_LUMA, _CHROMA], dtype=torch.float32).view(2, 8, 8)
    at = torch.arange(8, dtype=torch.float64)
    dct = torch.cos(math.pi / 16 * (2 * at + 1) * at[:, None]) / 2
    dct[0] /= math.sqrt(2)
    constants = (torch.tensor(_TO_YCC), torch.tensor(_FROM_YCC), tables, dct.float())
    return tuple(constant.to(device) for constant in constants)


def _between(limits: tuple[float, float], uniform: torch.Tensor) -> torch.Tensor:
    return limits[0] + (limits[1] - limits[0]) * uniform


def _log_between(limits: tuple[float, float], uniform: torch.Tensor) -> torch.Tensor:
    """Spread evenly on a logarithmic scale: half as much is as frequent as twice as much."""
    return torch.exp(_between((math.log(limits[0]), math.log(limits[1])), uniform))


def _signed(uniform: torch.Tensor) -> torch.Tensor:
    return 2 * uniform - 1


def _each(per_image: torch.Tensor) -> torch.Tensor:
    """From (N,) to (N, 1, 1, 1), to broadcast over images."""
    return per_image[:, None, None, None]


def _row(per_image: torch.Tensor) -> torch.Tensor:
    """From (N,) to (N, 1, 1), to broadcast over matrices."""
    return per_image[:, None, None]
