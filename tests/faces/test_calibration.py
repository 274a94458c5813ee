"""What a calibration promises for one comparison, for a search, and of its own soundness."""

import json
import math
from dataclasses import replace

import pytest

from facesync.errors import ModelError
from facesync.faces.calibration import Calibration, calibration_for
from facesync.faces.crops import ALIGNED_112, SQUARE

MEASURED = Calibration(
    thresholds={"1e-2": 0.4, "1e-3": 0.5, "1e-4": 0.58},
    tail_scale=0.03,
    tail_shape=0.0,
    tail_fmr=1e-3,
    slope=20.0,
    intercept=-9.0,
    crop=SQUARE,
    model_fingerprint="0123456789abcdef",
    data="pictures",
    data_fingerprint="fedcba9876543210",
    images=1000,
    identities=100,
    genuine_pairs=4500,
    impostor_pairs=495000,
)


@pytest.mark.parametrize(
    ("fmr", "expected"),
    [
        (1e-2, 0.4),
        (1e-3, 0.5),
        (10**-2.5, 0.45),  # half-way in the logarithm
        (0.5, 0.4),  # nothing measured there: never below the largest rate's
        (1e-5, 0.58 + 0.03 * math.log(10)),
        (1e-300, 1.0),
    ],
)
def test_threshold_of_one_comparison(fmr, expected):
    assert MEASURED.threshold(fmr) == pytest.approx(expected, abs=1e-9)


def test_threshold_rises_with_the_gallery_so_that_the_search_keeps_the_rate():
    values = [MEASURED.threshold(1e-2, people) for people in (0, 1, 2, 10, 100, 1000, 10**6)]
    assert values[0] == values[1] == 0.4
    assert values == sorted(values)
    assert MEASURED.threshold(1e-2, 10) == pytest.approx(0.5, abs=1e-3)
    # Exactly: N independent chances at the comparison's own rate add up to the rate asked for.
    single = 1 - (1 - 0.3) ** (1 / 200)
    assert MEASURED.threshold(0.3, 200) == pytest.approx(MEASURED.threshold(single))


def test_it_says_what_was_measured_and_what_extrapolated():
    assert MEASURED.is_measured(1e-4)
    assert not MEASURED.is_measured(1e-4, people=2)


def test_probability_rises_from_nought_to_one():
    assert MEASURED.probability(0.45) == pytest.approx(0.5)
    assert MEASURED.probability(1.0) > 0.99
    assert MEASURED.probability(-1.0) < 1e-10


def test_it_survives_json_whole():
    assert Calibration.from_dict(json.loads(json.dumps(MEASURED.to_dict()))) == MEASURED


@pytest.mark.parametrize(
    "changes",
    [
        {"thresholds": {}},
        {"thresholds": {"1e-2": 0.5, "1e-3": 0.4}},
        {"thresholds": {"often": 0.5}},
        {"thresholds": {"1e-2": "0.5"}},
        {"thresholds": {"1e-2": float("nan")}},
        {"thresholds": None},
        {"tail_scale": 0.0},
        {"tail_shape": 0.2},
        {"slope": -1.0},
        {"intercept": float("inf")},
        {"crop": {"kind": "oval"}},
        {"crop": None},
        {"pictures": "many"},
        {"model_fingerprint": 7},
        {"unknown": 1},
    ],
    ids=lambda changes: str(*changes.items()),
)
def test_damaged_calibrations_are_refused(changes):
    with pytest.raises(ModelError):
        Calibration.from_dict({**MEASURED.to_dict(), **changes})


def test_it_holds_for_its_own_model_and_crop_only(caplog):
    data = MEASURED.to_dict()
    assert calibration_for(data, "m", SQUARE, MEASURED.model_fingerprint) == MEASURED
    assert calibration_for(data, "m", SQUARE) == MEASURED
    assert calibration_for(None, "m", SQUARE) is None
    assert calibration_for(data, "m", ALIGNED_112) is None
    assert calibration_for(data, "m", SQUARE, "another") is None
    assert "not used" in caplog.text
    moved = replace(MEASURED, crop=ALIGNED_112).to_dict()
    assert calibration_for(moved, "m", ALIGNED_112) is not None
