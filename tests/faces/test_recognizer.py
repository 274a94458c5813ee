"""Which threshold wins: the option, the calibration, the checkpoint's, the default."""

from dataclasses import replace

import numpy as np
import pytest

from facesync.app.cameras import Frame
from facesync.app.settings import AppSettings
from facesync.app.watcher import Watcher
from facesync.errors import ModelError
from facesync.faces.crops import SQUARE
from facesync.faces.detection import Face
from facesync.faces.embedding import FaceModel
from facesync.faces.lighting import equalize
from facesync.faces.models import EDGEFACE, KnownModel
from facesync.faces.recognizer import Recognizer
from tests.faces.test_calibration import GROUP, MEASURED


def recognizer(settings=None, **model):
    made = Recognizer(settings or AppSettings())
    loaded = FaceModel(lambda batch: batch, SQUARE, "f", "weights", **model)
    made._model = loaded
    return made


@pytest.mark.parametrize(
    ("settings", "model", "expected", "words"),
    [
        ({"threshold": 0.7}, {"calibration": MEASURED}, 0.7, "--threshold"),
        (
            {},
            {"calibration": MEASURED, "threshold": 0.3},
            0.5,
            "for a false match rate of 0.001, measured on 100 people of images",
        ),
        ({"fmr": 1e-4}, {"calibration": MEASURED}, 0.58, "a false match rate of 0.0001, measured"),
        (
            {"fmr": 1e-5},
            {"calibration": MEASURED},
            0.58 + 0.03 * np.log(10),
            "extrapolated from what",
        ),
        (
            {},
            {
                "calibration": replace(
                    MEASURED, groups={"a": GROUP, "b": {**GROUP, "counts": False}}
                )
            },
            0.4,
            "rate of 0.02, measured on 100 people of images, the worst of 1 group",
        ),
        ({}, {"threshold": 0.3}, 0.3, "the model's own"),
        ({}, {}, 0.6, "not calibrated"),
    ],
)
def test_the_threshold_and_who_says_so(settings, model, expected, words):
    made = recognizer(AppSettings(**settings), **model)
    assert made.threshold == pytest.approx(expected)
    assert words in made.threshold_in_words(1)


def test_more_people_need_a_higher_threshold_if_the_model_is_calibrated():
    calibrated = recognizer(calibration=MEASURED)
    assert calibrated.threshold_for(1000) > calibrated.threshold_for(10) > calibrated.threshold
    needed = f"{calibrated.threshold_for(10):.3f} for a false match rate of 0.001 among 10 people, "
    needed += "measured on 100 people of images"
    assert calibrated.threshold_in_words(10) == needed
    asked_for = recognizer(AppSettings(threshold=0.7), calibration=MEASURED)
    assert asked_for.threshold_for(1000) == 0.7


@pytest.mark.parametrize(
    ("settings", "model", "expected"),
    [
        ({}, {"calibration": MEASURED}, 0.4),  # what a rate of 1e-2 accepts
        ({"fmr": 0.5}, {"calibration": MEASURED}, 0.4),
        ({"threshold": 0.7}, {"calibration": MEASURED}, 0.65),
        ({}, {}, 0.55),
    ],
)
def test_a_refusal_is_near_if_ten_times_the_rate_would_have_accepted(settings, model, expected):
    assert recognizer(AppSettings(**settings), **model).nearly_from(1) == pytest.approx(expected)


@pytest.mark.parametrize(("fmr", "fpir"), [(1e-2, 0.01), (1e-3, 0.001), (1e-5, 0.001)])
def test_what_fewer_images_cost_is_on_the_models_card(monkeypatch, fmr, fpir):
    rows = [{"enrolled": n, "fpir": f, "fnir": f / n} for n in (1, 2, 3) for f in (0.001, 0.01)]
    monkeypatch.setattr(KnownModel, "card", lambda model: {"open_set": rows})
    known = {"calibration": MEASURED, "known": EDGEFACE}
    made = recognizer(AppSettings(fmr=fmr), **known)
    assert [made.refused_share(n) for n in (1, 3, 4)] == [fpir, fpir / 3, None]
    assert recognizer(AppSettings(threshold=0.5), **known).refused_share(1) is None
    assert recognizer(calibration=MEASURED).refused_share(1) is None  # a model of one's own


def test_a_rate_that_no_similarity_keeps_is_said_and_not_used():
    beyond = recognizer(AppSettings(fmr=1e-12), calibration=MEASURED)
    assert "cannot keep a false match rate of 1e-12 among 20 people" in beyond.threshold_in_words(
        20
    )
    with pytest.raises(ModelError, match="use a higher --fmr"):
        beyond.threshold_for(20)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0, 0.1])
def test_what_a_model_gives_is_an_embedding_or_an_error(broken):
    model = FaceModel(lambda batch: np.full((len(batch), 512), broken), SQUARE, "f", "weights")
    with pytest.raises(ModelError, match="no valid face embedding"):
        model.embed_crops([np.zeros((112, 112, 3), np.uint8)])


def test_a_comparison_says_on_whom_its_probability_was_measured():
    one = np.eye(1, 512, dtype=np.float32)[0]
    compared = recognizer(calibration=MEASURED).compare(one, one)
    assert compared.calibrated_on == "100 people of images"
    assert str(compared).endswith(", over 99.9 % sure as measured on 100 people of images)")
    assert recognizer().compare(one, one).calibrated_on is None


@pytest.mark.parametrize(("level", "changed"), [(12, True), (90, False), (240, False)])
def test_only_dark_images_are_lit_before_faces_are_looked_for(level, changed):
    random = np.random.default_rng(0)
    image = random.integers(level - 10, level + 10, (60, 80, 3)).astype(np.uint8)

    class Detector:
        def detect(self, image_rgb):
            self.seen = image_rgb
            return []

    made = recognizer()
    made._detector = Detector()
    assert made.look(image) is None
    expected = equalize(image) if changed else image
    np.testing.assert_array_equal(made._detector.seen, expected)


def test_a_frame_is_relit_once(monkeypatch):
    calls = []

    def relit(image_rgb):
        calls.append(1)
        return image_rgb

    monkeypatch.setattr("facesync.faces.recognizer.relit", relit)
    monkeypatch.setattr("facesync.app.watcher.relit", relit)
    monkeypatch.setattr("facesync.app.watcher._worth_it", lambda image_rgb, face: True)
    made = Recognizer(AppSettings())

    class Detector:
        def detect(self, image_rgb):
            return [Face(np.array([10, 10, 50, 50], dtype=np.float32), np.zeros((5, 2)), 1.0)]

        def follow(self, image_rgb, faces):
            return faces

    class Model(FaceModel):
        def embed(self, image_rgb, faces):
            return np.eye(512, dtype=np.float32)[: len(faces)]

    made._detector = Detector()
    made._model = Model(lambda batch: batch, SQUARE, "f", "weights")
    image_bgr = np.full((60, 80, 3), 90, dtype=np.uint8)
    watcher = Watcher(made, [], 0.05)
    for number in range(3):  # searched, then followed
        watcher.look(Frame(number, number / 10, image_bgr))
    assert len(calls) == 3
    made.find_and_embed(image_bgr)
    assert len(calls) == 4
