"""False match rates to choose from, in words, with what each costs the owners."""

from __future__ import annotations

from dataclasses import dataclass

from facesync.faces.calibration import Calibration
from facesync.faces.models import KnownModel

RATES = (None, 0.1, 0.01, 0.001, 0.0001)
"""Values of `--fmr`; None is the model's default."""


@dataclass(frozen=True)
class RateChoice:
    """A false match rate.

    Attributes:
        value: for `--fmr`; None for the default.
        words: how many strangers are accepted, at most and in the worst group of people.
        refused: share of owners who are refused then, with two images of each registered, as
            measured for the model's card; None if that was not measured.
    """

    value: float | None
    words: str
    refused: float | None


def choices(model: KnownModel | None, people: int) -> list[RateChoice]:
    """List the rates to choose from.

    Args:
        model: the one in use, if it decides by its card (`Recognizer.measured`); None for another.
        people: how many are registered.
    """
    calibration = None
    if model is not None:
        calibration = Calibration.from_dict(model.card()["calibration"])
    found = []
    for rate in RATES:
        words = "the default" if rate is None else _in_words(rate)
        refused = None
        if model is not None and calibration is not None:
            default = calibration.default_fmr(people)
            refused = model.refused(default if rate is None else rate, people)
            words += f": {_in_words(default)}" if rate is None else ""
        found.append(RateChoice(rate, words, refused))
    return found


def _in_words(rate: float) -> str:
    return f"1 stranger in {round(1 / rate):,}"
