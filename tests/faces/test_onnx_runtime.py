"""Packed weights are unpacked when it has become worth it; a network's weights need no memory."""

import tempfile

import numpy as np
import pytest

from facesync.errors import ModelError
from facesync.faces import graphs, onnx_runtime, weights
from facesync.faces.models import EMBEDDED
from facesync.faces.onnx_runtime import FEW, open_embedder
from tests.faces.stand_ins import write_embedded


@pytest.fixture
def opened(monkeypatch):
    """What is opened, in turn: whether it was unpacked."""
    seen = []
    open_net = onnx_runtime.open_net

    def listed(*args, unpack=False, **options):
        seen.append(unpack)
        return open_net(*args, unpack=unpack, **options)

    monkeypatch.setattr(onnx_runtime, "open_net", listed)
    return seen


def test_packed_weights_are_unpacked_after_a_few_faces_and_embed_the_same(opened):
    crops = np.random.default_rng(0).uniform(-1, 1, (FEW, 3, 112, 112)).astype(np.float32)
    embed = open_embedder(EMBEDDED.path, unpack=True)
    first = np.concatenate([embed(crop[None]) for crop in crops[:-1]])
    assert opened == [False]
    embed(crops[-1:])
    assert opened == [False, True]
    np.testing.assert_allclose(embed(crops)[:-1], first, atol=1e-6)
    assert opened == [False, True]


def test_a_large_batch_is_worth_it_at_once(opened):
    embed = open_embedder(EMBEDDED.path, unpack=True)
    embed(np.zeros((FEW, 3, 112, 112), np.float32))
    assert opened == [False, True]


def test_a_file_that_has_changed_is_not_unpacked(tmp_path):
    path = write_embedded(tmp_path)
    embed = open_embedder(path, unpack=True)
    embed(np.ones((1, 3, 112, 112), np.float32))
    path.write_bytes(EMBEDDED.path.read_bytes())
    with pytest.raises(ModelError, match="has changed since it was opened; start again"):
        embed(np.ones((FEW, 3, 112, 112), np.float32))


def test_without_room_for_a_file_a_network_is_opened_from_memory(monkeypatch):
    random = np.random.default_rng(0)
    shapes = graphs.shapes(graphs.EDGEFACE_XS).items()
    made = {key: random.uniform(0.01, 0.1, shape).astype(np.float32) for key, shape in shapes}
    crops = random.uniform(-1, 1, (1, 3, 112, 112)).astype(np.float32)
    in_file = dict(made)
    expected = weights._open_graph(graphs.EDGEFACE_XS, in_file)(crops)
    assert not in_file  # their memory is free again

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    np.testing.assert_array_equal(weights._open_graph(graphs.EDGEFACE_XS, made)(crops), expected)
