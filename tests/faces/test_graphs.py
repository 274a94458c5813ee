"""Weights put into the networks that ship give what torch's export gives, without torch."""

import numpy as np
import pytest

from facesync.errors import ModelError
from facesync.faces import checkpoints, graphs, last_layer, onnx_files, weights
from facesync.faces.crops import ALIGNED_112, BOX
from facesync.faces.models import VGGFACE2
from facesync.faces.onnx_runtime import open_embedder

torch = pytest.importorskip("torch")
from facesync.faces import torch_model  # noqa: E402


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    network = torch_model.new_network(num_classes=3)
    for name, value in network.state_dict().items():
        if "running" in name:  # as if it had been trained: none is like another
            value.uniform_(0.5, 1.5)
    return network.state_dict()


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).uniform(-1, 1, (2, 3, 160, 160)).astype(np.float32)


def of_torch(path):
    """Load a file's network in torch."""
    data = torch_model.read_checkpoint(path)
    network = torch_model.new_network()
    torch_model.load_state(network, data["model_state_dict"], str(path))
    crop = checkpoints.checkpoint_crop(data)
    fingerprint = torch_model.fingerprint(network, crop)
    return torch_model.TorchModel(network.eval(), crop=crop, fingerprint=fingerprint)


def compare(path, faces, *, export=False):
    ours, theirs = checkpoints.open_model(path), of_torch(path)
    assert ours.fingerprint == theirs.fingerprint
    run = (
        open_embedder(theirs.to_onnx()) if export else torch_model.on_arrays(theirs.network, "cpu")
    )
    embeddings = open_embedder(ours.to_onnx())(faces)
    np.testing.assert_allclose(embeddings, run(faces), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    return ours


def in_parallel(state):
    return {f"module.{key}": value for key, value in state.items()}


def without_counters(state):
    return {key: value for key, value in state.items() if "num_batches" not in key}


def in_type(dtype):
    def convert(state):
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}

    return convert


SHORT = [in_type(dtype) for dtype in (torch.bfloat16, torch.half, torch.double)]


@pytest.mark.parametrize("change", [dict, in_parallel, without_counters, *SHORT])
def test_a_bare_state_is_torchs_network(state, faces, tmp_path, change):
    path = tmp_path / "weights.pt"
    older = change is in_parallel  # and in the format before torch 1.6
    torch.save(change(state), path, _use_new_zipfile_serialization=not older)
    ours = compare(path, faces)
    assert ours.crop == BOX and set(ours.weights) == set(graphs.shapes(graphs.INCEPTION))


def test_a_checkpoint_is_torchs_network(state, faces, tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"epoch": 4, "accuracy": 0.5, "model_state_dict": state, "run": {}}, path)
    ours = compare(path, faces, export=True)
    assert (ours.crop, ours.remark) == (ALIGNED_112, "epoch 4, validation accuracy 0.5000")
    again = torch_model.in_torch(ours)
    assert again.facts() == ours.facts()
    np.testing.assert_array_equal(
        again.network.state_dict()["last_linear.weight"], ours.weights["last_linear.weight"]
    )


def test_the_last_layer_is_put_in_as_in_torch(state, faces, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    model = checkpoints.open_model(path)
    network = torch_model.in_torch(model).network
    layer = np.load(last_layer.ASSETS / last_layer.HEAD_NAME)
    assert network.get_submodule("last_bn").eps == last_layer._EPSILON
    torch_model.set_last_layer(network, layer)
    ours = checkpoints.open_model(path, last_layer.shipped(VGGFACE2.head))
    assert ours.fingerprint == torch_model.fingerprint(network, BOX) != model.fingerprint
    expected = torch_model.on_arrays(network, "cpu")(faces)
    np.testing.assert_allclose(open_embedder(ours.to_onnx())(faces), expected, atol=1e-5)


def test_the_real_weights_are_torchs_network(shared, faces, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
    compare(VGGFACE2.path, faces, export=True)
    found = weights.find_weights("vggface2", offline=True)
    expected = torch_model.on_arrays(weights.as_torch(found).network, "cpu")(faces)
    served = weights.load_face_model("vggface2", offline=True)
    np.testing.assert_allclose(served.network(faces), expected, atol=1e-5)


def test_what_is_put_together_is_onnx_as_its_library_writes_it(state):
    onnx = pytest.importorskip("onnx")
    values = {key: value.numpy() for key, value in state.items()}
    values = {key: values[key] for key in graphs.shapes(graphs.INCEPTION)}
    made = onnx.load_from_string(graphs.to_onnx(graphs.INCEPTION, values))
    onnx.checker.check_model(made)
    plain = onnx.load(graphs.graph_path(graphs.INCEPTION))
    plain.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in values.items()
    )
    assert made == plain


@pytest.mark.parametrize("name", [graphs.INCEPTION, graphs.EDGEFACE_XS])
def test_a_network_that_is_damaged_or_missing_is_one_line(name, tmp_path, monkeypatch):
    path = tmp_path / graphs.graph_path(name).name
    monkeypatch.setattr(graphs, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match="cannot read"):
        graphs.shapes(name)
    onnx_files.write(path, b"", {"weights": {}})
    path.write_bytes(b"another")
    with pytest.raises(ModelError, match="its checksum is not"):
        graphs.shapes(name)


@pytest.mark.parametrize("facts", [{}, {"weights": []}, {"weights": {"a": "x"}}])
def test_a_description_without_shapes_is_one_line(facts, tmp_path, monkeypatch):
    network = graphs.graph_path(graphs.INCEPTION).read_bytes()
    monkeypatch.setattr(graphs, "ASSETS", tmp_path)
    onnx_files.write(graphs.graph_path(graphs.INCEPTION), network, facts)
    with pytest.raises(ModelError, match="install FaceSync again"):
        graphs.shapes(graphs.INCEPTION)
