"""A calibration is stored with its model, or in the user's cache for one that ships."""

import json

import numpy as np
import pytest
import torch

from facesync.data.datasets import FaceDataset
from facesync.evaluation.calibrations import data_fingerprint, store_calibration
from facesync.evaluation.images import DatasetImages
from facesync.faces.calibration import Calibration
from facesync.faces.fitting import calibrate
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
    return calibrate(
        pairs, crop=model.crop, model_fingerprint=model.fingerprint, data="random",
        data_fingerprint=data_fingerprint([]),
    )  # fmt: skip


def test_a_calibration_names_its_model_and_data(found, model):
    assert found.crop == model.crop and found.model_fingerprint == model.fingerprint
    assert (found.genuine_pairs, found.impostor_pairs, found.data) == (500, 20_000, "random")
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
    images = DatasetImages(FaceDataset(folder))
    name = data_fingerprint(images)
    assert name == data_fingerprint(images[::-1])
    assert name != data_fingerprint(images[1:])
