"""EdgeFace-XS without timm and torch gives the embeddings that it gives with them."""

import numpy as np
import pytest

from facesync.errors import ModelError
from facesync.faces import edgeface, graphs, weights
from facesync.faces.detection import FaceDetector
from facesync.faces.models import EDGEFACE
from facesync.faces.onnx_runtime import open_embedder

# timm 1.0.31 and torch 2.11 on `inputs`: the first numbers of one, the last of the other, and their
# similarity.
FIRST = [0.03277519717812538, 0.07583893835544586, -0.04174746200442314, -0.027192234992980957]
LAST = [-0.026070382446050644, -0.00019248198077548295, -0.032981257885694504, 0.023355063050985336]
SIMILARITY = 0.63981366


def inputs():
    """Two inputs for the network, of no face."""
    n = np.arange(2 * 3 * 112 * 112, dtype=np.float64)
    return np.sin(n * n / 1e4).astype(np.float32).reshape(2, 3, 112, 112)


@pytest.fixture
def here(shared, monkeypatch, tmp_path):
    """Its weights are in torch's cache; the folder of the project is empty."""
    if not (shared / "torch_home" / "checkpoints" / EDGEFACE.path.name).is_file():
        pytest.skip("EdgeFace-XS's weights are not in the shared folder")
    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
    monkeypatch.chdir(tmp_path)


def test_it_is_the_authors_network(here):
    vectors = weights.load_face_model("edgeface-xs", offline=True).network(inputs())
    assert vectors.shape == (2, 512)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[0, :4], FIRST, atol=1e-5)
    np.testing.assert_allclose(vectors[1, -4:], LAST, atol=1e-5)
    assert vectors[0] @ vectors[1] == pytest.approx(SIMILARITY, abs=1e-5)


def test_it_tells_people_apart_with_its_own_calibration(here, astronaut, grace_hopper):
    model = weights.load_face_model("edgeface-xs", offline=True)
    assert model.calibration is not None and model.calibration.crop == model.crop == EDGEFACE.crop
    detector = FaceDetector()
    darker = (astronaut * 0.6).astype(np.uint8)[:, ::-1].copy()
    images = [astronaut, darker, grace_hopper]
    a, b, c = (model.embed(image, detector.detect(image)[:1])[0] for image in images)
    assert a @ b > model.calibration.threshold(1e-4) > a @ c


def test_it_runs_on_the_cpu_beside_another_device_and_says_so(here, caplog):
    caplog.set_level("INFO")
    weights.load_face_model("edgeface-xs", "cuda", offline=True)
    assert "EdgeFace-XS runs on the CPU" in caplog.text


def test_a_file_with_another_hash_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    EDGEFACE.path.parent.mkdir()
    EDGEFACE.path.write_bytes(b"something else")
    monkeypatch.setattr(edgeface, "read_weights", lambda path: pytest.fail("it was opened"))
    for choice in ("edgeface-xs", EDGEFACE.path, None):
        with pytest.raises(ModelError, match="is damaged: its checksum is not the published one"):
            weights.load_face_model(choice, offline=True)


def test_it_is_no_torch_network(here):
    with pytest.raises(ModelError, match="is not a torch network"):
        weights.load_torch_model("edgeface-xs", offline=True)


def test_the_generator_makes_the_same_network(here, tmp_path, monkeypatch):
    pytest.importorskip("timm")
    from docs import generate_graphs

    monkeypatch.setattr(graphs, "ASSETS", tmp_path)
    generate_graphs.main(["edgeface-xs"])
    made = graphs.to_onnx(graphs.EDGEFACE_XS, edgeface.read_weights(EDGEFACE.path))
    np.testing.assert_allclose(open_embedder(made)(inputs())[0, :4], FIRST, atol=1e-5)
