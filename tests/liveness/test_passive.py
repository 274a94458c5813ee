"""Tests of facesync.liveness.passive and crops, with a tiny model made here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from facesync.errors import ModelError
from facesync.faces import onnx_files
from facesync.liveness import passive
from facesync.liveness.crops import SIDE, cut, surroundings, texture_and_context
from facesync.liveness.passive import load_passive
from tests.liveness.fakes import face, head

THRESHOLDS = {"threshold": 0.5, "spoof_below": 0.2, "live_from": 0.8}
FACTS = {"kind": "liveness", "side": SIDE, "thresholds": THRESHOLDS}
PIXELS = TensorProto.FLOAT, ["batch", 2, 3, SIDE, SIDE]


def write_model(path: Path, by: float = 1 / 255, outputs: int = 3, **facts: object) -> Path:
    """Write a model whose scores are the mean red, green and blue of the context crop, scaled."""
    nodes = [
        helper.make_node("Slice", ["input", "from", "to", "axis"], ["context"]),
        helper.make_node("ReduceMean", ["context"], ["mean"], axes=[1, 3, 4], keepdims=0),
        helper.make_node("Mul", ["mean", "by"], ["scaled"]),
        helper.make_node("Slice", ["scaled", "zero", "outputs", "axis"], ["scores"]),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("from", 1), ("to", 2), ("axis", 1), ("zero", 0), ("outputs", outputs))
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", *PIXELS)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", outputs])],
        [*constants, helper.make_tensor("by", TensorProto.FLOAT, [1], [by])],
    )
    opset = [helper.make_opsetid("", 17)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    onnx.checker.check_model(content)
    onnx_files.write(path, content, {**FACTS, **facts})
    return path


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "tiny.onnx")


def test_it_scores_every_face_of_an_image(model, monkeypatch):
    monkeypatch.setattr(passive, "ASSETS", model.parent)
    image_rgb = np.zeros((480, 640, 3), np.uint8)
    image_rgb[:, :320], image_rgb[:, 320:] = (204, 25, 51), (51, 102, 51)
    left, right = (face(head(size=0.6), x) for x in (-200, 200))
    loaded = load_passive(str(model))
    scores = loaded.score(image_rgb, [left, right])
    assert [score.attack for score in scores] == ["replay", "print"]
    assert (
        scores[0].surroundings == scores[1].surroundings == surroundings(image_rgb, left.box_xyxy)
    )
    assert scores[0].live == pytest.approx(0.8 * scores[0].surroundings, abs=0.01)
    assert scores[1].live == pytest.approx(0.2 * scores[0].surroundings, abs=0.01)
    assert loaded.score(image_rgb, []) == []
    assert (loaded.thresholds.live_from, len(loaded.fingerprint)) == (0.8, 16)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"kind": "embedding"}, "is not a liveness model"),
        ({"side": 80}, "is not a liveness model"),
        ({"thresholds": None}, "does not say its thresholds"),
        ({"thresholds": {"threshold": 0.5}}, "does not say its thresholds"),
        ({"thresholds": {**THRESHOLDS, "live_from": "0.8"}}, "does not say its thresholds"),
        ({"thresholds": {**THRESHOLDS, "spoof_below": 0.6}}, "thresholds out of order"),
        ({"thresholds": {**THRESHOLDS, "live_from": 0.4}}, "thresholds out of order"),
        ({"thresholds": {**THRESHOLDS, "spoof_below": 0}}, "thresholds out of order"),
        ({"thresholds": {**THRESHOLDS, "live_from": 1.5}}, "thresholds out of order"),
    ],
)
def test_another_kind_of_model_is_refused_in_one_line(tmp_path, facts, message):
    path = write_model(tmp_path / "other.onnx", **facts)
    with pytest.raises(ModelError, match=message) as error:
        load_passive(str(path))
    assert "\n" not in str(error.value) and "train" in str(error.value)


def test_missing_and_damaged_files_are_refused_in_one_line(model, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=r"liveness model .* is missing"):
        load_passive(str(tmp_path / "none.onnx"))
    monkeypatch.setattr(passive, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match="the liveness model embedded is missing"):
        load_passive()
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ModelError, match="is damaged"):
        load_passive(str(model))
    model.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match="cannot read"):
        load_passive(str(model))


@pytest.mark.parametrize(
    "wrong", [{"by": float("nan")}, {"by": 1.0}, {"by": -0.01}, {"outputs": 2}], ids=str
)
def test_what_is_no_probability_is_no_score(tmp_path, wrong):
    loaded = load_passive(str(write_model(tmp_path / "wrong.onnx", **wrong)))
    with pytest.raises(ModelError, match="gives no score"):
        loaded.score(np.full((480, 640, 3), 200, np.uint8), [face(head())])


@pytest.mark.parametrize("output", [np.array([["a", "b", "c"]]), [{0: 0.5}]], ids=["text", "map"])
def test_what_is_no_number_is_no_score(model, monkeypatch, output):
    loaded = load_passive(str(model))
    monkeypatch.setattr(loaded, "_run", lambda batch: [output])
    with pytest.raises(ModelError, match="gives no score"):
        loaded.score(np.full((480, 640, 3), 200, np.uint8), [face(head())])


BOX = np.float32([100, 60, 200, 180])


@pytest.mark.parametrize("zoom", [0.5, 1, 2, 3, 8])
def test_crops_show_the_same_whatever_the_resolution(zoom):
    small = np.random.default_rng(1).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    scene = cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC)
    wanted = texture_and_context(scene, BOX)
    assert wanted.shape == (2, SIDE, SIDE, 3)
    by = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    found = texture_and_context(
        cv2.resize(scene, None, fx=zoom, fy=zoom, interpolation=by), BOX * zoom
    )
    assert np.abs(found.astype(int) - wanted).mean() < 5


def test_a_fine_grid_is_averaged_not_skipped():
    grid = np.zeros((480, 640, 3), np.uint8)
    grid[::2, ::2] = 200  # a quarter of the pixels
    crop = cut(grid, np.float32([120, 40, 520, 440]), 1.0, SIDE)
    assert np.abs(crop.astype(int) - 50).max() <= 8


def test_what_lies_outside_of_the_image_is_black():
    white = np.full((240, 320, 3), 255, np.uint8)
    crop = cut(white, np.float32([-60, 60, 60, 180]), 1.0, SIDE)
    assert crop[:, : SIDE // 2 - 2].max() == 0 and crop[:, SIDE // 2 + 2 :].min() == 255
    assert cut(white, np.float32([-300, -300, -200, -200]), 1.0, SIDE).max() == 0
    assert cut(white, np.float32([319, 239, 900, 900]), 1.0, SIDE).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize(
    ("box", "share"),
    [
        ([140, 100, 180, 140], 1.0),
        ([0, 0, 320, 320], 0.1029),
        ([-20, 100, 20, 140], 0.5),
        ([-200, -200, -190, -190], 0.0),
    ],
)
def test_the_share_of_the_surroundings_that_is_seen(box, share):
    assert surroundings(np.zeros((240, 320, 3), np.uint8), np.float32(box)) == pytest.approx(
        share, abs=1e-4
    )
