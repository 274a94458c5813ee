"""Evaluations of liveness with stand-ins: what is written, and how errors end."""

import html
import json
import os
import re

import numpy as np
import pytest

import evaluate_liveness
from facesync.evaluation import liveness, liveness_flatness
from facesync.evaluation.liveness_page import GLOSSARY
from facesync.faces.detection import Face
from facesync.images import save_jpeg
from facesync.liveness.flatness import DEPTH
from facesync.liveness.passive import PassiveScore, PassiveThresholds
from tests.videos import write_video


class Brightness:
    """Takes bright images for live ones."""

    name, facts = "brightness", {"sha256": 64 * "a"}
    thresholds = PassiveThresholds(threshold=0.5, spoof_below=0.3, live_from=0.8)

    def score(self, image_rgb, faces):
        return [PassiveScore(float(image_rgb.mean()) / 255, "print", 1.0) for _ in faces]


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch, detector):
    monkeypatch.setattr(liveness, "load_passive", lambda choice: Brightness())
    monkeypatch.setattr(liveness, "FaceDetector", lambda: detector)


@pytest.fixture
def folder(tmp_path):
    """Three live videos, of which one is dark; two prints, one bright; a replay in one file."""
    for name, score in (
        ("live/ada_1_1", 0.9), ("live/ada_1_2", 0.85), ("live/ada_1_3", 0.2), ("live/ada_2_1", 0.6),
        ("live/bob_1_1", 0.4), ("print/ada_1_1", 0.1), ("print/bob_1_1", 0.95),
        ("print/bob_2_1", 0.0),
    ):  # fmt: skip
        save_jpeg(image(score), tmp_path / "samples" / f"{name}.jpg")
    steps = np.linspace(0.1, 0.35, 40)
    write_video(tmp_path / "samples" / "replay" / "<b>_1.avi", map(image, steps))
    (tmp_path / "samples" / "replay" / "cut_1.jpg").write_bytes(b"\xff\xd8\xff")
    return tmp_path / "samples"


def image(score):
    return np.full((64, 64, 3), round(255 * score), np.uint8)


@pytest.fixture
def evaluate(tmp_path):
    """Run the script; return its exit code and what `report.json` holds."""

    def run(*args):
        code = evaluate_liveness.main(["--report", str(tmp_path / "r"), *map(str, args)])
        path = tmp_path / "r" / "report.json"
        return code, json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    return run


def test_from_folders_to_report(evaluate, folder, capsys):
    code, report = evaluate("--data", folder)
    assert code == 0
    assert report["threshold"] == 0.5
    assert report["bpcer"] == 2 / 5
    assert report["apcer"] == {"print": 1 / 2, "replay": 0}
    assert (report["worst"], report["apcer_worst"]) == ("print", 1 / 2)
    # Of 110 pairs, 5 are with the bright print, and 12 with frames brighter than the darkest face.
    assert report["auc"] == pytest.approx(1 - 17 / 110, abs=0.01)
    assert report["frames"] == {"live": 5, "print": 2, "replay": 20}
    assert report["no_face"] == 1 and report["no_face_by_kind"]["print"] == 1
    (lost,) = report["unreadable"]
    assert lost["file"].endswith("cut_1.jpg") and folder.name not in lost["reason"]
    videos = report["by_video"]
    assert videos["bpcer"] == 1 / 3  # the median of Ada's first is live
    assert videos["apcer"] == {"print": 1 / 2, "replay": 0}
    assert videos["apcer_worst"] == 1 / 2 and videos["auc"] == pytest.approx(1 - 3 / 9)
    assert videos["videos"] == {"live": 3, "print": 2, "replay": 1}
    assert videos["people"] == {"live": 2, "print": 2, "replay": 1}
    assert videos["bpcer_interval"][0] < 1 / 3 < videos["bpcer_interval"][1]
    assert videos["certainty"]["live"] == pytest.approx(
        {"attack": 0, "neither": 2 / 3, "live": 1 / 3}
    )
    assert report["model"] == {"name": "brightness", "sha256": 64 * "a"}
    printed, said = capsys.readouterr()
    row = re.search(r"print \(APCER\) +2 +2 +50.00 % .* 1\n", printed)
    assert row and "No face was found in 1 frame" in printed and "only 1 person" in printed
    assert len([line for line in said.splitlines() if "cut_1.jpg" in line]) == 1


def test_the_page_shows_the_mistakes_and_explains_itself(evaluate, folder, tmp_path):
    evaluate("--data", folder)
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("<svg") == 2 and "<b>" not in page
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert captions == ["0.949: print/bob_1", "0.200: live/ada_1", "0.400: live/bob_1"]
    assert page.count("data:image/jpeg;base64,") == 3
    assert "ISO/IEC 30107-3" in page and all(term in page for term in GLOSSARY)
    (said,) = re.findall(r"<p class=verdict>(.*?)</p>", page)
    assert "33.33 % of live videos" in said and "print, 50.00 % pass" in said


@pytest.mark.parametrize("kind", [r"a $\x$", "_b", "<c>&amp;", "照片", os.fsdecode(b"caf\xe9")])
def test_any_folder_name_will_do(evaluate, tmp_path, kind):
    for name in ("live", kind):
        save_jpeg(image(0.9), tmp_path / "samples" / name / "a.jpg")
    code, report = evaluate("--data", tmp_path / "samples")
    assert code == 0 and list(report["apcer"]) == [kind.encode("utf-8", "replace").decode()]
    page = (tmp_path / "r" / "report.html").read_bytes()
    assert html.escape(kind).encode("utf-8", "xmlcharrefreplace") in page and b"<c>" not in page


def test_faces_are_found_once(evaluate, folder, detector, capsys):
    _, before = evaluate("--data", folder)
    looks = detector.looks
    assert looks == 28
    _, after = evaluate("--data", folder)
    assert detector.looks == looks
    assert before | {"seconds": 0} == after | {"seconds": 0}


def test_ctrl_c_keeps_the_faces_found_so_far(evaluate, folder, detector, monkeypatch, capsys):
    find, known = detector.detect, []

    def interrupted(image_rgb):
        if len(known) == 6:
            raise KeyboardInterrupt
        known.append(image_rgb)
        return find(image_rgb)

    monkeypatch.setattr(detector, "detect", interrupted)
    assert evaluate("--data", folder) == (130, None)
    monkeypatch.setattr(detector, "detect", find)
    evaluate("--data", folder)
    assert detector.looks == 28


@pytest.mark.parametrize("kind", ["live", "print"])
def test_without_a_face_there_is_nothing_to_rate(evaluate, tmp_path, capsys, kind):
    for name in ("live", "print"):
        score = 0.0 if name == kind else 0.9
        save_jpeg(image(score), tmp_path / "samples" / name / "a.jpg")
    assert evaluate("--data", tmp_path / "samples") == (1, None)
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "error: " in line and "no face was found in" in line


def test_the_model_that_is_asked_for(evaluate, folder, monkeypatch, capsys):
    monkeypatch.undo()
    assert evaluate("--data", folder, "--model", "nowhere.onnx") == (1, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the liveness model nowhere.onnx is missing")


@pytest.mark.parametrize(
    "args, says",
    [
        (("--report", "r"), "exactly one of --data and --flatness"),
        (("--report", "r", "--data", "d", "--flatness", "f"), "exactly one of"),
        (("--data", "d"), "--data needs --report"),
    ],
)
def test_wrong_usage(capsys, args, says):
    assert evaluate_liveness.main(args) == 2
    assert says in capsys.readouterr().err


class Heads:
    """Finds a head whose yaw in degrees the red of an image tells; it is flat if there is no green.

    An image without red shows nobody.
    """

    min_face, max_side, min_probability = 40, 1280, 0.9
    head = np.array([[-32, -30, 0], [32, -30, 0], [0, 5, 40], [-25, 45, 0], [25, 45, 0]], float)

    def detect(self, image_rgb):
        red, green, _ = image_rgb.mean(axis=(0, 1))
        if red < 20:
            return []
        points = self.head * (1, 1, green > 100)
        yaw = np.radians(red - 120)
        x = points[:, 0] * np.cos(yaw) + points[:, 2] * np.sin(yaw)
        landmarks = np.column_stack([x, points[:, 1]]) + 100
        return [Face(np.array([40, 40, 160, 160], np.float32), landmarks.astype(np.float32), 1.0)]


def turning(*yaws, flat=False):
    return [np.full((48, 64, 3), (120 + yaw, 0 if flat else 200, 0), np.uint8) for yaw in yaws]


TURN = range(0, 41, 5)


@pytest.fixture
def heads(monkeypatch, tmp_path):
    monkeypatch.setattr(liveness_flatness, "FaceDetector", Heads)
    place = tmp_path / "turns"
    write_video(place / "live" / "ada.avi", turning(*TURN))
    write_video(place / "print" / "ada.avi", turning(*TURN, flat=True))
    for number, image_rgb in enumerate(turning(*TURN)):
        save_jpeg(image_rgb, place / "live" / "bob" / f"{number:03d}.jpg")
        save_jpeg(image_rgb, place / "live" / f"eve_turns_{number}.jpg")
        save_jpeg(image_rgb, place / "live" / f"eve_stays_{number}.jpg") if number < 3 else None
    for number, image_rgb in enumerate(turning(*[-120] * 5)):
        save_jpeg(image_rgb, place / "nobody" / f"{number}.jpg")
    return place


def test_flatness_of_videos_folders_and_names(evaluate, heads, capsys):
    code, report = evaluate("--flatness", heads)
    assert code == 0 and report["depth"] == DEPTH and report["passed"] == 3
    found = report["sequences"]
    assert {name: one["passes"] for name, one in found.items()} == {
        "live/ada.avi": True,
        "live/bob": True,
        "live/eve_turns": True,
        "live/eve_stays": False,
        "nobody": False,
        "print/ada.avi": False,
    }
    assert found["live/bob"]["frames"] == len(TURN)
    assert found["live/bob"]["depth"] == pytest.approx(40 * np.sin(np.radians(30)) / 75, abs=0.02)
    assert found["print/ada.avi"]["depth"] < 0.02
    assert found["nobody"] == {"depth": 0, "frames": 0, "passes": False}
    printed = capsys.readouterr().out
    assert "3 of 6 sequences would pass" in printed and "2 of them have under 4 frames" in printed


def test_flatness_without_a_report_writes_nothing(heads, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (heads / "live" / "bad.mp4").write_text("no video")
    assert evaluate_liveness.main(["--flatness", str(heads / "live")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["turns"]
    printed, said = capsys.readouterr()
    assert re.search(r"^  bob +0\.\d+ +9 +yes$", printed, re.MULTILINE)
    assert "bad.mp4: is not a video that can be decoded; its sequence is left out" in said


@pytest.mark.parametrize("made, says", [(None, "there is no folder"), ("", "holds neither")])
def test_flatness_of_nothing(tmp_path, capsys, made, says):
    if made is not None:
        (tmp_path / "none").mkdir()
    assert evaluate_liveness.main(["--flatness", str(tmp_path / "none")]) == 1
    assert says in capsys.readouterr().err


def test_a_head_has_depth_and_prints_have_none(shared, tmp_path, capsys):
    """Real ones: a person who turns the head; NUAA's moved and bent prints of one subject."""
    place = tmp_path / "turns"
    (place / "live").mkdir(parents=True)
    (place / "print").mkdir()
    video = shared / "data" / "videos" / "one_face_head_turns_live.mp4"
    (place / "live" / video.name).symlink_to(video)
    for path in sorted((shared / "data" / "liveness" / "nuaa" / "print").glob("0007_*.jpg")):
        (place / "print" / path.name).symlink_to(path)
    code = evaluate_liveness.main(["--flatness", str(place), "--report", str(tmp_path / "r")])
    found = json.loads((tmp_path / "r" / "report.json").read_text())["sequences"]
    assert code == 0 and {"yes" if "live" in n else "no" for n in found} == {"yes", "no"}
    for name, one in found.items():
        assert one["passes"] == name.startswith("live"), name
