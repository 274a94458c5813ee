"""The last layer learnt for the VGGFace2 weights: one linear layer, checked against its parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import distill_model
from facesync.distillation import head
from facesync.distillation.head import Linear, joined, mapped, own_layer, pooled_features
from facesync.distillation.student import FEATURES
from facesync.faces.crops import ALIGNED_112, BOX
from facesync.faces.embedding import FaceModel, unit
from facesync.faces.torch_model import TorchModel, new_network, on_arrays, set_last_layer
from facesync.faces.weights import load_torch_model
from facesync.images import save_jpeg

CROPS = list(np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), np.uint8))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """One whose last batch norm does something."""
    torch.manual_seed(0)
    made = new_network().eval()
    norm: torch.nn.Module = made.get_submodule("last_bn")
    for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
        value.data.uniform_(0.5, 2)
    return made


def test_the_layer_found_in_a_network_and_the_one_put_into_it_give_its_embeddings(network):
    features = pooled_features(network, BOX, torch.device("cpu"))(CROPS).astype(np.float32)
    assert features.shape == (3, FEATURES)
    batch = np.stack([BOX.array(crop) for crop in CROPS])
    layer = np.random.default_rng(1).normal(size=(512, FEATURES + 1)).astype(np.float16)
    for expected in (own_layer(network), Linear(layer[:, :-1].T, layer[:, -1])):
        found = on_arrays(network, "cpu")(batch)
        # The features are of short numbers, so that they differ a little.
        assert (unit(expected(features)) * found).sum(axis=1).min() > 0.999
        set_last_layer(network, layer)


def test_own_and_map_are_joined_in_one_layer_that_keeps_every_similarity():
    random = np.random.default_rng(0)
    # Of rank 40: 512 numbers are enough for both parts.
    basis = random.normal(size=(40, FEATURES))
    features = (random.normal(size=(900, 40)) @ basis + 3).astype(np.float32)
    own = Linear(random.normal(size=(FEATURES, 512)) / 9, random.normal(size=512))
    targets = unit(features @ random.normal(size=(FEATURES, 512)) + 500).astype(np.float32)
    layer = joined(features, targets, own, share=2.0)
    assert layer.shape == (512, FEATURES + 1)
    parts = [own(features), mapped(features, targets)(features)]
    parts = [part - part.mean(axis=0) for part in parts]
    parts = [part / np.linalg.norm(part, axis=1).mean() for part in parts]
    both = np.hstack([2 * parts[0], parts[1]])
    together = Linear(layer[:, :-1].T, layer[:, -1])(features)
    np.testing.assert_allclose(together @ together.T, both @ both.T, atol=0.02)
    # The map does what it is for: its outputs are the targets.
    assert (unit(mapped(features, targets)(features)) * targets).sum(axis=1).min() > 0.98


def test_the_script_learns_a_layer_and_writes_the_weights_with_it(
    network, tmp_path: Path, monkeypatch, capsys
):
    def teach(batch: np.ndarray) -> np.ndarray:
        return unit(batch.reshape(len(batch), -1)[:, :512])

    teacher = FaceModel(teach, ALIGNED_112, "teacher", "a stand-in")
    monkeypatch.setattr(head, "load_face_model", lambda *a, **k: teacher)
    loaded = TorchModel(network, crop=BOX, fingerprint="weights")
    monkeypatch.setattr(head, "load_torch_model", lambda *a, **k: loaded)
    for number, crop in enumerate(CROPS):
        save_jpeg(crop[:112, :112], tmp_path / "faces" / f"{number}.jpg")
    command = ["--student", "vggface2-head", "--aligned", str(tmp_path / "faces"), "--device",
               "cpu", "--output", str(tmp_path / "new")]  # fmt: skip
    assert distill_model.main(command) == 1
    assert "too few faces to learn from: 1792 are needed, 3 found" in capsys.readouterr().err
    monkeypatch.setattr(head, "LEAST", 3)
    assert distill_model.main(command) == 0
    layer = np.load(tmp_path / "new" / "vggface2.head.npy", allow_pickle=False)
    assert (layer.shape, layer.dtype) == ((512, FEATURES + 1), np.float16)
    assert np.isfinite(layer).all()
    whole = load_torch_model(tmp_path / "new" / "vggface2-head.pth")
    assert whole.crop == BOX
    written = whole.network.get_submodule("last_linear").weight.detach().numpy()
    np.testing.assert_array_equal(written, layer[:, :-1].astype(np.float32))
    assert distill_model.main(command) == 1
    assert "vggface2.head.npy already exists" in capsys.readouterr().err
