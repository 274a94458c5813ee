"""Every script is drawn by a font that has it, or as code points; lines fit and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import features

from facesync.app import lettering
from facesync.app.lettering import runs, shortened, width, wrapped


@pytest.fixture(autouse=True)
def no_fonts(monkeypatch, tmp_path):
    """A system without fonts of its own."""
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(lettering, "_FIXED_FOLDERS", ())
    cached = [value for value in vars(lettering).values() if hasattr(value, "cache_clear")]
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.fixture
def font(tmp_path):
    """Install a font that has the letters given, as boxes with a hole, and no others."""

    def install(name: str, letters: str) -> str:
        glyphs = [".notdef", *(f"u{ord(letter):04X}" for letter in letters)]
        pen = TTGlyphPen(None)
        pen.moveTo((50, 0))
        for point in ((50, 700), (900, 700), (300, 300)):
            pen.lineTo(point)
        pen.closePath()
        builder = FontBuilder(1000)
        builder.setupGlyphOrder(glyphs)
        builder.setupCharacterMap(dict(zip(map(ord, letters), glyphs[1:], strict=True)))
        shapes = dict.fromkeys(glyphs, pen.glyph()) | {".notdef": TTGlyphPen(None).glyph()}
        builder.setupGlyf(shapes)
        builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": name, "styleName": "Regular"})
        builder.setupOS2()
        builder.setupPost()
        path = tmp_path / "share" / "fonts" / "of" / f"{name}.ttf"
        path.parent.mkdir(parents=True, exist_ok=True)
        builder.save(path)
        return str(path)

    return install


def parts(text: str) -> list[tuple[str, str]]:
    """The parts of a text, each after the file name of its font."""
    return [(str(font.path).rpartition("/")[2], part) for font, part in runs(text, 20)]


def test_a_font_of_the_system_has_what_our_own_lacks(font, caplog):
    font("Han", "張偉")
    font("Thai", "สมชาย")
    Path(font("Broken", "張")).write_bytes(b"no font")
    assert parts("张 張 偉 is สม José") == [
        ("DejaVuSans.ttf", "U+5F20  "),
        ("Han.ttf", "張 偉 "),
        ("DejaVuSans.ttf", "is "),
        ("Thai.ttf", "สม "),
        ("DejaVuSans.ttf", "José"),
    ]
    assert caplog.text.count("No font of this system has CJK letters") == 1


def test_upright_fonts_come_first(font):
    font("AaaBold", "張")
    font("ZzzSans", "張")
    assert parts("張") == [("ZzzSans.ttf", "張")]


@pytest.mark.parametrize(
    ("name", "script"),
    [("張偉", "CJK"), ("प्रिया", "Devanagari"), ("김민수", "Hangul"), ("さくら", "Hiragana"),
     ("สมชาย", "Thai"), ("\U0010fffd\udcff", "Such")],
)  # fmt: skip
def test_what_no_font_has_is_written_as_code_points_and_said(name, script, caplog):
    (part,) = parts(name)
    assert part == ("DejaVuSans.ttf", "".join(f"U+{ord(letter):04X} " for letter in name))
    assert f"has {script} letters: they are shown as code points" in caplog.text


@pytest.mark.parametrize("name", ["José Ångström", "عمر", "שרה", "Ελένη", "Олег", "Ng̃uyễn"])
def test_our_own_font_has_these(name, caplog):
    assert parts(name) == [("DejaVuSans.ttf", name)]
    assert caplog.text == ""


def test_letters_that_are_not_joined_are_said(monkeypatch, caplog):
    monkeypatch.setattr(features, "check", lambda what: False)
    runs("José", 20)
    assert caplog.text == ""
    runs("عمر", 20)
    assert "lacks libraqm: Arabic letters are not joined" in caplog.text


def test_control_characters_are_left_out():
    assert parts("A\x00d\u202ea\n") == [("DejaVuSans.ttf", "Ada")]


@pytest.mark.parametrize("text", ["", "Ada", "check its cable or connection " * 9, "n" * 300])
def test_wrapped_lines_fit_and_lose_nothing(text):
    lines = wrapped(text, 20, 300)
    assert all(width(line, 20) <= 300 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_shortened_text_fits():
    assert shortened("Ada", 20, 300) == "Ada"
    short = shortened("n" * 300, 20, 300)
    assert short.endswith("…") and width(short, 20) <= 300
