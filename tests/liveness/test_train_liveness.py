"""`train_liveness.py` from folders to a model that the app can use."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import train_liveness
from facesync.errors import DataError
from facesync.faces.detection import Face
from facesync.images import save_jpeg
from facesync.liveness import fitting, material, training
from facesync.liveness.crops import SIDE
from facesync.liveness.material import OTHER_ATTACK, collect, live_samples, varied
from facesync.liveness.passive import load_passive
from facesync.liveness.samples import read_samples
from facesync.liveness.thresholds import Scores, choose


class Middle:
    """Finds a face in the middle of every image, unless that is black."""

    calls = 0

    def detect(self, image_rgb):
        self.calls += 1
        height, width = image_rgb.shape[:2]
        box = np.array([width * 0.3, height * 0.2, width * 0.7, height * 0.8], np.float32)
        points = np.array([[40, 40], [60, 40], [50, 50], [42, 62], [58, 62]], np.float32)
        return [Face(box, points, 0.99)] if image_rgb.any() else []


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fitting, "BATCH", 4)


@pytest.fixture
def detector(monkeypatch):
    found = Middle()
    monkeypatch.setattr(training, "FaceDetector", lambda: found)
    return found


def save(path, seed):
    noise = np.random.default_rng(seed).integers(30, 220, (90, 100, 3)).astype(np.uint8)
    save_jpeg(noise if seed else np.zeros_like(noise), path)


@pytest.fixture
def sets(tmp_path):
    """Two datasets, people to set thresholds with, and more live faces."""
    seed = 0
    for name, kinds in (("a", ("print", "replay")), ("b", ("mask",)), ("others", ("print",))):
        for kind in ("live", *kinds):
            for person in ("ada", "bob", "cleo"):
                seed += 1
                save(tmp_path / name / kind / f"{person}_{seed}_1.jpg", seed)
    for person in ("Dora", "Emil"):
        seed += 1
        save(tmp_path / "more" / person / f"{person}_0001.jpg", seed)
    return tmp_path


@pytest.fixture
def train(sets, detector):
    """Run the script in a folder; return its exit code."""

    def run(*args, data=("a", "b")):
        given = ["--data", *(str(sets / name) for name in data), "--output", str(sets / "out")]
        given += ["--unseen", str(sets / "others"), "--steps", "2", "--variants", "1"]
        return train_liveness.main([*given, *map(str, args)])

    return run


def test_from_folders_to_a_model(train, sets, capsys):
    assert train("--live", sets / "more", "--leave-out", 1) == 0
    model = load_passive(str(sets / "out" / "liveness.onnx"))
    image = np.random.default_rng(9).integers(0, 255, (90, 100, 3)).astype(np.uint8)
    (score,) = model.score(image, Middle().detect(image))
    assert 0 < score.live < 1
    facts = json.loads((sets / "out" / "liveness.json").read_text(encoding="utf-8"))
    assert facts["trained_on"]["a"] == {"people": 3, "images": 9}
    assert facts["trained_on"]["live only"] == {"people": 2, "images": 2}
    assert "unseen" not in facts["trained_on"] and set(facts["left_out"]) == {"a", "b"}
    assert set(facts["left_out"]["b"]["without"]["apcer"]) == {"attack"}
    printed = capsys.readouterr().out
    assert "trained without a: APCER" in printed
    assert "trained without b and without simulated attacks: APCER" in printed
    assert "people not trained on: APCER" in printed


def test_what_is_finished_is_not_done_again(train, sets, detector, monkeypatch):
    assert train() == 0
    onnx = (sets / "out" / "liveness.onnx").read_bytes()
    searched = detector.calls
    monkeypatch.setattr(fitting, "fit", None)
    monkeypatch.setattr(training, "varied", None)
    assert train() == 0
    assert detector.calls == searched
    assert (sets / "out" / "liveness.onnx").read_bytes() == onnx


def test_a_dataset_may_be_called_as_those_that_set_the_thresholds(train, sets):
    (sets / "b").rename(sets / "unseen")
    assert train(data=("a", "unseen")) == 0
    facts = json.loads((sets / "out" / "liveness.json").read_text(encoding="utf-8"))
    assert set(facts["trained_on"]) == {"a", f"{sets.name}-unseen"}


@pytest.fixture
def fits(monkeypatch):
    """Networks that learn nothing; how many were asked for."""
    made = []

    def fit(*args):
        made.append(fitting.LivenessNet().eval())
        return made[-1]

    monkeypatch.setattr(fitting, "fit", fit)
    return made


def test_what_is_kept_of_other_images_of_the_same_names_is_not_used(train, sets, fits):
    assert train() == 0 and len(fits) == 2
    assert train() == 0 and len(fits) == 2
    for seed, path in enumerate(sorted((sets / "a").rglob("*.jpg"))):
        save(path, 100 + seed)
    assert train() == 0 and len(fits) == 4


def test_what_is_kept_and_damaged_is_made_again(train, sets, fits, caplog):
    assert train() == 0
    cache = sets / "out" / "cache"
    for path in [*cache.glob("*.pt"), *cache.glob("*.npy")]:
        path.write_bytes(path.read_bytes()[:500])
    assert train() == 0 and len(fits) == 4
    assert caplog.text.count("is damaged") == 4
    assert train() == 0 and len(fits) == 4


def test_too_few_people_are_said_before_training(sets, detector, fits, capsys):
    for path in (sets / "a").rglob("*.jpg"):
        if not path.name.startswith("ada"):
            path.unlink()
    args = ["--data", str(sets / "a"), "--output", str(sets / "out"), "--steps", "1"]
    assert train_liveness.main(args) == 1 and not fits
    assert "the people left out must have both live" in capsys.readouterr().err


def test_without_other_people_some_are_left_out(sets, detector):
    data = ["--data", str(sets / "a"), str(sets / "b"), "--output", str(sets / "out")]
    assert train_liveness.main([*data, "--steps", "1", "--variants", "1"]) == 0
    facts = json.loads((sets / "out" / "liveness.json").read_text(encoding="utf-8"))
    people = [facts["trained_on"][name]["people"] for name in ("a", "b")]
    assert sorted(people) == [2, 3]


@pytest.mark.parametrize(
    "args, says",
    [
        ([], "--data: name at least one"),
        (["--data", "a", "--leave-out", "5"], "two or more datasets"),
        (["--data", "a", "b", "x/../a"], "--data: name each dataset once"),
        (["--data", "a", "b", "--unseen", "b/"], "--unseen must not be one of --data"),
        (["--data", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_what_cannot_work_is_said(args, says, detector, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train_liveness.main(args) != 0
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


def test_faces_are_cut_once_and_of_the_same_files(sets, detector, tmp_path):
    samples = read_samples(sets / "a")
    first = collect("a", samples, detector, tmp_path, samples)
    again = collect("a", samples, detector, tmp_path, samples)
    assert detector.calls == len(samples) == len(first.live)
    assert np.array_equal(first.views, again.views)
    assert first.views.shape == (9, 2, SIDE, SIDE, 3)
    assert first.people.tolist()[0] == "a/ada" and sorted(set(first.classes)) == [0, 1, 2]
    other = replace(samples[0], person="zoe")
    collect("a", [other, *samples[1:]], detector, tmp_path, [other])
    assert detector.calls == len(samples) + 1
    for kept in tmp_path.glob("a.*.npz"):
        kept.write_bytes(kept.read_bytes()[:1000])
    with pytest.raises(DataError, match="damaged; delete it"):
        collect("a", samples, detector, tmp_path, samples)


def test_where_names_name_nobody_each_video_is_somebody(sets, detector, tmp_path):
    samples = [replace(sample, person="celeba") for sample in read_samples(sets / "b")]
    found = collect("b", samples, detector, tmp_path, samples)
    assert len(set(found.people)) == len(samples)
    assert set(found.classes) == {0, OTHER_ATTACK}


def test_images_without_faces_are_left_out(sets, detector, tmp_path, caplog):
    save(sets / "b" / "live" / "dark_1.jpg", 0)
    samples = read_samples(sets / "b")
    assert len(collect("b", samples, detector, tmp_path, samples).live) == len(samples) - 1
    assert "no face in 1 of 7 images" in caplog.text
    dark = [sample for sample in samples if sample.person == "dark"]
    with pytest.raises(DataError, match="no image of dark shows a face"):
        collect("dark", dark, detector, tmp_path, dark)


def test_a_link_that_leads_nowhere_is_left_out(sets, detector, tmp_path, caplog):
    (sets / "b" / "live" / "nowhere.jpg").symlink_to(tmp_path / "nothing")
    samples = read_samples(sets / "b")
    assert len(collect("b", samples, detector, tmp_path, samples).live) == len(samples) - 1
    assert "nowhere.jpg: cannot be read" in caplog.text


def test_where_the_face_is_in_its_sources(sets, detector, tmp_path):
    samples = live_samples(sets / "more")
    assert [sample.person for sample in samples] == ["Dora", "Emil"]
    found = collect("more", samples, detector, tmp_path, samples)
    for network, side in enumerate(material.SOURCE_SIDES):
        crop = found.source(network, 0)
        left, top, right, bottom = crop.face
        assert (left + right) / 2 == pytest.approx(side / 2, abs=1)
        assert bottom - top == pytest.approx(side / material.SOURCE_SCALES[network], rel=0.02)
        assert crop.frame[2] <= side
    context = found.source(1, 0)
    x0, y0, x1, y1 = map(round, context.frame)
    assert context.image_rgb[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].any()
    assert not context.image_rgb[: max(0, y0 - 2)].any()


def test_varied_crops_are_drawn_again_the_same(sets, detector, tmp_path):
    samples = live_samples(sets / "more")
    found = collect("more", samples, detector, tmp_path, samples)
    for network in (0, 1):
        for attack in ("", "print", "replay"):
            one, other = (
                varied(np.random.default_rng(4), found, network, 0, np.array([1]), attack)
                for _ in range(2)
            )
            assert one.shape == (SIDE, SIDE, 3) and np.array_equal(one, other)


def test_thresholds_are_where_errors_balance_and_where_it_is_sure():
    live = np.linspace(0.5, 0.99, 50)
    attacks = {"print": np.linspace(0.01, 0.6, 50), "replay": np.linspace(0.01, 0.4, 50)}
    unseen = Scores(live, attacks)
    found = choose(unseen, [])
    assert 0.5 < found.threshold < 0.6
    logit = math.log(found.threshold / (1 - found.threshold))
    assert math.log(found.spoof_below / (1 - found.spoof_below)) == pytest.approx(logit - 2)
    assert math.log(found.live_from / (1 - found.live_from)) == pytest.approx(logit + 1)
    worse = Scores(live - 0.45, {"print": attacks["print"] + 0.35})
    with_left_out = choose(unseen, [worse])
    assert with_left_out.threshold == found.threshold
    assert with_left_out.spoof_below == pytest.approx(np.quantile(worse.live, 0.02))
    assert with_left_out.live_from == pytest.approx(np.quantile(worse.attacks["print"], 0.98))
    apart = choose(Scores(np.full(9, 0.9), {"print": np.full(9, 0.1)}), [])
    assert 0.1 < apart.threshold <= 0.9 and apart.spoof_below <= apart.threshold <= apart.live_from
