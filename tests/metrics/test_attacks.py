"""APCER, BPCER and their intervals, against figures by hand."""

import numpy as np
import pytest

from facesync.metrics.attacks import attack_rates, interval_by_person
from facesync.metrics.rates import wilson

LIVE = np.array([0.9, 0.8, 0.5, 0.3])


def test_rates_by_hand():
    attacks = {"print": np.array([0.1, 0.5]), "replay": np.array([0.0, 0.1, 0.2, 0.6])}
    found = attack_rates(LIVE, attacks, threshold=0.5)
    assert found.bpcer == 0.25  # 0.5 is live
    assert found.apcer == {"print": 0.5, "replay": 0.25}
    assert (found.worst, found.apcer_worst) == ("print", 0.5)
    # Of the 24 pairs of a live and an attack score: 0.3 is below two, 0.5 below one, equal to one.
    assert found.auc == pytest.approx((24 - 2 - 1 - 0.5) / 24)
    # At 0.5 two of six attacks pass and one of four live ones is refused; above, 1/6 and 2/4.
    assert 0.25 < found.eer < 1 / 3 and found.eer_threshold == 0.5


def test_kinds_without_a_score_have_no_rate():
    found = attack_rates(LIVE, {"mask": np.array([]), "print": np.array([0.1])}, 0.5)
    assert found.apcer == {"mask": None, "print": 0.0}
    assert (found.worst, found.apcer_worst) == ("print", 0.0)


def test_a_perfect_model():
    found = attack_rates(LIVE, {"print": np.array([0.1, 0.2])}, 0.25)
    assert (found.bpcer, found.apcer_worst, found.auc, found.eer) == (0, 0, 1, 0)
    assert 0.2 < found.eer_threshold <= 0.3


def test_the_errors_of_one_person_hang_together():
    wrong = np.arange(200) < 20
    one = np.repeat(np.arange(10), 20)  # all errors are one person's
    everyone = np.tile(np.arange(10), 20)
    low, high = interval_by_person(wrong, one)
    assert low == 0 and high > 0.25
    assert interval_by_person(wrong, everyone) == wilson(20, 200)


def test_no_error_and_no_trial_prove_little():
    assert interval_by_person(np.zeros(60, bool), np.repeat(np.arange(15), 4)) == wilson(0, 60)
    for trials in (0, 60):  # nobody; one person
        assert interval_by_person(np.zeros(trials, bool), np.zeros(trials)) == (0, 1)
