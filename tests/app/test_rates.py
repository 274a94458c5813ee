"""False match rates in words, with what was measured and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from facesync.app import rates
from facesync.app.rates import choices
from facesync.app.settings import AppSettings
from facesync.faces.calibration import Calibration
from facesync.faces.models import EMBEDDED, KNOWN, VGGFACE2_PUBLISHED
from facesync.faces.recognizer import Recognizer


def test_a_rate_is_said_in_strangers_and_costs_what_the_card_says():
    found = {choice.value: choice for choice in choices(EMBEDDED, 1)}
    assert [choice.words for choice in found.values()] == [
        "the default: 1 stranger in 50",
        "1 stranger in 10",
        "1 stranger in 100",
        "1 stranger in 1,000",
        "1 stranger in 10,000",
    ]
    rows = {(row["fmr"], row["people"]): row["fnir"] for row in EMBEDDED.card()["rates_in_use"]}
    for value in (0.1, 0.01, 0.001, 0.0001):
        assert found[value].refused == rows[value, 1]
    assert found[None].refused == rows[0.02, 1]


@pytest.mark.parametrize(("people", "counted"), [(0, 1), (2, 3), (3, 3), (4, 15), (15, 15)])
def test_the_figure_is_that_of_no_fewer_people(people, counted):
    (choice,) = [each for each in choices(EMBEDDED, people) if each.value == 0.001]
    rows = EMBEDDED.card()["rates_in_use"]
    assert choice.refused == next(
        row["fnir"] for row in rows if (row["fmr"], row["people"]) == (0.001, counted)
    )


def test_the_default_rises_with_the_people():
    assert choices(EMBEDDED, 3)[0].words == "the default: 1 stranger in 20"


@pytest.mark.parametrize(("model", "people"), [(None, 1), (EMBEDDED, 16), (VGGFACE2_PUBLISHED, 1)])
def test_what_was_not_measured_has_no_figure(model, people):
    found = choices(model, people)
    assert [choice.value for choice in found] == [*rates.RATES]
    assert {choice.refused for choice in found} == {None}


@pytest.mark.parametrize("model", KNOWN.values())
def test_a_lower_rate_never_refuses_fewer(model):
    for people in (1, 3, 15):
        refused = [choice.refused for choice in choices(model, people)[1:]]
        assert None not in refused and refused == sorted(refused)
    for rate in (0.1, 0.02, 0.01):
        among = [model.refused(rate, people) for people in (1, 3, 15)]
        assert among == sorted(among)


def test_only_a_model_that_decides_by_its_card_is_measured(monkeypatch):
    recognizer = Recognizer(AppSettings(model="embedded", offline=True))
    assert recognizer.measured is None  # nothing is loaded
    recognizer.load()
    assert recognizer.measured is EMBEDDED
    own = Recognizer(AppSettings(model="embedded", offline=True, threshold=0.5))
    own.load()
    assert own.measured is None
    calibration = Calibration.from_dict(EMBEDDED.card()["calibration"])
    of_user = replace(calibration, identities=5)
    monkeypatch.setattr(recognizer, "_model", replace(recognizer._model, calibration=of_user))
    assert recognizer.measured is None
