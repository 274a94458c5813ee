"""A calibration keeps its word on the data it was made from, and lands where the model is."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from facesync.errors import DataError, ModelError
from facesync.evaluation import calibrate as calibration
from facesync.evaluation.images import image_refs_of
from facesync.faces import weights
from facesync.faces.calibration import Calibration
from facesync.faces.torch_model import checkpoint_crop
from facesync.metrics.pairs import AllPairs, all_pairs


@pytest.fixture(scope="module")
def pairs():
    generator = np.random.default_rng(5)
    return AllPairs(
        np.clip(generator.normal(0.7, 0.12, 5000), -1, 1).astype(np.float32),
        np.clip(generator.normal(0.05, 0.13, 200_000), -1, 1).astype(np.float32),
        700,
        50,
    )


def test_thresholds_give_the_rates_and_no_more_than_the_data_supports(pairs, model):
    found = calibration.calibrate(model, pairs, "drawn", "f")
    assert list(found.thresholds) == ["1e-1", "1e-2", "1e-3", "1e-4"]  # 1e-5: two false matches
    impostor = pairs.impostor.astype(np.float64)
    for fmr, threshold in found.thresholds.items():
        assert (impostor >= threshold).mean() == pytest.approx(float(fmr), rel=1e-6)
    assert found.crop == model.crop and found.model_fingerprint == model.fingerprint
    assert (found.genuine_pairs, found.impostor_pairs) == (5000, 200_000)
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_extrapolated_tail_is_near_the_truth(pairs, model):
    """Two decades beyond what was measured, the rate is that asked for within a factor of two."""
    found = calibration.calibrate(model, pairs, "drawn", "f")
    threshold = found.threshold(1e-3, people=1000)
    assert threshold > found.thresholds["1e-4"]
    fresh = np.random.default_rng(6).normal(0.05, 0.13, 20_000_000)
    assert 0.5e-6 < (fresh >= threshold).mean() < 2e-6


def test_a_search_in_a_gallery_keeps_its_rate(pairs, model):
    found = calibration.calibrate(model, pairs, "drawn", "f")
    scores = np.random.default_rng(7).normal(0.05, 0.13, (5000, 50))
    accepted = (scores.max(axis=1) >= found.threshold(1e-2, people=50)).mean()
    assert accepted == pytest.approx(1e-2, rel=0.5)


def test_probabilities_are_those_of_logistic_regression(pairs):
    slope, intercept = calibration.fit_logistic(pairs.genuine, pairs.impostor)
    scores = np.concatenate([pairs.genuine, pairs.impostor])[:, None]
    same = np.arange(len(scores)) < len(pairs.genuine)
    reference = LogisticRegression(C=1e9, class_weight="balanced", tol=1e-8).fit(scores, same)
    grid = np.linspace(-0.2, 1, 50)
    # Not quite equal: Platt's targets lie a little inside 0 and 1.
    ours = 1 / (1 + np.exp(-(slope * grid + intercept)))
    np.testing.assert_allclose(ours, reference.predict_proba(grid[:, None])[:, 1], atol=0.02)


def test_similarities_that_separate_perfectly_still_give_a_mapping():
    slope, intercept = calibration.fit_logistic(np.full(50, 0.9), np.full(80, 0.1))
    assert 0 < slope < 1e4 and 0.1 < -intercept / slope < 0.9


def test_too_few_pairs_are_refused(model):
    few = AllPairs(np.zeros(5, np.float32), np.zeros(99, np.float32), 10, 5)
    with pytest.raises(DataError, match="too few"):
        calibration.calibrate(model, few, "drawn", "f")


def test_all_pairs_are_those_of_two_loops():
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(40, 8)).astype(np.float32)
    vectors[[3, 17]] = np.nan
    who = [str(n) for n in generator.integers(0, 6, 40)]
    found = all_pairs(vectors, who)
    expected = {True: [], False: []}
    for a in range(40):
        for b in range(a + 1, 40):
            if not np.isnan(vectors[[a, b], 0]).any():
                expected[who[a] == who[b]].append(vectors[a] @ vectors[b])
    np.testing.assert_allclose(np.sort(found.genuine), np.sort(expected[True]), rtol=1e-4)
    np.testing.assert_allclose(np.sort(found.impostor), np.sort(expected[False]), rtol=1e-4)
    assert found.images == 38


def test_of_too_many_images_whole_people_are_drawn(monkeypatch):
    monkeypatch.setattr("facesync.metrics.pairs.MAX_IMAGES", 20)
    vectors = np.eye(60, 512, dtype=np.float32)
    who = [str(n // 4) for n in range(60)]
    found = all_pairs(vectors, who, seed=1)
    assert (found.images, found.identities) == (20, 5)
    assert len(found.genuine) == 5 * 6
    assert all_pairs(vectors, who, seed=1).images == 20


def test_a_checkpoint_keeps_everything_else(pairs, model, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "model.pth"
    held = {
        "epoch": 3,
        "model_state_dict": {"weight": torch.randn(3, 3)},
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 1e-4}]},
        "label_map": {"a": 0},
        "accuracy": 0.5,
    }
    torch.save(held, path)
    found = calibration.calibrate(model, pairs, "drawn", "f")
    for _ in range(2):
        calibration.write_calibration(calibration.calibration_home(str(path)), found)
        after = torch.load(path, weights_only=True)
        assert Calibration.from_dict(after.pop("calibration")) == found
        torch.testing.assert_close(after, held)
    assert list(tmp_path.iterdir()) == [path]


def test_beside_an_exported_model_lies_its_description(pairs, model, tmp_path):
    found = calibration.calibrate(model, pairs, "drawn", "f")
    home = calibration.calibration_home(str(tmp_path / "small.onnx"))
    assert home == tmp_path / "small.json"
    home.write_text('{"crop": {"kind": "square"}, "calibration": 7}')
    calibration.write_calibration(home, found)
    after = json.loads(home.read_text())
    assert after["crop"] == {"kind": "square"}
    assert Calibration.from_dict(after["calibration"]) == found
    home.write_text("{half")
    with pytest.raises(ModelError, match="left as it is"):
        calibration.write_calibration(home, found)
    assert home.read_text() == "{half"


def test_the_data_fingerprint_ignores_order_but_not_names(folder):
    images = image_refs_of(folder)
    name = calibration.fingerprint_of(images)
    assert name == calibration.fingerprint_of(images[::-1])
    assert name != calibration.fingerprint_of(images[1:])


def test_the_vggface2_weights_come_calibrated():
    data = json.loads((weights.ASSETS / "vggface2.json").read_text(encoding="utf-8"))
    found = Calibration.from_dict(data["calibration"])
    assert found.crop == checkpoint_crop({})
    assert set(found.thresholds) >= {"1e-2", "1e-3", "1e-4"}
