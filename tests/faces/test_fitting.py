"""Thresholds are those of the worst group of people."""

import json

import numpy as np
import pytest

from facesync.faces.calibration import Calibration
from facesync.faces.crops import BOX
from facesync.faces.fitting import calibrate
from facesync.metrics.pairs import AllPairs

ABOUT = {"crop": BOX, "model_fingerprint": "0", "data": "all", "data_fingerprint": "0"}


def test_the_thresholds_are_those_of_the_worst_group_that_counts(caplog):
    generator = np.random.default_rng(6)

    def similar(mean, count, people):
        drawn = np.clip(generator.normal(mean, 0.1, count), -1, 1).astype(np.float32)
        return AllPairs(np.full(50, 0.8, np.float32), drawn, people, people)

    groups = {"near": similar(0.2, 30_000, 245), "few": similar(0.5, 9_000, 134)}
    groups |= {"infants": similar(0.4, 20_000, 200), "far": similar(-0.1, 20_000, 200)}
    everybody = similar(0.0, 1_000_000, 1400)
    alone = calibrate(everybody, **ABOUT)
    found = calibrate(everybody, groups=groups, left_out=["infants"], **ABOUT)
    assert "few: 9,000 impostor pairs are too few" in caplog.text
    assert list(found.groups) == ["near", "infants", "far"]
    assert [group["counts"] for group in found.groups.values()] == [True, False, True]
    near = groups["near"].impostor
    assert found.threshold(1e-3) == found.groups["near"]["threshold"] > alone.threshold(1e-3)
    assert (near.astype(float) >= found.threshold(1e-3)).mean() == pytest.approx(1e-3, rel=0.01)
    assert (
        found.groups["near"]["fmr"] == (near.astype(float) >= alone.threshold(1e-3)).mean() > 0.01
    )
    assert found.groups["near"]["impostor_pairs"] == 30_000
    # What is as similar as the nearest strangers are is less sure than by everybody's pairs.
    assert found.probability(0.5) < alone.probability(0.5)
    assert found.is_measured(1e-3) and not found.is_measured(1e-4) and alone.is_measured(1e-4)
    assert found.threshold(1e-6) > alone.threshold(1e-6)
    assert found.measured_on == "1,400 people of all, the worst of 2 groups"
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found
