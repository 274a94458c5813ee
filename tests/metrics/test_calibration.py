"""A fitted calibration holds its rates on the data it was fitted to, and beyond."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from facesync.errors import DataError
from facesync.metrics.calibration import fit_calibration, fit_logistic

GENERATOR = np.random.default_rng(5)
GENUINE = np.clip(GENERATOR.normal(0.7, 0.12, 5000), -1, 1).astype(np.float32)
IMPOSTOR = np.clip(GENERATOR.normal(0.05, 0.13, 200_000), -1, 1).astype(np.float32)


def test_thresholds_hold_the_rates_that_the_data_supports():
    found = fit_calibration(GENUINE, IMPOSTOR)
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
    with pytest.raises(DataError, match="too few"):
        fit_calibration(np.zeros(5, np.float32), np.zeros(99, np.float32))
