"""What the window shows: the image with boxes around faces, and a strip of text below it.

Text is drawn with PIL, which can write every name that DejaVu Sans has the characters for.
Whatever stays the same from frame to frame is drawn once and cached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MAX_WIDTH, MAX_HEIGHT = 1280, 720
"""Largest canvas, strip included: it fits the screen of a small laptop."""

MIN_WIDTH = 640
"""Smallest width that has room for the text."""

Rgb = tuple[int, int, int]

NEUTRAL: Rgb = (240, 243, 246)
GOOD: Rgb = (74, 214, 149)
ATTENTION: Rgb = (247, 187, 84)
BAD: Rgb = (245, 118, 112)
"""Colours of text and boxes: neutral, accepted, attention needed, denied or broken."""

_GROUND: Rgb = (20, 23, 28)
_QUIET: Rgb = (146, 156, 170)
_RULE: Rgb = (58, 64, 74)

_STRIP_HEIGHT = 88
_SMOOTH = 2  # Strips are drawn this many times larger and shrunk: PIL does not smooth edges.


@dataclass(frozen=True)
class Mark:
    """A box around a face.

    Attributes:
        box_xyxy: left, top, right, bottom in pixels of the camera's frame.
        tone: its colour.
        label: text above it, if any.
    """

    box_xyxy: tuple[float, ...]
    tone: Rgb
    label: str = ""


@dataclass(frozen=True)
class View:
    """What a window shows besides the camera's image.

    Attributes:
        status: one line that says what is going on.
        tone: colour of the dot before it.
        hint: what to do about it; shown if there are no keys.
        keys: pairs of a key and what it does.
        progress: how many of how many samples are taken, or None.
        marks: boxes around faces.
    """

    status: str
    tone: Rgb = NEUTRAL
    hint: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    progress: tuple[int, int] | None = None
    marks: tuple[Mark, ...] = ()


def draw(frame_bgr: np.ndarray | None, view: View, *, mirrored: bool = False) -> np.ndarray:
    """Draw what the window shows.

    Args:
        frame_bgr: uint8, (height, width, 3), of any size; None while there is none.
        view: boxes and text; boxes are in the pixels of `frame_bgr`.
        mirrored: show the image, but not the text, as in a mirror.

    Returns:
        canvas_bgr, uint8, at least 640 pixels wide and at most 1280 x 720.
    """
    if frame_bgr is None:
        frame_bgr = np.full((480, MIN_WIDTH, 3), _GROUND[::-1], dtype=np.uint8)
    height, width = frame_bgr.shape[:2]
    zoom = min(MAX_WIDTH / width, (MAX_HEIGHT - _STRIP_HEIGHT) / height, max(1, MIN_WIDTH / width))
    size_wh = max(1, round(width * zoom)), max(1, round(height * zoom))
    image = cv2.resize(frame_bgr, size_wh)  # averaging would cost 10 ms more of a large frame
    if mirrored:
        image = cv2.flip(image, 1)
    for mark in view.marks:
        left, top, right, bottom = (round(value * zoom) for value in mark.box_xyxy)
        if mirrored:
            left, right = size_wh[0] - right, size_wh[0] - left
        _draw_mark(image, (left, top, right, bottom), mark)
    if size_wh[0] < MIN_WIDTH:
        side = MIN_WIDTH - size_wh[0]
        sides = side // 2, side - side // 2
        image = cv2.copyMakeBorder(image, 0, 0, *sides, cv2.BORDER_CONSTANT, value=_GROUND[::-1])
    words = replace(view, marks=())
    return np.vstack([image, _strip(image.shape[1], words)])


def _draw_mark(image: np.ndarray, box: tuple[int, int, int, int], mark: Mark) -> None:
    """Draw a thin box with round corners, and its label if there is room."""
    left, top, right, bottom = box
    radius = max(2, min(16, (right - left) // 5, (bottom - top) // 5))
    # A darker line underneath keeps it visible on white.
    for colour, thickness in ((_GROUND, 4), (mark.tone, 2)):
        _rounded_frame(image, box, radius, colour[::-1], thickness)
    if mark.label:
        label, opacity = _label(mark.label, mark.tone)
        height, width = label.shape[:2]
        x = min(max(0, left), image.shape[1] - width)
        y = top - height - 6 if top >= height + 6 else bottom + 6
        if x >= 0 and 0 <= y <= image.shape[0] - height:
            under = image[y : y + height, x : x + width]
            under[:] = under + (label - under.astype(np.float32)) * opacity


def _rounded_frame(
    image: np.ndarray, box: tuple[int, int, int, int], radius: int, bgr: Rgb, thickness: int
) -> None:
    left, top, right, bottom = box
    corners = (
        (right - radius, bottom - radius, 0),
        (left + radius, bottom - radius, 90),
        (left + radius, top + radius, 180),
        (right - radius, top + radius, 270),
    )
    arcs = [
        cv2.ellipse2Poly((x, y), (radius, radius), 0, start, start + 90, 6)
        for x, y, start in corners
    ]
    cv2.polylines(image, [np.concatenate(arcs)], True, bgr, thickness, cv2.LINE_AA)


@lru_cache(maxsize=64)
def _label(text: str, tone: Rgb) -> tuple[np.ndarray, np.ndarray]:
    """Draw dark text on a coloured ground, BGR; also return the opacity that rounds its corners."""
    font = _font(15 * _SMOOTH)
    text = _shortened(text, font, 320 * _SMOOTH)
    width = round(font.getlength(text)) + 16 * _SMOOTH
    height = 24 * _SMOOTH
    image = Image.new("RGB", (width, height), tone)
    draw = ImageDraw.Draw(image)
    draw.text((8 * _SMOOTH, height // 2), text, _GROUND, font, anchor="lm")
    mask = Image.new("RGB", (width, height))
    ImageDraw.Draw(mask).rounded_rectangle(
        (0, 0, width - 1, height - 1), 5 * _SMOOTH, (255, 255, 255)
    )
    return _finished(image), _finished(mask).astype(np.float32) / 255


@lru_cache(maxsize=16)
def _strip(width: int, view: View) -> np.ndarray:
    """Draw the strip below the image, BGR: status and progress, then the keys or a hint."""
    s = _SMOOTH
    image = Image.new("RGB", (width * s, _STRIP_HEIGHT * s), _GROUND)
    draw = ImageDraw.Draw(image)
    margin, first, second = 20 * s, 30 * s, 64 * s

    right = width * s - margin
    if view.progress is not None:
        taken, total = view.progress
        bar, gap = 26 * s, 5 * s
        x = right - total * bar - (total - 1) * gap
        right = x - margin
        for number in range(total):
            colour = GOOD if number < taken else _RULE
            draw.rounded_rectangle((x, first - 3 * s, x + bar, first + 3 * s), 3 * s, colour)
            x += bar + gap

    draw.ellipse((margin, first - 5 * s, margin + 10 * s, first + 5 * s), view.tone)
    x = margin + 22 * s
    large, small = _font(19 * s), _font(14 * s)
    font = large if large.getlength(view.status) <= right - x else _font(16 * s)
    draw.text((x, first), _shortened(view.status, font, right - x), NEUTRAL, font, anchor="lm")

    if not view.keys:
        hint = _shortened(view.hint, small, width * s - margin - x)
        draw.text((x, second), hint, _QUIET, small, anchor="lm")
    x = margin
    for key, meaning in view.keys:
        cap = max(24 * s, round(small.getlength(key)) + 14 * s)
        box = (x, second - 12 * s, x + cap, second + 12 * s)
        draw.rounded_rectangle(box, 5 * s, outline=_RULE, width=s, fill=(33, 37, 44))
        draw.text((x + cap / 2, second), key, NEUTRAL, small, anchor="mm")
        x += cap + 8 * s
        draw.text((x, second), meaning, _QUIET, small, anchor="lm")
        x += round(small.getlength(meaning)) + 24 * s
    return _finished(image)


def _finished(image: Image.Image) -> np.ndarray:
    """Shrink a drawing to its final size, in OpenCV's colour order."""
    size_wh = image.width // _SMOOTH, image.height // _SMOOTH
    shrunk = image.resize(size_wh, Image.Resampling.BOX)
    return np.ascontiguousarray(np.asarray(shrunk)[:, :, ::-1])


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Shorten text to a width in pixels, with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which comes with matplotlib."""
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), size)
