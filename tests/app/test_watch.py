"""Names stay on faces that move; who comes and goes is written down and recorded."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from facesync.app import watch
from facesync.app.cameras import Frame, open_camera
from facesync.app.drawing import ATTENTION, GOOD
from facesync.app.live import Result
from facesync.app.settings import WatchOptions
from facesync.app.watch import Events, Recorder, WatchScreen, watch_camera
from facesync.app.watcher import LOOKS, REFRESH_SECONDS, Sighting, Watcher
from facesync.errors import FileError
from facesync.faces.detection import Face
from facesync.gallery.people import Person, now
from tests.app.fakes import FakeCamera, embedding, image
from tests.liveness.fakes import FakePassive

BLACK = np.zeros((240, 640, 3), dtype=np.uint8)


class FakeScene:
    """A recognizer of a scene that is told what it sees: (x, who) of each face."""

    threshold = 0.6

    def __init__(self) -> None:
        self.faces: list[tuple[float, int]] = []
        self.embedded = 0

    def threshold_for(self, people: int) -> float:
        return self.threshold

    def probability(self, similarity: float) -> float | None:
        return 0.98 if similarity > self.threshold else 0.02

    def find(self, image_rgb) -> list[Face]:
        return [
            Face(np.array([x, 50, x + 80, 150], dtype=np.float32), np.zeros((5, 2)), 1.0)
            for x, _ in self.faces
        ]

    def follow(self, image_rgb, faces) -> list[Face]:
        return self.find(image_rgb)[: len(faces)]

    def embed(self, image_rgb, faces) -> np.ndarray:
        self.embedded += len(faces)
        who = {x: who for x, who in self.faces}
        return np.stack([embedding(who[float(face.box_xyxy[0])]) for face in faces])


@pytest.fixture
def scene(monkeypatch) -> FakeScene:
    monkeypatch.setattr("facesync.app.watcher._worth_it", lambda image_rgb, face: True)
    return FakeScene()


@pytest.fixture
def people() -> list[Person]:
    return [Person(n, embedding(w), "model-a", now(), 5) for w, n in ((1, "Ada"), (2, "Bob"))]


@pytest.fixture
def watcher(scene, people) -> Watcher:
    return Watcher(scene, people, 0.05)


def show(
    watcher: Watcher, scene: FakeScene, number: int, *faces: tuple[float, int]
) -> list[Sighting]:
    """Show a frame, ten a second, and return what was seen."""
    scene.faces = list(faces)
    return watcher.look(Frame(number, number / 10, BLACK))


def play(watcher: Watcher, scene: FakeScene, number: int, *faces: tuple[float, int]):
    """Show a frame and return the names by track."""
    sightings = show(watcher, scene, number, *faces)
    return {sighting.track: sighting.name for sighting in sightings}


def test_names_move_with_their_faces_and_are_looked_at_now_and_then(watcher, scene):
    for number in range(50):
        names = play(watcher, scene, number, (10.0 + 5 * number, 1), (500.0, 2))
        assert names == {1: "Ada", 2: "Bob"}
    assert scene.embedded <= 2 * (50 / 10 / REFRESH_SECONDS + 1)


def test_it_says_in_which_frames_a_face_was_looked_at(watcher, scene):
    looked = [show(watcher, scene, number, (10.0, 1))[0].looked for number in range(50)]
    assert looked[:2] == [True, False] and sum(looked) == scene.embedded


def test_a_stranger_is_unknown_after_some_looks_and_not_before(watcher, scene):
    seen = [show(watcher, scene, number, (10.0, 7))[0] for number in range(20)]
    assert not seen[0].settled and seen[-1].settled
    assert seen[-1].name is None
    assert scene.embedded >= LOOKS


def test_one_wrong_look_does_not_change_a_name(watcher, scene):
    play(watcher, scene, 0, (10.0, 1))
    for number in range(1, 100):
        who = 1 if number != 20 else 3  # one look, at most, at somebody else
        assert play(watcher, scene, number, (10.0, who)) in ({1: "Ada"}, {1: None})
    assert play(watcher, scene, 100, (10.0, 1)) == {1: "Ada"}


def test_another_person_in_the_box_gets_another_name(watcher, scene):
    for number in range(10):
        play(watcher, scene, number, (10.0, 1))
    for number in range(10, 60):
        names = play(watcher, scene, number, (10.0, 2))
    assert names == {1: "Bob"}


def test_who_comes_back_elsewhere_keeps_the_track(watcher, scene):
    for number in range(5):
        play(watcher, scene, number, (10.0, 1))
    for number in range(5, 25):
        assert play(watcher, scene, number) == {}
    assert play(watcher, scene, 25, (400.0, 1)) == {1: "Ada"}


def test_a_face_that_cannot_be_followed_is_searched_for_at_once(watcher, scene, monkeypatch):
    """Else "Nobody in view" flickers while somebody is."""
    play(watcher, scene, 0, (10.0, 1), (300.0, 2))
    monkeypatch.setattr(scene, "follow", lambda image_rgb, faces: [])
    assert play(watcher, scene, 1, (10.0, 1), (300.0, 2)) == {1: "Ada", 2: "Bob"}


def test_a_frame_is_searched_twice_a_second_and_a_newcomer_is_found_by_then(
    watcher, scene, monkeypatch
):
    searched, find = [], scene.find
    monkeypatch.setattr(scene, "find", lambda lit_rgb: searched.append(number) or find(lit_rgb))
    monkeypatch.setattr(scene, "follow", lambda lit_rgb, faces: list(faces))
    for number in range(16):
        newcomer = [(300.0, 2)] if number > 6 else []
        names = play(watcher, scene, number, (10.0, 1), *newcomer)
        assert (2 in names) == (number >= 10)
    assert searched == [0, 5, 10, 15]


def test_nobody_is_in_two_places(watcher, scene):
    names = play(watcher, scene, 0, (10.0, 1), (300.0, 1))
    assert sorted(names.values(), key=str) == ["Ada", None]


def test_who_is_registered_or_deleted_meanwhile_is_known_or_unknown_at_the_next_look(scene, people):
    changes = {3: people, 6: people[1:]}
    number = 0
    watcher = Watcher(scene, people[:1], 0.05, changed=lambda: changes.pop(number, None))
    seen = []
    for number in range(8):
        seen.append([each.name for each in show(watcher, scene, number, (10.0, 1), (300.0, 2))])
    assert seen[2] == ["Ada", None] and seen[3] == ["Ada", "Bob"] and seen[6] == [None, "Bob"]


def test_with_nobody_registered_everybody_is_unknown(scene):
    watcher = Watcher(scene, [], 0.05)
    for number in range(20):
        seen = show(watcher, scene, number, (10.0, 1))
    assert seen[0].name is None and seen[0].settled


def test_events_are_written_once_for_each_appearance(watcher, scene, tmp_path, capsys):
    path = tmp_path / "events.jsonl"
    with path.open("w") as file:
        events = Events(file)
        for number in range(30):
            seen = show(watcher, scene, number, (10.0, 1), (300.0, 7))
            events.note(seen, number / 10)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["name"] for line in lines] == ["Ada", None]
    assert set(lines[0]) == {"time", "seconds", "track", "name", "score", "probability", "live"}
    assert lines[0]["score"] > 0.9 and lines[0]["live"] is None
    assert [line["probability"] for line in lines] == [0.98, 0.02]
    out = capsys.readouterr().out
    assert "Ada  0.9" in out or "Ada  1.0" in out
    assert ", 98 % sure\n" in out
    assert "unknown" in out and out.endswith(", of pairs so similar 2 % match\n")


def test_who_is_not_live_is_marked_and_keeps_no_name_from_somebody_who_is(
    scene, people, tmp_path, capsys
):
    """Ada, and a photograph of her that is more like her than she is."""
    passive = FakePassive([0.9, 0.3] * 40)
    watcher = Watcher(scene, people, 0.05, passive)
    shown = {10.0: embedding(1, 5), 300.0: embedding(1)}
    scene.embed = lambda image_rgb, faces: np.stack(
        [shown[float(face.box_xyxy[0])] for face in faces]
    )
    path = tmp_path / "events.jsonl"
    with path.open("w") as file:
        events = Events(file)
        for number in range(30):
            seen = show(watcher, scene, number, (10.0, 1), (300.0, 1))
            assert [s.live for s in seen] == ([None, None] if number < 12 else [True, False])
            events.note(seen, number / 10)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = [(line["name"], line["live"]) for line in lines if line["seconds"] > 1]
    assert names == [("Ada", True), (None, False)]
    assert {line["live"] for line in lines if line["seconds"] < 1} == {None}
    ada, photograph = capsys.readouterr().out.splitlines()[-2:]
    assert "Ada" in ada and "not live" not in ada and photograph.endswith("  not live")
    view = WatchScreen(Events()).view(Result(Frame(29, 2.9, BLACK), seen), 2.9)
    ada, photograph = view.marks
    assert ada.tone == GOOD and ada.label.startswith("Ada  ") and ada.label.endswith(", live")
    assert (photograph.tone, photograph.label) == (ATTENTION, "not live")
    assert view.status == "2 faces in view, 1 known"


def test_a_photograph_alone_keeps_its_name_in_brackets_until_it_is_seen_to_live(scene, people):
    watcher = Watcher(scene, people, 0.05, FakePassive([0.3] * 9 + [0.9] * 9))
    labels = []
    for number in range(300):
        seen = show(watcher, scene, number, (10.0, 1))
        view = WatchScreen(Events()).view(
            Result(Frame(number, number / 10, BLACK), seen), 0.1 * number
        )
        labels.append(view.marks[0].label.split("  ")[0])
    assert list(dict.fromkeys(labels)) == ["Ada", "not live (Ada)"] and labels[-1] == "Ada"


def test_a_camera_that_is_known_shifts_the_score(scene, people):
    for offset, live in ((0.0, False), (1.0, True)):
        watcher = Watcher(scene, people, 0.05, FakePassive([0.4]), offset)
        for number in range(20):
            seen = show(watcher, scene, number, (10.0, 1))
        assert seen[0].live is live


def test_who_comes_back_is_looked_at_anew(scene, people):
    """A photograph that is held up where somebody has just left does not inherit that they live."""
    watcher = Watcher(scene, people, 0.05, FakePassive([0.9] * 6 + [0.3] * 50))
    for number in range(20):
        before = show(watcher, scene, number, (10.0, 1))
    for number in range(20, 40):
        show(watcher, scene, number)
    for number in range(40, 60):
        after = show(watcher, scene, number, (300.0, 1))
    assert before[0].track == after[0].track and (before[0].live, after[0].live) == (True, False)


def test_the_screen_shows_names_where_the_boxes_are_by_now(watcher, scene):
    screen = WatchScreen(Events())
    for number in range(10):
        seen = show(watcher, scene, number, (10.0 + 10 * number, 1))
    result = Result(Frame(9, 0.9, BLACK), seen)
    view = screen.view(result, 1.0)
    assert view.status == "1 face in view, 1 known"
    (mark,) = view.marks
    assert mark.label.startswith("Ada") and mark.label.endswith(", 98 % sure")
    assert mark.box_xyxy[0] == pytest.approx(110, abs=2)  # 100 when seen, moving 100 a second
    late = screen.view(result, 1.0 + watch.STALE_SECONDS)  # the machine is slow: no box, but a face
    assert late.marks == () and late.status == "1 face in view, 1 known"
    for seconds, status in ((1.0, "1 face in view, 1 known"), (2.5, "Nobody in view")):
        screen.update(result)
        lost = Result(Frame(10, seconds, BLACK), [])
        screen.update(lost)
        assert screen.view(lost, seconds).status == status
    assert screen.ended() and screen.done


@pytest.mark.parametrize("name", ["out.mp4", "out.avi"])
def test_a_recording_is_as_long_as_what_was_shown(tmp_path, name):
    path = tmp_path / name
    with Recorder(path) as recorder:
        for number in range(10):  # two seconds, with a pause in the middle
            frame = Frame(number, number / 10 + (1.0 if number > 4 else 0), BLACK)
            recorder.write(np.full((120, 160, 3), 20 * number, dtype=np.uint8), frame)
            assert not path.exists()
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(1.9 * watch.RECORD_RATE, abs=2)
    assert list(tmp_path.iterdir()) == [path]


def test_a_recording_of_another_kind_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(FileError, match=r"name a file \.mp4 or \.avi"):
        with Recorder(tmp_path / "out.txt") as recorder:
            recorder.write(np.zeros((120, 160, 3), dtype=np.uint8), Frame(0, 0.0, BLACK))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.mp4", "out.avi"])
def test_a_recording_that_cannot_be_read_back_is_not_called_recorded(tmp_path, name, capsys):
    """As on a full disk, which OpenCV does not tell of."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    with pytest.raises(FileError, match="cannot be read back"), Recorder(tmp_path / name) as half:
        for number in range(30):
            half.write(noise, Frame(number, number / 10, BLACK))
        release = half._writer.release

        def release_and_cut() -> None:
            release()
            (part,) = tmp_path.iterdir()
            os.truncate(part, part.stat().st_size // 2)

        half._writer = SimpleNamespace(release=release_and_cut)
    assert "recorded" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_what_is_watched_is_not_written_over(scene, people, tmp_path, monkeypatch):
    """Neither by the recording nor by the events, under whatever name."""
    monkeypatch.chdir(tmp_path)
    clip, images = tmp_path / "clip.mp4", tmp_path / "images"
    images.mkdir()
    for path in (clip, images / "a.avi"):
        path.write_bytes(b"precious")
    (tmp_path / "link.mp4").symlink_to(clip)
    (tmp_path / "hard.mp4").hardlink_to(clip)
    for path, source in (
        ("clip.mp4", str(clip)),
        ("link.mp4", "clip.mp4"),
        ("hard.mp4", "clip.mp4"),
        ("images/a.avi", "images"),
    ):
        for options in (WatchOptions(record=Path(path)), WatchOptions(events=Path(path))):
            with pytest.raises(FileError, match="is being watched"):
                watch_camera(Watcher(scene, people, 0.05), lambda: FakeCamera([]), options, source)
    with pytest.raises(FileError, match="cannot both be"):
        options = WatchOptions(Path("new.mp4"), tmp_path / "new.mp4")
        watch_camera(Watcher(scene, people, 0.05), lambda: FakeCamera([]), options, "clip.mp4")
    assert clip.read_bytes() == (images / "a.avi").read_bytes() == b"precious"


def test_watching_a_video_without_a_window(scene, people, tmp_path, capsys):
    camera = FakeCamera([image()] * 30)
    scene.faces = [(10.0, 1)]
    record, events = tmp_path / "r.mp4", tmp_path / "e.jsonl"
    (tmp_path / ".r.part.mp4").touch(0o644)  # a killed run left it
    watch_camera(Watcher(scene, people, 0.05), lambda: camera, WatchOptions(record, events))
    assert camera.closed.is_set()
    assert record.stat().st_size > 0
    if os.name == "posix":  # whoever may use the computer need not know who was there
        assert [stat.S_IMODE(path.stat().st_mode) for path in (record, events)] == [0o600] * 2
    assert json.loads(events.read_text())["name"] == "Ada"
    assert "Ada" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="there are no such files on Windows")
def test_a_recording_replaces_no_folder_and_no_pipe(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(FileError, match="cannot"):
            Recorder(tmp_path / name)


def test_a_folder_that_is_not_there_is_said_first(scene, people, tmp_path):
    for paths in ((tmp_path / "no" / "r.mp4", None), (None, tmp_path / "no" / "e.jsonl")):
        with pytest.raises(FileError, match="there is no folder"):
            options = WatchOptions(*paths)
            watch_camera(Watcher(scene, people, 0.05), lambda: FakeCamera([]), options)


@pytest.mark.slow
def test_the_stage_video_is_watched_to_its_end(shared, tmp_path, monkeypatch, capsys):
    """Nobody is registered: faces are found and unknown, and the recording is as long."""
    from facesync.app.settings import AppSettings
    from facesync.faces.recognizer import Recognizer

    video = shared / "data" / "videos" / "stage_several_faces.mp4"
    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
    watcher = Watcher(Recognizer(AppSettings(model="vggface2", offline=True)), [], 0.05)
    options = WatchOptions(events=tmp_path / "e.jsonl")
    watch_camera(watcher, lambda: open_camera(str(video)), options)
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert lines and all(line["name"] is None for line in lines)
