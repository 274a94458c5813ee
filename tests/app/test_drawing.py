"""The canvas fits a screen, names are written, nothing odd breaks it."""

from __future__ import annotations

import numpy as np
import pytest

from facesync.app.drawing import ATTENTION, GOOD, NEUTRAL, Mark, Ring, View, draw

KEYS = (("C", "take a sample"), ("Q", "give up"))


def black(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "size_wh", [(640, 480), (1920, 1080), (368, 656), (80, 60), (20000, 10), (10, 20000), (1, 1)]
)
def test_every_frame_fits_a_small_screen(size_wh):
    mark = Mark((-5, -5, size_wh[0] * 2, size_wh[1]), GOOD, "Ada")
    canvas = draw(black(*size_wh), View("Ready", keys=KEYS, progress=(2, 5), marks=(mark,)))
    height, width = canvas.shape[:2]
    assert canvas.dtype == np.uint8
    assert 640 <= width <= 1280
    assert height <= 660


def test_the_frame_itself_is_left_alone():
    frame = black(640, 480)
    draw(frame, View("x", marks=(Mark((10, 10, 90, 90), GOOD, "Ada"),)), mirrored=True)
    assert not frame.any()


def coloured(canvas_bgr: np.ndarray, tone: tuple[int, int, int]) -> np.ndarray:
    """Columns of the image in which a tone stands."""
    return np.flatnonzero((canvas_bgr[:480] == tone[::-1]).all(axis=2).any(axis=0))


def test_the_box_stands_around_the_face_and_is_mirrored_with_it():
    view = View("x", marks=(Mark((100, 100, 200, 220), GOOD),))
    columns = coloured(draw(black(640, 480), view), GOOD)
    assert columns.min() == pytest.approx(100, abs=2)
    assert columns.max() == pytest.approx(200, abs=2)
    columns = coloured(draw(black(640, 480), view, mirrored=True), GOOD)
    assert columns.min() == pytest.approx(440, abs=2)
    assert columns.max() == pytest.approx(540, abs=2)


def test_the_image_is_mirrored_and_the_words_are_not():
    frame = black(640, 480)
    frame[:, :10] = 255
    plain, mirrored = (draw(frame, View("Words"), mirrored=m) for m in (False, True))
    np.testing.assert_array_equal(plain[:480, ::-1], mirrored[:480])
    np.testing.assert_array_equal(plain[480:], mirrored[480:])


@pytest.mark.parametrize("name", ["José Ångström", "張偉", "😀👩‍🚀", "عمر", "n" * 300, "\x00"])
def test_any_name_can_be_written(name):
    empty, written = (
        draw(black(640, 480), View(status, marks=(Mark((100, 100, 200, 220), GOOD, label),)))
        for status, label in (("", ""), (name, name))
    )
    assert empty.shape == written.shape
    assert (empty != written).any() or name == "\x00"


def test_accents_make_a_difference():
    plain, accented = (draw(None, View(name)) for name in ("Jose", "José"))
    assert (plain != accented).any()


def test_samples_taken_are_shown():
    shown = [draw(None, View("", NEUTRAL, progress=(n, 5))) for n in range(6)]
    green = [int((canvas == GOOD[::-1]).all(axis=2).sum()) for canvas in shown]
    assert green == sorted(set(green))


def test_long_texts_go_on_in_the_next_line_over_the_image():
    """Nothing is cut off, and the window keeps its size."""
    words = "what is wrong with the camera, and what helps against it; " * 3
    for long in (View(words), View("x", hint=words), View("x", keys=KEYS * 5)):
        short, longer = draw(black(640, 480), View("x", keys=KEYS)), draw(black(640, 480), long)
        assert short.shape == longer.shape
        ground = longer[440, 5]
        assert (short[440, 5] != ground).any()  # there the strip has grown into the image
        assert (longer[440:, -10:] == ground).all()  # no text runs into the edge


def test_a_hint_stands_where_the_keys_would():
    bare, hint, keys = (
        draw(None, view) for view in (View("x"), View("x", hint="try again"), View("x", keys=KEYS))
    )
    assert (bare != hint).any()
    assert (hint != keys).any()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("side", [(1, 0), (-1, 0), (0, -1), (0, 1)])
def test_the_ring_fills_from_the_side_asked_for_as_the_person_sees_it(side, mirrored):
    def middle(filled: float, tone: tuple[int, int, int]) -> np.ndarray:
        """Where a tone stands, on average, right and down of the ring's centre."""
        view = View("x", ring=Ring((320, 240), 100, side, filled))
        canvas = draw(black(640, 480), view, mirrored=mirrored)[:480]
        down, right = np.nonzero((canvas == tone[::-1]).all(axis=2))
        assert len(right)
        return np.array([right.mean() - 320, down.mean() - 240])

    seen = np.array([-side[0] if mirrored else side[0], side[1]])
    np.testing.assert_allclose(middle(0.5, ATTENTION) / 100, seen, atol=0.15)
    quarter, full = middle(0.25, GOOD), middle(1.0, GOOD)
    assert quarter @ seen > 60
    assert abs(full @ seen) < 20  # all around, but for the arrow


def test_a_ring_for_any_side_fills_from_below_and_has_no_arrow():
    canvas = draw(black(640, 480), View("x", ring=Ring((320, 240), 100, filled=0.25)))[:480]
    down, right = np.nonzero((canvas == GOOD[::-1]).all(axis=2))
    assert down.min() > 290 and right.mean() == pytest.approx(320, abs=2)
    assert not (canvas == ATTENTION[::-1]).all(axis=2).any()


@pytest.mark.parametrize("size_wh", [(640, 480), (320, 240), (80, 60), (1, 1)])
@pytest.mark.parametrize("centre_xy", [(0.0, 0.0), (5000.0, -400.0)])
def test_a_ring_that_does_not_fit_is_drawn_where_there_is_room(size_wh, centre_xy):
    view = View("x", ring=Ring(centre_xy, 900.0, (1, 0), 0.5))
    canvas = draw(black(*size_wh), view)
    assert size_wh == (1, 1) or (canvas[:-88] == GOOD[::-1]).all(axis=2).any()
