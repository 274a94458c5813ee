"""What the window shows: the image with boxes around faces, and a strip of text below it.

Whatever stays the same from frame to frame is drawn once and cached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw

from facesync.app.lettering import Rgb, shortened, width, wrapped, write

MAX_WIDTH, MAX_HEIGHT = 1280, 660
"""Largest canvas, strip included: it fits a screen of 1366 x 768 with its bars."""

MIN_WIDTH = 640
"""Smallest width that has room for the text."""

NEUTRAL: Rgb = (240, 243, 246)
GOOD: Rgb = (74, 214, 149)
ATTENTION: Rgb = (247, 187, 84)
BAD: Rgb = (245, 118, 112)
"""Colours of text and boxes: neutral, accepted, attention needed, denied or broken."""

GROUND: Rgb = (20, 23, 28)
"""Colour behind the text, and of what surrounds the image."""

_QUIET: Rgb = (146, 156, 170)
_RULE: Rgb = (58, 64, 74)

_STRIP_HEIGHT = 88  # of a line of status and one of keys; more lines cover the image
_LINE, _MOST_LINES = 28, 8
_SMOOTH = 2  # Strips are drawn this many times larger and shrunk: PIL does not smooth edges.


@dataclass(frozen=True)
class Mark:
    """A box around a face.

    Attributes:
        box_xyxy: left, top, right, bottom in pixels of the camera's frame.
        tone: its colour.
        label: text above it, if any.
        track: number of the face that is followed, if it is.
    """

    box_xyxy: tuple[float, ...]
    tone: Rgb
    label: str = ""
    track: int | None = None


@dataclass(frozen=True)
class Ring:
    """A ring around a face that is asked to turn: it fills from the side asked for, both ways.

    Attributes:
        centre_xy, radius: in pixels of the camera's frame.
        side: where to turn, as a step in the frame: (1, 0) is to its right, (0, -1) up; (0, 0)
            for any side, where it fills from below.
        filled: how far the turn has come, 0…1.
    """

    centre_xy: tuple[float, float]
    radius: float
    side: tuple[int, int] = (0, 0)
    filled: float = 0.0


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
        ring: around the face that is asked to turn, if one is.
    """

    status: str
    tone: Rgb = NEUTRAL
    hint: str = ""
    keys: tuple[tuple[str, str], ...] = ()
    progress: tuple[int, int] | None = None
    marks: tuple[Mark, ...] = ()
    ring: Ring | None = None


def draw(frame_bgr: np.ndarray | None, view: View, *, mirrored: bool = False) -> np.ndarray:
    """Draw what the window shows.

    Args:
        frame_bgr: uint8, (height, width, 3), of any size; None while there is none.
        view: boxes and text; boxes are in the pixels of `frame_bgr`.
        mirrored: show the image, but not the text, as in a mirror.

    Returns:
        canvas_bgr, uint8, at least 640 pixels wide and at most 1280 x 660.
    """
    if frame_bgr is None:
        frame_bgr = np.full((480, MIN_WIDTH, 3), GROUND[::-1], dtype=np.uint8)
    high, wide = frame_bgr.shape[:2]
    zoom = min(MAX_WIDTH / wide, (MAX_HEIGHT - _STRIP_HEIGHT) / high, max(1, MIN_WIDTH / wide))
    size_wh = max(1, round(wide * zoom)), max(1, round(high * zoom))
    image = cv2.resize(frame_bgr, size_wh)  # averaging would cost 10 ms more of a large frame
    if mirrored:
        image = cv2.flip(image, 1)
    for mark in view.marks:
        left, top, right, bottom = (round(value * zoom) for value in mark.box_xyxy)
        if mirrored:
            left, right = size_wh[0] - right, size_wh[0] - left
        _draw_mark(image, (left, top, right, bottom), mark)
    if view.ring is not None:
        _draw_ring(image, view.ring, zoom, mirrored=mirrored)
    if size_wh[0] < MIN_WIDTH:
        side = MIN_WIDTH - size_wh[0]
        sides = side // 2, side - side // 2
        image = cv2.copyMakeBorder(image, 0, 0, *sides, cv2.BORDER_CONSTANT, value=GROUND[::-1])
    strip = _strip(image.shape[1], replace(view, marks=(), ring=None))
    shown = max(0, len(image) + _STRIP_HEIGHT - len(strip))
    return np.vstack([image[:shown], strip])


def _draw_mark(image: np.ndarray, box: tuple[int, int, int, int], mark: Mark) -> None:
    """Draw a thin box with round corners, and its label if there is room."""
    left, top, right, bottom = box
    radius = max(2, min(16, (right - left) // 5, (bottom - top) // 5))
    # A darker line underneath keeps it visible on white.
    for colour, thickness in ((GROUND, 4), (mark.tone, 2)):
        _rounded_frame(image, box, radius, colour[::-1], thickness)
    if mark.label:
        label, opacity = _label(mark.label, mark.tone)
        height, width = label.shape[:2]
        x = min(max(0, left), image.shape[1] - width)
        y = top - height - 6 if top >= height + 6 else bottom + 6
        if x >= 0 and 0 <= y <= image.shape[0] - height:
            under = image[y : y + height, x : x + width]
            under[:] = under + (label - under.astype(np.float32)) * opacity


def _draw_ring(image: np.ndarray, ring: Ring, zoom: float, *, mirrored: bool) -> None:
    """Draw the ring, whole within the image, and an arrow on the side asked for."""
    high, wide = image.shape[:2]
    radius = max(8, round(min(ring.radius * zoom, 0.42 * min(high, wide))))
    room = radius + 16  # of the arrow
    x, y = (round(value * zoom) for value in ring.centre_xy)
    x = min(max(wide - 1 - x if mirrored else x, room), max(room, wide - room))
    y = min(max(y, room), max(room, high - room))
    to_right, down = (-ring.side[0] if mirrored else ring.side[0]), ring.side[1]
    for colour, thickness in ((GROUND, 9), (_QUIET, 5)):
        cv2.circle(image, (x, y), radius, colour[::-1], thickness, cv2.LINE_AA)
    towards = round(float(np.degrees(np.arctan2(down or not to_right, to_right))))
    half = round(180 * min(1.0, ring.filled))
    if half > 0:
        arc = cv2.ellipse2Poly((x, y), (radius, radius), 0, towards - half, towards + half, 4)
        cv2.polylines(image, [np.asarray(arc)], False, GOOD[::-1], 5, cv2.LINE_AA)
    if (to_right, down) == (0, 0):
        return
    tip = np.array([to_right, down])
    across = np.array([-down, to_right])
    inner = tip * (radius - 9)
    corners = np.stack([tip * (radius + 15), inner + across * 20, inner - across * 20])
    corners += np.array([x, y])
    cv2.fillConvexPoly(image, corners, ATTENTION[::-1], cv2.LINE_AA)
    cv2.polylines(image, [corners], True, GROUND[::-1], 2, cv2.LINE_AA)


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
    size = 15 * _SMOOTH
    text = shortened(text, size, 320 * _SMOOTH)
    wide, high = round(width(text, size)) + 16 * _SMOOTH, 24 * _SMOOTH
    image = Image.new("RGB", (wide, high), tone)
    write(ImageDraw.Draw(image), (8 * _SMOOTH, high // 2), text, GROUND, size)
    mask = Image.new("RGB", (wide, high))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, wide - 1, high - 1), 5 * _SMOOTH, (255, 255, 255))
    return _finished(image), _finished(mask).astype(np.float32) / 255


@lru_cache(maxsize=16)
def _strip(wide: int, view: View) -> np.ndarray:
    """Draw the strip below the image, BGR: status and progress, then the keys or a hint.

    What does not fit in a line goes on in the next; nothing is cut off.
    """
    s = _SMOOTH
    margin, indent, first, small = 20 * s, 42 * s, 30 * s, 14 * s
    right = wide * s - margin
    bar, gap = 26 * s, 5 * s
    taken, total = view.progress or (0, 0)
    bars = right - total * (bar + gap)

    room = (bars if total else right) - margin - indent
    size = 19 * s if width(view.status, 19 * s) <= room else 16 * s
    status = wrapped(view.status, size, room)[:_MOST_LINES]
    second = first + 34 * s + (len(status) - 1) * _LINE * s
    hints = wrapped(view.hint, small, right - indent)[:_MOST_LINES]
    rows = _rows(view.keys, small, margin, right) if view.keys else [[]] * len(hints)

    high = second + ((len(rows) - 1) * _LINE + 24) * s
    image = Image.new("RGB", (wide * s, high), GROUND)
    draw = ImageDraw.Draw(image)
    for number in range(total):
        x = bars + gap + number * (bar + gap)
        colour = GOOD if number < taken else _RULE
        draw.rounded_rectangle((x, first - 3 * s, x + bar, first + 3 * s), 3 * s, colour)
    draw.ellipse((margin, first - 5 * s, margin + 10 * s, first + 5 * s), view.tone)
    for number, line in enumerate(status):
        write(draw, (indent, first + number * _LINE * s), line, NEUTRAL, size)
    for number, row in enumerate(rows):
        y = second + number * _LINE * s
        for x, cap, key, meaning in row:
            box = (x, y - 12 * s, x + cap, y + 12 * s)
            draw.rounded_rectangle(box, 5 * s, outline=_RULE, width=s, fill=(33, 37, 44))
            write(draw, (x + (cap - width(key, small)) / 2, y), key, NEUTRAL, small)
            write(draw, (x + cap + 8 * s, y), meaning, _QUIET, small)
        if not row:
            write(draw, (indent, y), hints[number], _QUIET, small)
    return _finished(image)


def _rows(
    keys: tuple[tuple[str, str], ...], size: int, left: int, right: int
) -> list[list[tuple[int, int, str, str]]]:
    """Lay out keys in rows: where each begins, the width of its cap, the key and its meaning."""
    rows: list[list[tuple[int, int, str, str]]] = [[]]
    x = left
    for key, meaning in keys:
        cap = max(24 * _SMOOTH, round(width(key, size)) + 14 * _SMOOTH)
        needed = cap + 8 * _SMOOTH + round(width(meaning, size))
        if rows[-1] and x + needed > right:
            rows.append([])
            x = left
        rows[-1].append((x, cap, key, meaning))
        x += needed + 24 * _SMOOTH
    return rows


def _finished(image: Image.Image) -> np.ndarray:
    """Shrink a drawing to its final size, in OpenCV's colour order."""
    size_wh = image.width // _SMOOTH, image.height // _SMOOTH
    shrunk = image.resize(size_wh, Image.Resampling.BOX)
    return np.ascontiguousarray(np.asarray(shrunk)[:, :, ::-1])
