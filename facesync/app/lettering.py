"""Text in any script, drawn with PIL: DejaVu Sans first, then the fonts of this system.

DejaVu Sans ships in `facesync/assets` and has Latin, Greek, Cyrillic, Arabic and Hebrew letters.
What no font has is written as code points, never as empty boxes.
"""

from __future__ import annotations

import logging
import os
import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont, features

from facesync.faces.models import ASSETS

log = logging.getLogger(__name__)

_SHAPED = {"Arabic", "Syriac", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil",
           "Telugu", "Kannada", "Malayalam", "Sinhala", "Khmer", "Myanmar", "Tibetan"}  # fmt: skip
"""Scripts whose letters change with their neighbours, by the first word of a letter's name."""

_OWN_FONT = str(ASSETS / "DejaVuSans.ttf")
_JOINERS = "\u200c\u200d"
_FIXED_FOLDERS = ("/System/Library/Fonts", "/Library/Fonts", "C:/Windows/Fonts")
_NO_LETTER = "\U0010fffe"  # Has no glyph in any font, so that its glyph is that of no letter.

Rgb = tuple[int, int, int]
Run = tuple[ImageFont.FreeTypeFont, str]


def width(text: str, size: int) -> float:
    """Measure text of one line, in pixels."""
    return sum(font.getlength(part, direction=_direction()) for font, part in runs(text, size))


def write(
    draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, colour: Rgb, size: int
) -> None:
    """Write a line of text from `xy`, the left end of its middle."""
    x, middle = xy
    ascent, descent = _font(_OWN_FONT, size).getmetrics()
    for font, part in runs(text, size):
        at = (x, middle + (ascent - descent) / 2)
        draw.text(at, part, colour, font, anchor="ls", direction=_direction())
        x += font.getlength(part, direction=_direction())


def shortened(text: str, size: int, limit: float) -> str:
    """Shorten text to a width in pixels, with an ellipsis."""
    if width(text, size) <= limit:
        return text
    while text and width(text + "…", size) > limit:
        text = text[:-1]
    return text + "…"


def wrapped(text: str, size: int, limit: float) -> list[str]:
    """Break text into lines of at most a width in pixels, at least one: at spaces if possible."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if width(longer, size) <= limit:
            lines[-1] = longer
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while len(word) > 1 and width(word, size) > limit:
            end = next(
                n for n in range(len(word) - 1, 0, -1) if n == 1 or width(word[:n], size) <= limit
            )
            lines[-1:] = [word[:end], word[end:]]
            word = word[end:]
    return lines


@lru_cache(maxsize=256)
def runs(text: str, size: int) -> tuple[Run, ...]:
    """Split a line of text into parts, each with the font that has its letters."""
    parts: list[list[str]] = []
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cf") and letter not in _JOINERS:
            continue
        if parts and (letter in _JOINERS or letter.isspace()):
            parts[-1][1] += letter
            continue
        before = parts[-1][0] if parts else _OWN_FONT
        if _direction() is None:
            _say_unshaped(_script(letter))
        if letter.isascii():
            path = _OWN_FONT
        elif _has(before, letter):  # marks stay with their letters
            path = before
        elif found := _path_for(letter):
            path = found
        else:
            path, letter = _OWN_FONT, f"U+{ord(letter):04X} "
        if parts and path == parts[-1][0]:
            parts[-1][1] += letter
        else:
            parts.append([path, letter])
    return tuple((_font(path, size), part) for path, part in parts)


@lru_cache(maxsize=4096)
def _path_for(letter: str) -> str | None:
    """Find a font that has a letter."""
    for path in (_OWN_FONT, *_system_fonts()):
        if _has(path, letter):
            return path
    _say_missing(_script(letter))
    return None


def _script(letter: str) -> str:
    """Return the first word of a letter's name, such as `Thai`."""
    word = unicodedata.name(letter, "such").split()[0]
    return word if word == "CJK" else word.capitalize()


@lru_cache
def _say_missing(script: str) -> None:
    log.warning(
        "No font of this system has %s letters: they are shown as code points (U+…)", script
    )


@lru_cache
def _say_unshaped(script: str) -> None:
    if script in _SHAPED:
        log.warning(
            "This Pillow lacks libraqm: %s letters are not joined as they should be", script
        )


@lru_cache(maxsize=512)
def _plain(path: str) -> ImageFont.FreeTypeFont | None:
    """Open a font to look at single letters; None if it is broken or has coloured images only."""
    try:
        return ImageFont.truetype(path, 20, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _has(path: str, letter: str) -> bool:
    font = _plain(path)
    if font is None or "\ud800" <= letter <= "\udfff":  # half of a pair, which PIL cannot draw
        return False
    return _glyph(font, letter) != _glyph(font, _NO_LETTER)


def _glyph(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=1)
def _system_fonts() -> list[str]:
    """List the font files of this system, upright ones without serifs first."""
    shares = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    folders = [
        *(f"{share}/fonts" for share in shares.split(":")),
        *map(os.path.expanduser, ("~/.local/share/fonts", "~/.fonts", "~/Library/Fonts")),
        *_FIXED_FOLDERS,
    ]
    files = [
        os.path.join(folder, name)
        for top in folders
        for folder, _, names in os.walk(top)
        for name in names
        if name.lower().endswith((".ttf", ".ttc", ".otf"))
    ]
    styled = ("bold", "black", "heavy", "light", "thin", "italic", "oblique", "mono", "serif")
    return sorted(files, key=lambda file: (any(s in Path(file).name.lower() for s in styled), file))


@lru_cache(maxsize=64)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=1)
def _direction() -> str | None:
    """Lines run from the left, whatever the script of their first letter."""
    return "ltr" if features.check("raqm") else None
