"""The embedded model is used when it is requested, and when there is no other."""

import json
from dataclasses import replace

import numpy as np
import pytest

from facesync.errors import DownloadError, ModelError
from facesync.faces import models, weights
from facesync.faces.models import KNOWN
from facesync.faces.onnx_runtime import open_net
from tests.faces.stand_ins import CROP, write_embedded


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """No trained model, no cache, no assets, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(models, "ASSETS", tmp_path / "assets")
    for name in ("edgeface-xs", "vggface2"):
        nowhere = replace(KNOWN[name], url=f"http://127.0.0.1:9/{name}.pt")
        monkeypatch.setitem(KNOWN, name, nowhere)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "assets"


def test_it_is_used_on_request(empty):
    path = write_embedded(empty, threshold=0.4)
    model = weights.load_face_model("embedded", offline=True)
    assert (model.crop, model.fingerprint, model.threshold) == (CROP, "0123456789abcdef", 0.4)
    assert model.source == "the embedded model"
    crops = list(np.random.default_rng(0).integers(0, 255, (3, 112, 112, 3), np.uint8))
    embeddings = model.embed_crops(crops)
    assert embeddings.shape == (3, 512)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    same = weights.load_face_model(path)
    assert same.source == str(path)
    np.testing.assert_allclose(same.embed_crops(crops), embeddings)


def test_it_is_the_last_resort_and_a_warning_says_so(empty, caplog):
    for offline, error in ((True, ModelError), (False, DownloadError)):
        with pytest.raises(error):
            weights.load_face_model(None, offline=offline)
    write_embedded(empty)
    assert weights.expected(None) == (
        f"EdgeFace-XS, else the VGGFace2 weights, else the embedded model, {weights.BEST}"
    )
    for offline in (True, False):
        caplog.clear()
        assert weights.load_face_model(None, offline=offline).source == "the embedded model"
        assert caplog.text.count("using the embedded model instead") == 2
    with pytest.raises(ModelError, match="--offline"):
        weights.load_face_model("vggface2", offline=True)


def test_a_version_without_it_says_so(empty):
    with pytest.raises(ModelError, match="does not ship the embedded model"):
        weights.load_face_model("embedded")
    with pytest.raises(ModelError, match=r"no model x\.onnx"):
        weights.load_face_model("x.onnx")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path, facts: path.write_bytes(b"no net"),
        lambda path, facts: path.with_suffix(".json").unlink(),
        lambda path, facts: facts.update(crop={"kind": "round"}),
        lambda path, facts: facts.update(crop=None),
        lambda path, facts: facts.update(fingerprint=7),
        lambda path, facts: facts.update(threshold="high"),
        lambda path, facts: facts.update(threshold=float("nan")),
    ],
)
def test_a_damaged_one_is_one_line(empty, spoil):
    path = write_embedded(empty)
    facts = json.loads(path.with_suffix(".json").read_text())
    before = dict(facts)
    spoil(path, facts)
    if facts != before:
        path.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(ModelError) as caught:
        weights.load_face_model("embedded")
    assert "\n" not in str(caught.value)


def test_onnx_that_cannot_be_run_is_one_line(empty):
    from facesync.faces.onnx_files import write

    write(empty / "embedded.onnx", b"\x08\x07", {"crop": CROP.to_dict(), "fingerprint": ""})
    with pytest.raises(ModelError, match="cannot be run by ONNX Runtime"):
        weights.load_face_model("embedded")


def test_a_network_for_other_images_is_one_line(empty):
    run = open_net(write_embedded(empty))
    with pytest.raises(ModelError, match="cannot be run by ONNX Runtime"):
        run(np.zeros((1, 3, 8, 8), np.float32))


def test_it_is_not_a_torch_network(empty):
    write_embedded(empty)
    with pytest.raises(ModelError, match="is not a torch network"):
        weights.load_torch_model("embedded")
