"""What a calibration promises for one comparison, for a search, and of its own soundness."""

import json
import math
import os
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from facesync.errors import FileError, ModelError
from facesync.faces import calibration, weights
from facesync.faces.calibration import (
    MOST_GROUPS,
    Calibration,
    calibration_for,
    user_calibration_path,
)
from facesync.faces.crops import ALIGNED_112, SQUARE
from facesync.faces.models import KNOWN
from facesync.files import write_json
from facesync.metrics.calibration import fit_thresholds

MEASURED = Calibration(
    thresholds={"1e-2": 0.4, "1e-3": 0.5, "1e-4": 0.58},
    tail_scale=0.03,
    tail_shape=0.0,
    tail_fmr=1e-3,
    slope=20.0,
    intercept=-9.0,
    crop=SQUARE,
    model_fingerprint="0123456789abcdef",
    data="images",
    data_fingerprint="fedcba9876543210",
    images=1000,
    identities=100,
    genuine_pairs=4500,
    impostor_pairs=495000,
)
GROUP = {"fmr": 0.02, "threshold": 0.5, "identities": 200, "impostor_pairs": 19_900, "counts": True}


@pytest.mark.parametrize(
    ("groups", "people", "expected"),
    [
        (None, 1, 0.001),
        (None, 500, 0.001),
        ({"a": {**GROUP, "counts": False}}, 2, 0.001),
        ({"a": GROUP}, 0, 0.02),
        ({"a": GROUP}, 1, 0.02),
        ({"a": GROUP}, 2, 0.04),
        ({"a": GROUP}, 3, 0.05),
        ({"a": GROUP}, 500, 0.05),
    ],
)
def test_the_default_rate_grows_with_the_people_up_to_a_limit(groups, people, expected):
    measured = replace(MEASURED, groups=groups)
    assert measured.default_fmr(people) == pytest.approx(expected)
    assert measured.threshold(None, people) == measured.threshold(expected, people)


@pytest.mark.parametrize(
    ("fmr", "expected"),
    [
        (1e-2, 0.4),
        (1e-3, 0.5),
        (10**-2.5, 0.45),  # half-way in the logarithm
        (0.5, 0.4),  # nothing measured there: never below the largest rate's
        (1e-5, 0.58 + 0.03 * math.log(10)),
    ],
)
def test_threshold_of_one_comparison(fmr, expected):
    assert MEASURED.threshold(fmr) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", [*KNOWN])
def test_what_ships_says_on_whom_it_was_measured(name):
    data = KNOWN[name].card()["calibration"]
    said = r"[0-9,]+ people of LFW \(.* fold.*\), .* and All-Age-Faces, the worst of \d+ groups"
    assert re.fullmatch(said, Calibration.from_dict(data).measured_on)
    forged = Calibration.from_dict({**data, "data": "a\x1b[2J\nAda: accepted"})
    assert " people of a[2JAda, the worst of " in forged.measured_on


@pytest.mark.parametrize(("fmr", "people"), [(1e-300, 1), (5e-324, 100), (1e-8, 10**6)])
def test_a_threshold_of_one_is_an_error(fmr, people):
    among = " among 100 people" if people == 100 else ""
    with pytest.raises(ModelError, match=f"cannot keep a false match rate of .*{among}.*--fmr"):
        MEASURED.threshold(fmr, people)
    old = replace(MEASURED, thresholds={"1e-2": 0.4, "1e-3": 1.0})  # as files had it
    assert Calibration.from_dict(old.to_dict()).threshold(1e-2) == 0.4
    with pytest.raises(ModelError):
        old.threshold(1e-3)


def test_threshold_rises_with_the_gallery_so_that_the_search_keeps_the_rate():
    values = [MEASURED.threshold(1e-2, people) for people in (0, 1, 2, 10, 100, 1000, 10**5)]
    assert values[0] == values[1] == 0.4
    assert values == sorted(values)
    assert MEASURED.threshold(1e-2, 10) == pytest.approx(0.5, abs=1e-3)
    # Exactly: N independent chances at the rate of one comparison add up to the rate of the search.
    single = 1 - (1 - 0.3) ** (1 / 200)
    assert MEASURED.threshold(0.3, 200) == pytest.approx(MEASURED.threshold(single))


def test_thresholds_below_the_measured_rates_are_extrapolated():
    assert MEASURED.is_measured(1e-4)
    assert not MEASURED.is_measured(1e-4, people=2)


def test_probability_rises_from_zero_to_one():
    assert MEASURED.probability(0.45) == pytest.approx(0.5)
    assert MEASURED.probability(1.0) > 0.99
    assert MEASURED.probability(-1.0) < 1e-10


def test_json_round_trip():
    assert "groups" not in MEASURED.to_dict()  # older versions refuse what they do not know
    for found in (MEASURED, replace(MEASURED, groups={"Ada's": GROUP})):
        assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found


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
        {"intercept": 10**400},
        {"slope": 10**400},
        {"thresholds": {"1e-2": True}},
        {"thresholds": {"1e-2": np.float32(0.5)}},
        {"crop": {"kind": "oval"}},
        {"crop": None},
        {"pictures": "many"},
        {"identities": -5},
        {"identities": 10**5000},
        {"model_fingerprint": 7},
        {"unknown": 1},
        {"groups": {"a": {}}},
        {"groups": [1]},
        {"groups": ""},
        {"groups": {str(number): GROUP for number in range(MOST_GROUPS + 1)}},
        *(
            {"groups": {"a": {**GROUP, **wrong}}}
            for wrong in (
                {"fmr": 2.0},
                {"fmr": "0"},
                {"threshold": float("nan")},
                {"identities": 1.5},
                {"counts": 1},
                {"impostor_pairs": True},
                {"identities": -3},
                {"threshold": 0.6},  # that of all people is 0.5
            )
        ),
    ],
    ids=lambda changes: f"{list(changes)}",
)
def test_damaged_calibrations_are_refused(changes):
    with pytest.raises(ModelError, match="cannot be read"):
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


def test_generalised_pareto_tail_is_near_the_truth():
    """Two decades beyond what was measured, the rate is that asked for within a factor of two."""
    generator = np.random.default_rng(5)
    impostor = generator.normal(0.05, 0.13, 200_000).astype(np.float32)
    found = replace(MEASURED, **asdict(fit_thresholds(impostor)))
    threshold = found.threshold(1e-3, people=1000)
    assert threshold > found.thresholds["1e-4"]
    unseen = np.random.default_rng(6).normal(0.05, 0.13, 20_000_000)
    assert 0.5e-6 < (unseen >= threshold).mean() < 2e-6
    scores = np.random.default_rng(7).normal(0.05, 0.13, (5000, 50))
    accepted = (scores.max(axis=1) >= found.threshold(1e-2, people=50)).mean()
    assert accepted == pytest.approx(1e-2, rel=0.5)


def test_a_shipped_model_prefers_the_users_calibration(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "facesync")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = weights.load_face_model("embedded")
    own = replace(MEASURED, crop=model.crop, model_fingerprint=model.fingerprint)
    path = user_calibration_path(model.fingerprint)
    write_json(path, {"calibration": own.to_dict()}, private=True)
    assert model.calibration != own
    assert weights.load_face_model("embedded").calibration == own
    assert f"Calibrated by the user, on {own.measured_on} ({path})" in caplog.text
    if os.name == "posix":
        path.chmod(0o666)
        assert weights.load_face_model("embedded").calibration == model.calibration
        assert "others may have written it" in caplog.text
    write_json(path, {"calibration": replace(own, model_fingerprint="another").to_dict()})
    assert weights.load_face_model("embedded").calibration == model.calibration
    path.write_text("{half")
    assert weights.load_face_model("embedded").calibration == model.calibration
    assert "is not used" in caplog.text


def test_a_user_without_a_home_has_no_calibration(monkeypatch):
    def no_home():
        raise FileError("you have no home folder")

    monkeypatch.setattr(calibration, "user_cache", no_home)
    assert calibration.user_calibration("abc", SQUARE) is None
