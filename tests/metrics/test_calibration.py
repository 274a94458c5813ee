"""A fitted calibration holds its rates on the data it was fitted to, and beyond."""

import numpy as np
import pytest

from facesync.errors import DataError
from facesync.metrics.calibration import fit_logistic, fit_thresholds, worst
from facesync.metrics.thresholds import Thresholds

LogisticRegression = pytest.importorskip("sklearn.linear_model").LogisticRegression

GENERATOR = np.random.default_rng(5)
GENUINE = np.clip(GENERATOR.normal(0.7, 0.12, 5000), -1, 1).astype(np.float32)
IMPOSTOR = np.clip(GENERATOR.normal(0.05, 0.13, 200_000), -1, 1).astype(np.float32)


def test_thresholds_hold_the_rates_that_the_data_supports():
    found = fit_thresholds(IMPOSTOR)
    assert list(found.thresholds) == ["1e-1", "1e-2", "1e-3", "1e-4"]  # 1e-5: two false matches
    for fmr, threshold in found.thresholds.items():
        assert (IMPOSTOR.astype(np.float64) >= threshold).mean() == pytest.approx(float(fmr))


def test_probabilities_are_those_of_logistic_regression():
    slope, intercept = fit_logistic(GENUINE, IMPOSTOR)
    scores = np.concatenate([GENUINE, IMPOSTOR])[:, None]
    same = np.arange(len(scores)) < len(GENUINE)
    reference = LogisticRegression(C=1e9, class_weight="balanced", tol=1e-8).fit(scores, same)
    grid = np.linspace(-0.2, 1, 50)
    # Not quite equal: Platt's targets are a little inside 0 and 1.
    ours = 1 / (1 + np.exp(-(slope * grid + intercept)))
    np.testing.assert_allclose(ours, reference.predict_proba(grid[:, None])[:, 1], atol=0.02)


def test_similarities_that_separate_perfectly_still_give_a_mapping():
    slope, intercept = fit_logistic(np.full(50, 0.9), np.full(80, 0.1))
    assert 0 < slope < 1e4 and 0.1 < -intercept / slope < 0.9


def test_too_few_pairs_are_refused():
    with pytest.raises(DataError, match=r"99 impostor pairs are too few.*needs 100"):
        fit_thresholds(np.zeros(99, np.float32))
    with pytest.raises(DataError, match="1 genuine pairs are too few"):
        fit_logistic(np.zeros(1, np.float32), IMPOSTOR)


def test_a_threshold_of_one_is_an_error_and_not_a_calibration():
    for one in (np.float32(1), np.float32(1 - 2e-7)):  # a sum of 512 products is rounded
        same_image = np.concatenate([IMPOSTOR, np.full(30, one)])  # more than 1e-4 of all
        with pytest.raises(DataError, match="rate of 1e-4: the same image is there under several"):
            fit_thresholds(same_image)


def test_a_model_that_tells_nobody_apart_gets_no_mapping():
    with pytest.raises(DataError, match="the model tells nobody apart"):
        fit_logistic(IMPOSTOR[:5000] - np.float32(0.1), IMPOSTOR)


SMALL = Thresholds({"1e-1": 0.2, "1e-2": 0.35, "1e-3": 0.5}, 0.05, 0.0, 1e-2)
LARGE = Thresholds({"1e-1": 0.3, "1e-2": 0.4, "1e-3": 0.45, "1e-4": 0.5}, 0.02, -0.1, 1e-3)


def test_every_threshold_is_that_of_the_worst_group_and_so_is_the_tail():
    found = worst([LARGE, SMALL])
    # Below 1e-3 the worst is the small group, which has measured nothing there.
    assert found.thresholds == {"1e-1": 0.3, "1e-2": 0.4, "1e-3": 0.5}
    assert (found.tail_scale, found.tail_shape) == (SMALL.tail_scale, SMALL.tail_shape)
    for rate in 10.0 ** -np.arange(1, 9, 0.25):
        assert found.at(rate) >= max(LARGE.at(rate), SMALL.at(rate)) - 1e-12
    assert found.supports(1e-3) and not found.supports(1e-4)
    # The tail goes on from a rate at which another group was the worst.
    other = Thresholds({"1e-1": 0.1, "1e-2": 0.3, "1e-3": 0.4, "1e-4": 0.49}, 0.09, -0.2, 1e-3)
    found = worst([LARGE, other])
    assert found.thresholds["1e-4"] == 0.5 and found.tail_scale == pytest.approx(0.09)
    assert found.at(1e-7) == pytest.approx(other.at(1e-7) + 0.01)
    assert worst([LARGE]) == LARGE
