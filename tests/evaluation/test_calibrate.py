"""A calibration is stored with its model, or in the user's cache for one that ships."""

import json

import numpy as np
import pytest
import torch

from facesync.data.datasets import FaceDataset
from facesync.evaluation.calibrate import calibrate, data_fingerprint, store_calibration
from facesync.evaluation.images import dataset_image_refs
from facesync.faces.calibration import Calibration
from facesync.faces.onnx_files import read_description, write
from facesync.metrics.pairs import AllPairs


@pytest.fixture
def found(model):
    generator = np.random.default_rng(5)
    pairs = AllPairs(
        np.clip(generator.normal(0.7, 0.12, 500), -1, 1).astype(np.float32),
        np.clip(generator.normal(0.05, 0.13, 20_000), -1, 1).astype(np.float32),
        70,
        5,
    )
    return calibrate(model, pairs, [], "random")


def test_a_calibration_names_its_model_and_data(found, model):
    assert found.crop == model.crop and found.model_fingerprint == model.fingerprint
    assert (found.genuine_pairs, found.impostor_pairs, found.data) == (500, 20_000, "random")
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_thresholds_are_those_of_the_worst_group_that_counts(model, caplog):
    generator = np.random.default_rng(6)

    def similar(mean, count, people):
        drawn = np.clip(generator.normal(mean, 0.1, count), -1, 1).astype(np.float32)
        return AllPairs(np.full(50, 0.8, np.float32), drawn, people, people)

    groups = {"near": similar(0.2, 30_000, 245), "few": similar(0.5, 9_000, 134)}
    groups |= {"infants": similar(0.4, 20_000, 200), "far": similar(-0.1, 20_000, 200)}
    everybody = similar(0.0, 1_000_000, 1400)
    alone = calibrate(model, everybody, [], "all")
    found = calibrate(model, everybody, [], "all", groups=groups, left_out=["infants"])
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


def test_a_checkpoint_keeps_everything_else(found, tmp_path):
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
    for _ in range(2):
        assert store_calibration(str(path), found) == path
        after = torch.load(path, weights_only=True)
        assert Calibration.from_dict(after.pop("calibration")) == found
        torch.testing.assert_close(after, held)
    assert list(tmp_path.iterdir()) == [path]


def test_that_of_an_exported_model_goes_into_its_json(found, tmp_path):
    onnx = tmp_path / "small.onnx"
    facts = write(onnx, b"\x08\x07", {"crop": {"kind": "square"}})
    assert store_calibration(str(onnx), found) == tmp_path / "small.json"
    after = read_description(onnx)
    assert Calibration.from_dict(after.pop("calibration")) == found
    assert after == facts


def test_the_data_fingerprint_ignores_order_but_not_names(folder):
    images = dataset_image_refs(FaceDataset(folder))
    name = data_fingerprint(images)
    assert name == data_fingerprint(images[::-1])
    assert name != data_fingerprint(images[1:])
