"""An export is written, opened again, compared, and kept only if it is good."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import export_model
from facesync.evaluation.protocols import PairSet
from facesync.export import export, formats, images, original
from facesync.export.compare import compare, table
from facesync.export.original import find_original
from facesync.export.plain import plain
from facesync.export.settings import FORMAT_NAMES, ExportSettings
from facesync.faces import models, weights
from facesync.faces.crops import CropSpec
from facesync.faces.detection import FaceDetector
from facesync.faces.onnx_files import read_description
from facesync.faces.onnx_runtime import open_embedder
from facesync.faces.torch_model import TorchModel, fingerprint
from facesync.images import save_jpeg
from facesync.liveness.passive import load_passive
from tests.faces.stand_ins import CROP, write_embedded

SMALL = CropSpec("square", crop_size=32, input_size=32)


class SmallNetwork(torch.nn.Module):
    """A convolution and a linear layer in place of InceptionResnetV1."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.linear = torch.nn.Linear(8 * 15 * 15, 512)

    def forward(self, x):
        embedding = self.linear(torch.relu(self.convolution(x)).flatten(1))
        return torch.nn.functional.normalize(embedding)


@pytest.fixture
def small():
    torch.manual_seed(0)
    network = SmallNetwork().eval()
    return TorchModel(
        network,
        crop=SMALL,
        fingerprint=fingerprint(network, SMALL),
        remark="epoch 3",
        threshold=0.5,
    )


@pytest.fixture
def checkpoint(small, tmp_path, monkeypatch):
    """A file that opens as the small network; few images, to keep the tests fast."""
    path = tmp_path / "small.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(original, "as_torch", lambda _: small)
    monkeypatch.setattr(images, "COPIES", 3)
    monkeypatch.setattr(images, "CALIBRATION_IMAGES", 4)
    return path


@pytest.fixture
def run(checkpoint, tmp_path):
    """Run the script on the small network; returns its exit code."""

    def call(*more, format="onnx", model=checkpoint):
        settings = ["--model", model, "--format", format, "--output", tmp_path / "out", *more]
        return export_model.main([str(value) for value in settings])

    return call


def _one_line(capfd):
    lines = capfd.readouterr().err.strip().splitlines()
    last = lines[-1]
    assert last.startswith("error: ") and not any("Traceback" in line for line in lines)
    return last


def test_onnx_is_the_same_model(run, small, tmp_path, capfd):
    assert run() == 0
    path = tmp_path / "out" / "small.onnx"
    facts = read_description(path)
    assert (facts["fingerprint"], facts["threshold"]) == (small.fingerprint, 0.5)
    assert facts["comparison"]["cosine_min"] > 0.9999
    assert facts["comparison"]["accuracy"] == facts["comparison"]["original_accuracy"]
    shown = capfd.readouterr().out
    assert "cosine to original, lowest" in shown and str(path) in shown
    model = weights.load_face_model(path)
    assert (model.crop, model.threshold, model.source) == (SMALL, 0.5, f"{path} (epoch 3)")
    crops = list(np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8))
    batch = torch.from_numpy(np.stack([SMALL.array(crop) for crop in crops]))
    theirs = small.network(batch).detach().numpy()
    np.testing.assert_allclose(model.embed_crops(crops), theirs, atol=1e-5)


def test_int8_is_a_different_model(run, small, tmp_path):
    assert run("--allow-loss", format="onnx-int8") == 0
    path = tmp_path / "out" / "small-int8.onnx"
    facts = read_description(path)
    assert facts["fingerprint"] != small.fingerprint
    assert facts["threshold"] is None and facts["calibration"] is None
    assert facts["comparison"]["cosine_mean"] > 0.98
    assert facts["comparison"]["megabytes"] < 0.3 * 4 * 512 * 8 * 15 * 15 / 1e6
    model = weights.load_face_model(path)
    assert model.source == f"{path} (epoch 3, onnx-int8)"
    assert model.embed_crops([np.zeros((32, 32, 3), np.uint8)]).shape == (1, 512)


def test_int8_weights_keep_to_seven_bits_with_a_scale_for_each_channel(small):
    import onnx
    from onnx import numpy_helper

    from facesync.export.quantize import quantized
    from facesync.faces.onnx_export import to_onnx

    random = np.random.default_rng(0)
    batches = [random.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32) for _ in range(3)]
    net = onnx.load_from_string(quantized(to_onnx(small.network, (2, 3, 32, 32)), batches))
    constants = {kept.name: numpy_helper.to_array(kept) for kept in net.graph.initializer}
    int8 = {
        name: kept for name, kept in constants.items() if kept.dtype == np.int8 and kept.ndim > 1
    }
    assert len(int8) == 2
    for kept in int8.values():
        assert -64 <= kept.min() and kept.max() <= 64  # or pairs of products overflow 16 bits
    inputs = {
        node.input[0]: node.input for node in net.graph.node if node.op_type == "DequantizeLinear"
    }
    assert sorted(constants[inputs[name][1]].size for name in int8) == [8, 512]
    activations = [node.input[2] for node in net.graph.node if node.op_type == "QuantizeLinear"]
    assert activations and all(constants[name].dtype == np.uint8 for name in activations)


def _noisy(format):
    """The format, except that opened models give random embeddings."""
    random = np.random.default_rng(0)

    def open_noisy(path):
        found = random.standard_normal((1000, 1, 512)).astype(np.float32)
        answers = iter(found / np.linalg.norm(found, axis=-1, keepdims=True))
        return lambda batch: next(answers)

    return replace(format, open=open_noisy)


def test_a_loss_of_accuracy_is_refused_and_leaves_nothing(run, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(formats.FORMATS, "onnx", _noisy(formats.FORMATS["onnx"]))
    assert run() == 1
    assert "points of accuracy" in (line := _one_line(capfd)) and "--allow-loss" in line
    assert not (tmp_path / "out").exists()
    assert run("--allow-loss") == 0
    comparison = read_description(tmp_path / "out" / "small.onnx")["comparison"]
    assert comparison["original_accuracy"] - comparison["accuracy"] > export.MOST_LOSS


@pytest.mark.parametrize(
    "format, package, requirement",
    [("litert", "litert_torch", "litert-torch"), ("executorch", "executorch", "executorch")],
)
def test_a_format_whose_package_is_missing_says_how_to_install_it(
    run, tmp_path, monkeypatch, capfd, format, package, requirement
):
    monkeypatch.setitem(sys.modules, package, None)  # makes importing it fail
    assert run(format=format) == 1
    line = _one_line(capfd)
    assert f"--format {format} needs" in line and f"pip install {requirement}" in line
    assert not (tmp_path / "out").exists()


def test_onnx_of_a_model_that_is_onnx_is_a_copy(run, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "ASSETS", tmp_path / "assets")
    shipped = write_embedded(tmp_path / "assets", threshold=0.4)
    assert run(model="embedded") == 0
    copy = tmp_path / "out" / "embedded.onnx"
    assert copy.read_bytes() == shipped.read_bytes()
    facts = read_description(copy)
    assert facts.pop("input")["shape"] == [1, 3, CROP.input_size, CROP.input_size]
    assert facts == read_description(shipped)
    assert weights.load_face_model(copy).crop == CROP


@pytest.mark.slow
def test_int8_of_the_embedded_model_is_another_one_that_the_app_opens(run, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "COPIES", 2)
    assert run("--allow-loss", "--offline", model="embedded", format="onnx-int8") == 0
    path = tmp_path / "out" / "embedded-int8.onnx"
    facts, shipped = read_description(path), models.EMBEDDED.card()
    assert facts["crop"] == shipped["crop"] and facts["comparison"]["cosine_min"] > 0.97
    assert facts["input"]["values"] == "(0…255 - 127.5) / 128"
    # What was measured on the original was not measured on it.
    assert facts["fingerprint"] != shipped["fingerprint"] and facts["calibration"] is None
    assert not {"open_set", "rates_in_use", "unpack"} & set(facts)
    model = weights.load_face_model(path)
    assert model.calibration is None and not model.trust.trusted


def test_liveness_as_onnx_is_what_ships_and_says_what_it_takes(run, tmp_path):
    assert run(model="liveness") == 0
    facts = load_passive(str(tmp_path / "out" / "liveness.onnx")).facts
    assert facts["kinds"][0] == "live" and 0 < facts["thresholds"]["threshold"] < 1
    taken = facts["input"]
    assert taken["shape"] == [1, 2, 3, 112, 112]
    assert taken["colour"] == "RGB" and taken["values"] == "0…255"
    assert taken["squares"][1].startswith("2.7 times") and taken["outside the image"] == "black"


def test_int8_of_liveness_keeps_its_thresholds_and_is_compared_by_its_scores(
    run, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(images, "COPIES", 2)
    assert run("--allow-loss", model="liveness", format="onnx-int8") == 0
    path = tmp_path / "out" / "liveness-int8.onnx"
    model, shipped = load_passive(str(path)), load_passive()
    assert model.thresholds == shipped.thresholds
    assert model.fingerprint != shipped.fingerprint
    comparison = model.facts["comparison"]
    assert 0.5 < comparison["score_min"] <= comparison["score_mean"] < 1
    assert comparison["auc"] is None and "score" in capfd.readouterr().out
    assert path.stat().st_size < models.ASSETS.joinpath("liveness.onnx").stat().st_size / 2


@pytest.mark.slow
def test_liveness_is_compared_on_live_faces_and_attacks(run, tmp_path, capfd):
    data = tmp_path / "data"
    for kind, (name, photo) in zip(("live", "print"), images.photographs().items(), strict=True):
        for video in ("a", "b"):
            for frame in range(2):
                target = data / kind / f"{name.replace(' ', '')}_{video}_{frame}.jpg"
                save_jpeg(photo, target)
    more = ["--data", data, "--allow-loss"]
    assert run(*more, model="liveness", format="onnx-int8") == 0
    comparison = read_description(tmp_path / "out" / "liveness-int8.onnx")["comparison"]
    assert comparison["images"] == 4  # one of each video
    assert 0 <= comparison["auc"] <= 1 and 0 <= comparison["accuracy"] <= 1
    assert run(*more) == 2 and "--data is for a liveness model" in _one_line(capfd)
    empty = [*more, "--pairs", tmp_path / "pairs.txt", "--images", data]
    for wrong in (["--pairs", tmp_path / "x", "--images", data], empty):
        assert run(*wrong, model="liveness", format="onnx-int8") == 2
        assert "--data is for this one" in _one_line(capfd)


def test_edgeface_as_onnx_is_the_same_model_with_its_calibration(run, tmp_path, shared_weights):
    assert run("--offline", model="edgeface-xs") == 0
    (path,) = (tmp_path / "out").glob("*.onnx")
    exported = weights.load_face_model(path)
    known = weights.load_face_model("edgeface-xs", offline=True)
    assert exported.fingerprint == known.fingerprint and exported.crop == known.crop
    assert exported.calibration is not None
    crops = list(np.random.default_rng(0).integers(0, 255, (2, 112, 112, 3), np.uint8))
    np.testing.assert_allclose(exported.embed_crops(crops), known.embed_crops(crops), atol=1e-5)


def test_int8_of_a_network_with_layer_norms_finds_ranges_at_each_call(shared_weights):
    """Calibrated ranges leave a cosine of 0.26; 0.99 is what the authors' own layers have."""
    import onnx

    from facesync.export.quantize import quantized

    edgeface = find_original("edgeface-xs", offline=True)
    small = quantized(plain(edgeface.network), [])
    operators = {node.op_type for node in onnx.load_from_string(small).graph.node}
    assert "MatMulInteger" in operators and "QuantizeLinear" not in operators
    assert len(small) < len(edgeface.network) / 2
    photo = images.photographs()["Grace Hopper"]
    (face,) = FaceDetector().detect(photo)
    given = edgeface.cut(photo, face)
    likeness = edgeface.run(given)[0] @ open_embedder(small)(given)[0]
    assert likeness > 0.97


def test_a_damaged_onnx_file_is_not_copied(run, tmp_path, capfd):
    original = write_embedded(tmp_path / "given")
    original.write_bytes(b"cut off")
    assert run(model=original) == 1
    _one_line(capfd)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def portraits(tmp_path):
    """Images of two people in folders like LFW's, and a list of two folds of two pairs."""
    for name, photo in images.photographs().items():
        for number, shift in enumerate((0, 8), start=1):
            folder = tmp_path / "faces" / name.replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            save_jpeg(photo[shift:], folder / f"{folder.name}_{number:04d}.jpg")
    one, other = (name.replace(" ", "_") for name in images.photographs())
    rows = [f"{one}\t1\t2", f"{one}\t1\t{other}\t1", f"{other}\t1\t2", f"{one}\t2\t{other}\t2"]
    (tmp_path / "pairs.txt").write_text("\n".join(["2\t1", *rows]) + "\n")
    return tmp_path / "pairs.txt", tmp_path / "faces"


def test_own_pairs_and_calibration_images(run, tmp_path, portraits):
    pairs, images = portraits
    broken = images / "broken.jpg"
    broken.write_bytes(b"no image")
    more = ["--pairs", pairs, "--images", images, "--calibration-images", images, "--allow-loss"]
    assert run(*more, format="onnx-int8") == 0
    comparison = read_description(tmp_path / "out" / "small-int8.onnx")["comparison"]
    assert comparison["compared_on"] == "pairs.txt, 2 folds, 4 pairs" and comparison["images"] == 4


def test_unusable_pairs_images_and_models_are_one_line(run, tmp_path, portraits, capfd):
    pairs, images = portraits
    empty = tmp_path / "empty"
    empty.mkdir()
    grey = tmp_path / "grey"
    for path in images.glob("*/*.jpg"):
        (grey / path.parent.name).mkdir(parents=True, exist_ok=True)
        save_jpeg(np.full((250, 250, 3), 90, np.uint8), grey / path.parent.name / path.name)
    text = tmp_path / "text.txt"
    text.write_text("no pairs\n")
    for more in (
        ["--pairs", tmp_path / "none.txt", "--images", images],
        ["--pairs", text, "--images", images],
        ["--pairs", pairs, "--images", empty],
        ["--pairs", pairs, "--images", grey],
    ):
        assert run(*more) == 1
        _one_line(capfd)
    for folder in (empty, grey, tmp_path / "none"):
        assert run("--calibration-images", folder, format="onnx-int8") == 1
        assert "to calibrate on" in _one_line(capfd)
    assert run(model=tmp_path / "none.pth") == 1
    assert "there is no model" in _one_line(capfd)
    assert not (tmp_path / "out").exists()


def test_wrong_usage(run, portraits, capfd):
    pairs, _ = portraits
    assert run("--pairs", pairs) == 2
    assert "go together" in capfd.readouterr().err
    with pytest.raises(SystemExit) as ended:
        run(format="caffe")
    assert ended.value.code == 2
    assert tuple(formats.FORMATS) == FORMAT_NAMES


def test_an_output_that_cannot_be_written_is_one_line(run, tmp_path, capfd):
    (tmp_path / "out").write_bytes(b"a file")
    assert run() == 1
    _one_line(capfd)


def test_one_person_measures_no_accuracy():
    """With a single sample photograph there are no pairs of two people."""
    unit = np.eye(1, 512, dtype=np.float32)
    pairs = PairSet("one person", [], np.array([0]), np.array([0]), np.array([True]),
                    np.array([0]), folds_given=False)  # fmt: skip
    trial = images._trial_of_faces([np.zeros((1, 3, 32, 32), np.float32)], pairs, ["Ada"])
    found = compare(lambda batch: unit, lambda batch: unit, trial)
    assert found["accuracy"] is None and found["cosine_min"] == 1
    shown = table("onnx", "torch", {**found, "megabytes": 1, "original_megabytes": 1})
    assert "not measured" in shown
    export._check_loss(found, ExportSettings("x", "onnx", Path("out")))


def test_one_photograph_is_enough_without_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert list(images.photographs()) == ["Grace Hopper"]
    monkeypatch.setattr(images, "COPIES", 2)
    trial = images.trial_of_copies(find_original("embedded", offline=True))
    assert len(trial.inputs) == 2 and "1 photograph," in trial.source
    assert trial.measure(np.ones((2, 512), np.float32)) == {"accuracy": None, "tar": None}
