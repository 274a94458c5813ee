"""Weights are checked before they are used, and are looked for in a fixed order."""

import contextlib
import pickle
from dataclasses import replace

import numpy as np
import pytest

from facesync.errors import ModelError
from facesync.faces import checkpoints, last_layer, models, onnx_files, weights
from facesync.faces.crops import ALIGNED_112, BOX, SQUARE
from facesync.faces.models import VGGFACE2
from facesync.faces.recognizer import Recognizer
from facesync.faces.settings import RecognizerSettings
from tests.faces.stand_ins import tiny_model
from tests.faces.test_calibration import MEASURED
from tests.faces.test_trust import FIGURES

torch = pytest.importorskip("torch")
from facesync.faces import torch_model  # noqa: E402


@pytest.fixture(scope="session")
def random_state():
    torch.manual_seed(0)
    return torch_model.new_network(num_classes=3).state_dict()


@pytest.fixture(scope="session")
def weights_file(random_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(random_state, path)
    return path


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """An empty torch cache, and a project folder without a trained model."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "torch"


def test_older_checkpoints_open_with_the_crop_they_were_trained_on(random_state, tmp_path):
    path = tmp_path / "old.pth"
    torch.save(
        {"epoch": 4, "model_state_dict": random_state, "optimizer_state_dict": {},
         "accuracy": 0.8765, "num_classes": 3}, path)  # fmt: skip
    model = weights.load_face_model(path)
    assert model.crop == ALIGNED_112
    assert model.source == f"{path} (epoch 4, validation accuracy 0.8765)"
    assert model.threshold is None


def test_embeddings_are_unit_length_and_do_not_depend_on_the_batch(weights_file):
    model = weights.load_face_model(weights_file)
    crops = list(np.random.default_rng(0).integers(0, 255, (3, 160, 160, 3), np.uint8))
    together = model.embed_crops(crops)
    assert together.shape == (3, 512)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([model.embed_crops([crop]) for crop in crops])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert model.embed_crops([]).shape == (0, 512)


def test_the_fingerprint_depends_on_weights_and_crop_but_not_on_the_classifier(random_state):
    network = torch_model.new_network(num_classes=3)
    network.load_state_dict(random_state)
    before = torch_model.fingerprint(network, SQUARE)
    assert before != torch_model.fingerprint(network, ALIGNED_112)
    with torch.no_grad():
        network.logits.weight += 1
    assert before == torch_model.fingerprint(network, SQUARE)
    with torch.no_grad():
        network.last_linear.weight[0, 0] += 0.001
    assert before != torch_model.fingerprint(network, SQUARE)


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda s: {"epoch": 1, "x": 2}, "holds no weights"),
        (lambda s: [1, 2], "holds no weights"),
        (lambda s: {"model_state_dict": {"a": torch.ones(1)}}, "is not an InceptionResnetV1"),
        (lambda s: {k: v for k, v in s.items() if "block8" not in k}, "is missing"),
        (lambda s: {**s, "last_linear.weight": torch.ones(128, 1792)}, r"is \(128, 1792\)"),
        (lambda s: {**s, "last_bn.weight": torch.full((512,), float("nan"))}, "not finite"),
        (lambda s: {**s, "last_bn.weight": print}, "tries to run code"),
        (lambda s: {"model_state_dict": s, "epoch": 1, "crop": {"kind": "round"}}, "crop"),
        (lambda s: {"model_state_dict": s, "epoch": 1, "accuracy": "high"}, "accuracy is 'high'"),
        (lambda s: {"model_state_dict": s, "threshold": float("nan")}, "threshold is nan"),
        (lambda s: {"model_state_dict": s, "epoch": "3)\x1b[1A\nAda: accepted"}, "its epoch is"),
        (lambda s: {0: torch.ones(1)}, "holds no weights"),
        (lambda s: {**s, "last_bn.weight": torch.ones(512).to_sparse()}, "sparse"),
        (lambda s: {**s, "last_bn.weight": torch.ones(512, device="meta")}, "meta"),
        (lambda s: {**s, "last_bn.weight": torch.ones(512, dtype=torch.complex64)}, "Complex"),
    ],
)
def test_an_unusable_checkpoint_is_one_line(random_state, tmp_path, spoil, says):
    path = tmp_path / "bad.pth"
    torch.save(spoil(random_state), path)
    with pytest.raises(ModelError, match=says) as caught:
        weights.load_face_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"just text\n", b"PK\x03\x04 not a zip", b"\x80\x02."])
def test_other_files_are_one_line(tmp_path, content):
    path = tmp_path / "notes.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"notes\.pth"):
        weights.load_face_model(path)


def test_a_truncated_or_corrupted_file_is_one_line(random_state, tmp_path):
    path = tmp_path / "cut.pth"
    # The same tensors with one value each: a file of the same structure, and small.
    torch.save({key: value.flatten()[:1].clone() for key, value in random_state.items()}, path)
    whole = bytearray(path.read_bytes())
    for length in (10, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"cut\.pth"):
            weights.load_face_model(path)
    random = np.random.default_rng(0)
    start = whole.index(b"data.pkl") + 100  # inside the pickle that lists the tensors
    for _ in range(100):
        corrupted = whole.copy()
        corrupted[start + random.integers(15000)] ^= int(random.integers(1, 256))
        path.write_bytes(corrupted)
        with contextlib.suppress(ModelError):
            checkpoints.read_checkpoint(path)


def test_missing_models_say_what_to_do(torch_home):
    with pytest.raises(ModelError, match=r"no model x\.pth; train one"):
        weights.load_face_model("x.pth")
    with pytest.raises(ModelError, match="--offline"):
        weights.load_face_model("vggface2", offline=True)


def test_order_option_choice_trained_model_then_the_best(torch_home, weights_file, random_state):
    cached = VGGFACE2.path
    assert cached.is_relative_to(torch_home)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(weights_file.read_bytes())
    model = weights.load_face_model(None, offline=True)
    assert model.source.startswith("the VGGFace2 weights") and model.why == weights.BEST
    weights.DEFAULT_MODEL.parent.mkdir()
    trained = {"epoch": 1, "model_state_dict": random_state}
    torch.save({**trained, "unseen": FIGURES}, weights.DEFAULT_MODEL)
    for choice in (None, "auto"):
        model = weights.load_face_model(choice, offline=True)
        assert model.source.startswith(str(weights.DEFAULT_MODEL)) and model.why == "trained here"
        assert model.trust.trusted and ": 0.850, the VGG" in model.trust.why
        assert weights.expected(choice) == f"{weights.DEFAULT_MODEL}, trained here"
    models.choose("vggface2")
    model = weights.load_face_model(None, offline=True)
    assert model.crop == BOX and model.why == "chosen with `models use`"
    assert weights.expected(None) == "the VGGFace2 weights, chosen with `models use`"
    model = weights.load_face_model(weights.DEFAULT_MODEL, offline=True)
    assert model.crop == ALIGNED_112 and model.why == ""


@pytest.mark.parametrize(
    "figures, why",
    [
        (None, "nobody measured it on people it was not trained on"),
        ({**FIGURES, "tar": 0.08}, "it is worse than what it started from (TAR at"),
        ({**FIGURES, "tar": float("nan")}, "models/best_face_model.pth is damaged: its figures"),
    ],
)
def test_a_trained_model_that_is_not_trusted_is_used_only_if_asked_for(
    torch_home, random_state, caplog, figures, why
):
    caplog.set_level("INFO")
    path = weights.DEFAULT_MODEL
    path.parent.mkdir()
    torch.save({"epoch": 1, "model_state_dict": random_state, "unseen": figures}, path)
    model = weights.load_face_model("auto", offline=True)
    assert model.source.startswith("the embedded model") and model.trust.trusted
    insists = f"instead of {path}, which is not trusted (--model {path} insists): "
    assert model.why.startswith(insists + why)
    assert f"Model: the embedded model, {model.why}" in caplog.messages
    assert model.why in weights.expected(None)
    assert weights.expected(path).startswith(f"{path}, not trusted: {why}")
    recognizer = Recognizer(RecognizerSettings(model=str(path)))
    if "damaged" in why:
        with pytest.raises(ModelError, match=why):
            recognizer.load()
        return
    for _ in range(2):
        recognizer = Recognizer(RecognizerSettings(model=str(path)))
        assert recognizer.trust()["trusted"] is False
        assert recognizer.model_in_words.startswith(f"{path}, not trusted: {why}")
        recognizer.load()
        assert f"{path} (epoch 1) is not trusted: {why}" in caplog.text
        assert f"{path} (epoch 1), not trusted: {why}" in recognizer.model_in_words
        about = recognizer.trust()
        assert about["trusted"] is about["model"]["trusted"] is recognizer.facts(1)["trusted"]
        assert about["trusted"] is False and why in about["model"]["why"]
        caplog.clear()


def test_an_export_keeps_the_figures(torch_home, random_state, tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"epoch": 1, "model_state_dict": random_state, "unseen": FIGURES}, path)
    onnx = tmp_path / "x.onnx"
    facts = torch_model.open_torch_model(path).facts()
    for changed, trusted in (({}, True), ({"unseen": None}, False)):
        onnx_files.write(onnx, tiny_model(), {**facts, **changed})
        assert weights.load_face_model(onnx).trust.trusted is trusted


def test_real_weights_tell_people_apart(shared, monkeypatch, astronaut, grace_hopper):
    from facesync.faces.detection import FaceDetector

    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
    model = weights.load_face_model("vggface2", offline=True)
    # People are registered with it.
    assert model.fingerprint == VGGFACE2.card()["calibration"]["model_fingerprint"]
    detector = FaceDetector()
    darker = (astronaut * 0.6).astype(np.uint8)[:, ::-1].copy()
    images = [astronaut, darker, grace_hopper]
    a, b, c = (model.embed(image, detector.detect(image)[:1])[0] for image in images)
    assert a @ b > 0.8 > 0.4 > a @ c


PUBLISHED = "88132c2f32b13a36"
"""Fingerprint of the VGGFace2 weights with their own last layer."""


def test_the_model_vggface2_has_a_new_last_layer_and_its_file_has_not(shared, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
    served = weights.load_face_model("vggface2", offline=True)
    found = weights.find_weights("vggface2", offline=True)
    in_torch = weights.as_torch(found)
    assert served.fingerprint == in_torch.fingerprint != PUBLISHED
    crops = list(np.random.default_rng(0).integers(0, 255, (2, 160, 160, 3), np.uint8))
    batch = np.stack([served.crop.array(crop) for crop in crops])
    expected = torch_model.on_arrays(in_torch.network, "cpu")(batch)
    np.testing.assert_allclose(served.embed_crops(crops), expected, atol=1e-4)
    # Training and distillation start from what was published; so is the file, by its path.
    assert weights.load_torch_model("vggface2", offline=True).fingerprint == PUBLISHED
    state, path = weights.vggface2_state(offline=True)
    assert not torch.equal(state["last_linear.weight"], in_torch.network.last_linear.weight)
    by_path = weights.find_weights(path)
    assert weights.as_torch(by_path).fingerprint == PUBLISHED
    assert by_path.known.card()["calibration"]["model_fingerprint"] == PUBLISHED


def test_a_last_layer_that_is_missing_or_changed_is_refused(
    torch_home, weights_file, tmp_path, monkeypatch
):
    VGGFACE2.path.parent.mkdir(parents=True)
    VGGFACE2.path.write_bytes(weights_file.read_bytes())
    monkeypatch.setattr(last_layer, "ASSETS", tmp_path)
    for content in (None, b"", pickle.dumps(np.zeros((512, 1793)))):
        if content is not None:
            (tmp_path / last_layer.HEAD_NAME).write_bytes(content)
        with pytest.raises(ModelError, match=r"head\.npy is missing or damaged; install"):
            weights.load_face_model("vggface2", offline=True)


def test_a_checkpoint_brings_its_calibration(random_state, tmp_path):
    path = tmp_path / "calibrated.pth"
    torch.save(random_state, path)
    model = weights.load_face_model(path)
    assert model.calibration is None
    for fingerprint in (model.fingerprint, "of another model"):
        calibration = replace(MEASURED, crop=model.crop, model_fingerprint=fingerprint)
        held = {"model_state_dict": random_state, "calibration": calibration.to_dict()}
        torch.save(held, path)
        loaded = weights.load_face_model(path).calibration
        assert loaded == (calibration if fingerprint == model.fingerprint else None)
