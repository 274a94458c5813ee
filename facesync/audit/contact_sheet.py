"""Contact sheets: pages of images with the findings about them, for a person to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facesync.faces.crops import resize
from facesync.faces.models import ASSETS
from facesync.files import replacing

SHOWN_OF_A_KIND = 100
"""Entries shown of a kind, evenly spread from the clearest to the most doubtful."""

_IMAGE = 112
_GAP = 8
_AROUND = 24
_COLUMNS, _ROWS = 2, 8
_IMAGES = 7  # of the widest entry: one flagged, three of its identity, three of another
_ENTRY_WIDTH = _IMAGES * (_IMAGE + _GAP) + 4 * _GAP
_LINE = 17
_ENTRY_HEIGHT = _IMAGE + 2 * _LINE + 3 * _GAP
_TITLE_HEIGHT = 52
_GROUND, _INK, _QUIET, _FLAGGED = "white", "#1b1f24", "#5b6672", "#d0342c"


@dataclass(frozen=True)
class Entry:
    """One finding.

    Attributes:
        flagged: indices of the images it is about, at most 3.
        beside: indices of those to compare with, in groups; with `flagged` at most 7.
        title: the image or identity.
        evidence: what was measured.
    """

    flagged: tuple[int, ...]
    beside: tuple[tuple[int, ...], ...]
    title: str
    evidence: str


def write_sheets(
    folder: Path, kind: str, entries: Sequence[Entry], image: Callable[[int], np.ndarray | None]
) -> list[Path]:
    """Write the entries of one kind, 16 a page, to `folder/<kind>_<page>.png`.

    Args:
        folder: made if missing; old pages of the same kind are deleted.
        kind: the page's title.
        entries: in their order; of more than `SHOWN_OF_A_KIND`, some are skipped.
        image: returns the image (uint8 RGB) of an index, or None if it cannot be shown.

    Returns:
        The pages.

    Raises:
        FileError: one cannot be written.
    """
    stem = kind.replace(" ", "_")
    for old in folder.glob(f"{stem}_*.png"):
        old.unlink()
    shown = _evenly(entries, SHOWN_OF_A_KIND)
    per_page = _COLUMNS * _ROWS
    pages = [shown[start : start + per_page] for start in range(0, len(shown), per_page)]
    paths = []
    for number, page in enumerate(pages, 1):
        title = f"{kind}: {len(entries):,}"
        if len(shown) < len(entries):
            title += f", {len(shown)} of them shown"
        sheet = _draw(f"{title} (page {number} of {len(pages)})", page, image)
        paths.append(folder / f"{stem}_{number:02}.png")
        with replacing(paths[-1]) as file:
            sheet.save(file, format="PNG")
    return paths


def _evenly(entries: Sequence[Entry], most: int) -> list[Entry]:
    if len(entries) <= most:
        return list(entries)
    return [entries[i] for i in np.linspace(0, len(entries) - 1, most).round().astype(int)]


def _draw(
    title: str, entries: Sequence[Entry], image: Callable[[int], np.ndarray | None]
) -> Image.Image:
    columns = min(_COLUMNS, len(entries))
    rows = -(-len(entries) // columns)
    width = 2 * _AROUND + columns * _ENTRY_WIDTH
    page = Image.new("RGB", (width, _TITLE_HEIGHT + _AROUND + rows * _ENTRY_HEIGHT), _GROUND)
    draw = ImageDraw.Draw(page)
    draw.text((_AROUND, 16), title, fill=_INK, font=_font(20))
    for number, entry in enumerate(entries):
        x = _AROUND + number % columns * _ENTRY_WIDTH
        y = _TITLE_HEIGHT + number // columns * _ENTRY_HEIGHT
        for line, (text, tone) in enumerate(((entry.title, _INK), (entry.evidence, _QUIET))):
            draw.text((x, y + line * _LINE), _fitting(text), fill=tone, font=_font(13))
        for left, index, flagged in _places(entry):
            box = (x + left, y + 2 * _LINE + _GAP)
            image_rgb = image(index)
            if image_rgb is not None:
                page.paste(Image.fromarray(resize(image_rgb, _IMAGE)), box)
            tone = _FLAGGED if flagged else _QUIET
            corner = (box[0] + _IMAGE - 1, box[1] + _IMAGE - 1)
            draw.rectangle((box, corner), outline=tone, width=3 if flagged else 1)
    return page


def _places(entry: Entry) -> Iterator[tuple[int, int, bool]]:
    """Yield x in pixels, index and whether it is flagged, for each image of an entry."""
    x = 0
    for group in (entry.flagged, *entry.beside):
        for index in group:
            yield x, index, group is entry.flagged
            x += _IMAGE + _GAP
        x += _GAP


def _fitting(text: str) -> str:
    """Shorten a line that is wider than its entry."""
    text = text.encode("utf-8", "replace").decode()  # file names on Linux need not be text
    room = _ENTRY_WIDTH - 2 * _GAP
    if _font(13).getlength(text) <= room:
        return text
    while text and _font(13).getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…"


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(ASSETS / "DejaVuSans.ttf", size)
