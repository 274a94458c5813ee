"""The commands of `faceid_app.py`, as programs call them."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import faceid_app
from facesync.app import session
from facesync.errors import ModelError
from facesync.faces.models import ASSETS
from facesync.gallery.on_files import FileGallery
from facesync.images import save_jpeg
from tests.app.fakes import FakeRecognizer, image
from tests.conftest import ROOT
from tests.gallery.conftest import person
from tests.liveness.fakes import FakePassive

FIELDS = {"accepted", "name", "similarity", "threshold", "reason", "margin", "calibrated_on"}
FIELDS |= {"probability", "nearly", "liveness", "trusted", "model"}


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Options that keep the app's files in the test's own folder."""
    store = tmp_path / "models" / "e.pkl"
    return ["--embeddings", str(store), "--faces", str(tmp_path / "faces"), "--offline"]


@pytest.fixture
def gallery(tmp_path) -> FileGallery:
    return FileGallery(tmp_path / "models" / "e.pkl", tmp_path / "faces")


@pytest.fixture
def fake(monkeypatch):
    """Put models that read colours in the place of the real ones."""
    monkeypatch.setattr(session, "Recognizer", FakeRecognizer)
    monkeypatch.setattr(session, "load_passive", FakePassive)


@pytest.fixture
def shot(tmp_path):
    def write(name: str, **shown: int) -> str:
        Image.fromarray(image(**shown)).save(tmp_path / f"{name}.png")
        return str(tmp_path / f"{name}.png")

    return write


def last_object(printed: str) -> dict[str, object]:
    """Read the decision off the last line, and check that it has what programs rely on."""
    decision = json.loads(printed.splitlines()[-1])
    assert set(decision) - {"faces", "images"} == FIELDS
    assert decision["accepted"] is (decision["name"] is not None)
    assert decision["trusted"] is decision["model"]["trusted"]
    assert isinstance(decision["reason"], str) and "\n" not in decision["reason"]
    return decision


def verify(capsys, *arguments: str) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = faceid_app.main(["verify", "--json", *arguments])
    decision = last_object(capsys.readouterr().out)
    assert ("faces" in decision) is ("--image" in arguments)
    return code, decision


def modules_after(statements: str) -> set[str]:
    """Return the heavy modules that are loaded after some statements in a new interpreter."""
    heavy = ("torch", "cv2", "numpy", "matplotlib", "facenet_pytorch")
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\nimport sys\nprint(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(heavy) & set(done.stdout.split())


def test_help_loads_nothing_heavy(run_script):
    assert modules_after("import faceid_app; faceid_app.build_parser()") == set()
    shown = run_script("faceid_app.py", "--help")
    assert shown.returncode == 0
    assert "python faceid_app.py verify --image x.jpg" in shown.stdout


def test_list_and_delete_load_no_model(files, gallery):
    gallery.register(person("Ada"), [])
    run = f"import faceid_app\nfaceid_app.main({[*files, 'list']!r})"
    assert not modules_after(run) & {"torch", "facenet_pytorch"}
    run = f"import faceid_app\nfaceid_app.main({[*files, 'delete', 'Ada', '--yes']!r})"
    assert not modules_after(run) & {"torch", "facenet_pytorch"}
    assert gallery.people() == []


def test_register_verify_list_delete(fake, files, shot, gallery, capsys):
    assert faceid_app.main([*files, "register", "José", "--images", shot("a"), shot("b")]) == 0
    code, decision = verify(capsys, *files, "--image", shot("again", variant=9))
    assert (code, decision["accepted"], decision["name"]) == (0, True, "José")
    assert decision["similarity"] > 0.9 and decision["threshold"] == 0.6
    code, decision = verify(capsys, *files, "--image", shot("other", who=2))
    assert (code, decision["accepted"], decision["name"]) == (1, False, None)
    assert decision["similarity"] < 0.6

    assert faceid_app.main([*files, "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["name"], listed["samples"], listed["model"]) == ("José", 2, "model-a")
    assert faceid_app.main([*files, "list"]) == 0
    assert "José" in capsys.readouterr().out
    assert faceid_app.main([*files, "delete", "JOSÉ", "--yes"]) == 0
    assert gallery.people() == []
    assert faceid_app.main([*files, "delete", "José", "--yes"]) == 1
    assert "error: nobody is registered as José" in capsys.readouterr().err


def test_the_same_with_the_people_on_a_server(
    fake, files, shot, gallery, postgres_url, capsys, tmp_path
):
    server = [*files, "--gallery", postgres_url]
    assert faceid_app.main([*server, "register", "José", "--images", shot("a"), shot("b")]) == 0
    code, decision = verify(capsys, *server, "--image", shot("again", variant=9))
    assert (code, decision["accepted"], decision["name"]) == (0, True, "José")
    code, decision = verify(capsys, *server, "--image", shot("other", who=2))
    assert (code, decision["accepted"], decision["name"]) == (1, False, None)
    assert faceid_app.main([*server, "rename", "José", "Jo"]) == 0
    assert faceid_app.main([*server, "store", "check"]) == 0
    assert gallery.people() == [] and not list((tmp_path / "models").glob("e.pkl"))
    assert faceid_app.main([*server, "store", "pull"]) == 0
    assert [each.name for each in gallery.people()] == ["Jo"]
    assert faceid_app.main([*server, "delete", "Jo", "--yes"]) == 0
    capsys.readouterr()
    assert faceid_app.main([*server, "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert len(gallery.people()) == 1, "those in files are others"


def test_a_decision_says_since_when_it_is_from_memory(fake, files, shot, capsys, monkeypatch):
    ada = shot("ada")
    assert faceid_app.main([*files, "register", "Ada", "--images", ada]) == 0
    monkeypatch.setattr(FileGallery, "outage", "the server is out of reach")
    capsys.readouterr()
    assert faceid_app.main(["verify", "--json", *files, "--image", ada]) == 0
    decision = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert decision["outage"] == "the server is out of reach"


def test_options_stand_before_or_after_the_command(fake, files, shot, capsys):
    ada, again = shot("ada"), shot("again", variant=9)
    assert faceid_app.main([*files, "register", "Ada", "--images", ada]) == 0
    assert faceid_app.main(["list", *files]) == 0
    assert "Ada" in capsys.readouterr().out
    for arguments in (
        ["--threshold", "0.99", *files, "verify", "--image", again],
        ["verify", "--image", again, "--threshold", "0.99", *files],
        ["--threshold", "0.1", "verify", "--image", again, "--threshold", "0.99", *files],
    ):
        assert faceid_app.main(arguments) == 1
    assert faceid_app.main(["--threshold", "0.5", "verify", *files, "--image", again]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["register"],
        ["register", "Ada", "--images"],
        ["compare", "one.jpg"],
        ["store"],
        ["store", "mend"],
        ["list", "--config", "app.toml"],  # stands before the command
        ["verify", "--threshold", "1.5"],
        ["verify", "--threshold", "-1"],
        ["verify", "--threshold", "nan"],
        ["verify", "--threshold", "high"],
        ["recognise"],
        ["--device", "tpu"],
        ["list", "--no-such-option"],
    ],
)
def test_wrong_usage_is_exit_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        faceid_app.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["register", "Ada", "--add", "--replace"], "--add and --replace do not go together"),
        (["delete"], "give either a NAME or --all"),
        (["delete", "Ada", "--all"], "give either a NAME or --all"),
    ],
)
def test_options_that_do_not_go_together_are_exit_2(arguments, line, capsys):
    assert faceid_app.main(arguments) == 2
    assert line in capsys.readouterr().err


def test_defaults_come_from_a_file(fake, files, shot, tmp_path, capsys):
    assert faceid_app.main([*files, "register", "Ada", "--images", shot("ada")]) == 0
    config = tmp_path / "app.toml"
    config.write_text(f'embeddings = "{tmp_path}/models/e.pkl"\nthreshold = 0.99\n')
    again = ["verify", "--image", shot("again", variant=9)]
    assert faceid_app.main(["--config", str(config), *again]) == 1
    assert faceid_app.main(["--config", str(config), *again, "--threshold", "0.5"]) == 0
    config.write_text("treshold = 0.5\n")
    assert faceid_app.main(["--config", str(config), *again]) == 2
    assert "treshold" in capsys.readouterr().err


def test_deleting_asks_or_refuses(gallery, files, monkeypatch, capsys):
    gallery.register(person("Ada"), [])
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))  # not a terminal
    assert faceid_app.main([*files, "delete", "Ada"]) == 2
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for answer, code, left in (("no", 1, 1), ("yes", 0, 0)):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        assert faceid_app.main([*files, "delete", "Ada"]) == code
        assert len(gallery.people()) == left


def test_an_existing_name_is_exit_1(fake, files, shot, capsys):
    register = [*files, "register", "Ada", "--images", shot("ada")]
    assert faceid_app.main(register) == 0
    assert faceid_app.main(register) == 1
    assert "error: Ada is already registered; use --add" in capsys.readouterr().err
    assert faceid_app.main([*register, "--replace"]) == 0


def test_verify_says_in_json_why_it_could_not(fake, files, shot, gallery, tmp_path, capsys):
    code, decision = verify(capsys, *files, "--image", shot("x"))
    assert code == 1 and "nobody is registered in" in decision["reason"]
    assert decision["similarity"] is None and decision["threshold"] == 0.6
    assert faceid_app.main([*files, "register", "Ada", "--images", shot("ada")]) == 0

    (tmp_path / "empty.jpg").write_bytes(b"")
    for image_path, reason in (
        (shot("none", faces=0), "no face found"),
        (str(tmp_path / "missing.jpg"), "cannot be read"),
        (str(tmp_path / "empty.jpg"), "0 bytes"),
    ):
        code, decision = verify(capsys, *files, "--image", image_path)
        assert code == 1 and reason in decision["reason"]
        assert decision["similarity"] is None
    code, decision = verify(capsys, *files, "--image", shot("x"), "--name", "Bob")
    assert code == 1 and decision["reason"] == "nobody is registered as Bob"
    code, decision = verify(capsys, *files, "--camera", str(tmp_path / "missing.mp4"))
    assert code == 1 and "does not exist" in decision["reason"]

    gallery.path.write_bytes(b"damaged")
    code, decision = verify(capsys, *files, "--image", shot("x"))
    assert code == 1 and "damaged" in decision["reason"]
    assert gallery.path.read_bytes() == b"damaged"


def test_a_model_whom_no_similarity_satisfies_accepts_nobody_in_json_and_log(
    fake, files, shot, tmp_path, capsys, monkeypatch
):
    def endless(self, *_: object) -> float:
        raise ModelError("no similarity is high enough")

    ada, log = shot("ada"), tmp_path / "log.jsonl"
    assert faceid_app.main([*files, "register", "Ada", "--images", ada]) == 0
    monkeypatch.setattr(FakeRecognizer, "threshold_for", endless)
    monkeypatch.setattr(FakeRecognizer, "compare", endless)
    for source in ("--image", "--camera"):
        code, decision = verify(capsys, *files, "--audit-log", str(log), source, ada)
        assert code == 1 and decision["threshold"] is None
        assert decision["reason"] == "no similarity is high enough"
    assert [json.loads(line)["threshold"] for line in log.read_text().splitlines()] == [None] * 2
    assert faceid_app.main(["compare", ada, ada, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["threshold"] is None


def test_an_image_as_camera(fake, files, shot, capsys):
    assert faceid_app.main([*files, "register", "Ada", "--camera", shot("ada")]) == 0
    code, decision = verify(capsys, *files, "--camera", shot("again", variant=9))
    assert code == 0 and decision["name"] == "Ada"


def test_watch_without_a_window_says_who_is_in_view(
    fake, files, shot, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("facesync.app.watcher._worth_it", lambda image_rgb, face: True)
    assert faceid_app.main([*files, "register", "Ada", "--images", shot("ada")]) == 0
    out = [str(tmp_path / name) for name in ("out.mp4", "events.jsonl")]
    watch = ["watch", "--no-window", "--camera", shot("again", variant=9)]
    assert faceid_app.main([*files, *watch, "--record", out[0], "--events", out[1]]) == 0
    assert "s  Ada  0.9" in capsys.readouterr().out
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "Ada"
    assert (tmp_path / "out.mp4").stat().st_size > 0
    assert faceid_app.main([*files, *watch, "--record", str(tmp_path / "no" / "x.mp4")]) == 1
    assert faceid_app.main([*files, *watch, "--record", ""]) == 1
    assert faceid_app.main([*files, "watch", "--no-window", "--camera", "nothing.mp4"]) == 1


@pytest.mark.parametrize(
    ("arguments", "samples"), [(["--add"], 2), (["--same-person", "--replace"], 1)]
)
def test_who_is_registered_can_be_added_to(fake, files, shot, gallery, arguments, samples):
    assert faceid_app.main([*files, "register", "Ada", "--images", shot("ada")]) == 0
    more = [*files, "register", "Ada", *arguments, "--images", shot("again", variant=9)]
    assert faceid_app.main(more) == 0
    assert gallery.find("Ada").samples == samples


def test_every_face_of_every_image(fake, files, shot, tmp_path, capsys):
    """The fake's second face is that of the person after the first."""
    assert faceid_app.main([*files, "register", "Ada", "--images", shot("ada", who=2)]) == 0
    alone, group = shot("alone", who=2, variant=9), shot("group", faces=2, who=1, variant=9)
    code, decision = verify(capsys, *files, "--image", group)
    assert (code, decision["name"]) == (0, "Ada")
    assert [face["name"] for face in decision["faces"]] == [None, "Ada"]
    assert decision["faces"][1]["box"] == [60, 40, 99, 80]
    told = {"name", "similarity", "probability", "nearly", "reason"}
    assert set(decision["faces"][0]) == {"image", "box", *told}
    assert decision["faces"][0]["image"] == group
    code, decision = verify(capsys, *files, "--main-face", "--image", group)
    assert (code, len(decision["faces"])) == (1, 1)

    code, decision = verify(capsys, *files, "--image", alone, group)
    assert (code, decision["name"], len(decision["faces"])) == (0, "Ada", 3)
    missing = str(tmp_path / "missing.jpg")
    code, decision = verify(capsys, *files, "--image", alone, missing)
    assert (code, decision["accepted"]) == (1, False)
    assert [entry["name"] for entry in decision["images"]] == ["Ada", None]
    assert "cannot be read" in decision["reason"] and decision["images"][1]["image"] == missing

    assert faceid_app.main([*files, "verify", "--image", alone, group, missing]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{alone}: Ada: accepted")
    assert lines[1].startswith(f"{group}: Ada: accepted")
    assert "unknown at (60, 40)-(100, 80)" in lines[2] and "Ada at" in lines[3]
    assert lines[4].startswith(f"{missing}: access denied: cannot be read")


def test_a_pause_among_several_images_keeps_what_came_of_the_others(fake, files, shot, capsys):
    assert faceid_app.main([*files, "register", "Ada", "--images", shot("ada")]) == 0
    images = [*[shot(f"wrong_{n}", who=3, variant=n) for n in range(5)], shot("again", variant=9)]
    code, decision = verify(capsys, *files, "--name", "Ada", "--image", *images)
    assert code == 1 and len(decision["faces"]) == 5
    assert [entry["image"] for entry in decision["images"]] == images
    assert "5 failed attempts in a row" in decision["images"][5]["reason"]
    code, decision = verify(capsys, *files, "--name", "Ada", "--image", *images)
    assert code == 1 and [entry["image"] for entry in decision["images"]] == images


def test_a_store_that_cannot_be_a_file_is_one_line(fake, shot, capsys):
    assert faceid_app.main(["--embeddings", "", "list"]) == 2
    assert capsys.readouterr().err.startswith("error: . cannot be the store of")


def test_compare(fake, shot, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    one, again, other = shot("one"), shot("again", variant=9), shot("other", who=3)
    nobody = shot("nobody", faces=0)
    for second, code in ((again, 0), (other, 1)):
        assert faceid_app.main(["compare", one, second, "--json"]) == code
        answer = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert answer["same_person"] is (code == 0)
        assert (answer["threshold"], answer["probability"]) == (0.6, 0.75)
        assert (answer["similarity"] > 0.9) is (code == 0)
        assert answer["trusted"] is answer["model"]["trusted"] is True
    assert faceid_app.main(["compare", one, again]) == 0
    assert capsys.readouterr().out.startswith("the same person (similarity 0.9")
    assert faceid_app.main(["compare", one, nobody]) == 1
    assert capsys.readouterr().err == f"error: no face found in {nobody}\n"
    assert faceid_app.main(["compare", one, nobody, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["similarity"] is None and answer["reason"] == f"no face found in {nobody}"
    assert {path.name for path in tmp_path.iterdir()} == {
        "one.png", "again.png", "other.png", "nobody.png"
    }  # fmt: skip


def test_names_reach_the_terminal_without_escape_sequences(files, gallery, capsys):
    gallery.path.parent.mkdir()
    template = np.ones(512, dtype=np.float32)
    gallery.path.write_bytes(pickle.dumps({"evil\x1b[2J\x07\nname": template}))
    assert faceid_app.main([*files, "list"]) == 0
    assert "evil[2J name" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["text", "missing"])
def test_a_model_that_is_none_is_one_line(run_script, files, tmp_path, kind, gallery):
    gallery.register(person("Ada"), [])
    model = tmp_path / "model.pth"
    if kind == "text":
        model.write_text("this is no model\n")
    save_jpeg(image(), tmp_path / "x.jpg")
    arguments = (*files, "--model", model, "verify", "--image", tmp_path / "x.jpg")
    done = run_script("faceid_app.py", *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    done = run_script("faceid_app.py", *arguments, "--json")
    assert done.returncode == 1
    assert str(model) in last_object(done.stdout)["reason"]


# With real detection and, where the data is there, real weights.


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Real models, loaded once: the VGGFace2 weights, or random ones without shared data."""
    from facesync.app.settings import AppSettings
    from tests.end_to_end.driving import app_weights

    (_, choice, _), environment = app_weights(tmp_path_factory.mktemp("weights"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        loaded = session.Recognizer(AppSettings(model=choice, offline=True))
        loaded.load()
    return loaded


@pytest.fixture
def real_app(real, monkeypatch):
    monkeypatch.setattr(session, "Recognizer", lambda settings: real)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    from skimage import data

    return data.astronaut()


def odd_images(folder, image_rgb: np.ndarray) -> dict[str, str]:
    """Write one face in every odd form that people's images have."""
    whole = Image.fromarray(image_rgb)
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned by 90 degrees
    forms = {
        "grey.png": (whole.convert("L"), {}),
        "rgba.png": (whole.convert("RGBA"), {}),
        "cmyk.jpg": (whole.convert("CMYK"), {}),
        "palette.gif": (whole.convert("P"), {}),
        "turned.jpg": (whole.rotate(90, expand=True), {"exif": turned}),
    }
    for name, (turned_image, how) in forms.items():
        turned_image.save(folder / name, **how)
    return {name: str(folder / name) for name in forms}


@pytest.mark.slow
def test_odd_images_of_one_person_are_recognised(real_app, files, astronaut, tmp_path, capsys):
    paths = odd_images(tmp_path, astronaut)
    save_jpeg(astronaut, tmp_path / "plain.jpg")
    plain = str(tmp_path / "plain.jpg")
    assert faceid_app.main([*files, "register", "Eileen", "--images", plain]) == 0
    for name, path in paths.items():
        code, decision = verify(capsys, *files, "--image", path)
        assert (code, decision["name"]) == (0, "Eileen"), (name, decision)


@pytest.mark.slow
@pytest.mark.parametrize("size_wh", [(20_000, 10), (10, 20_000), (1, 1), (300, 200)])
def test_images_without_room_for_a_face(real_app, files, gallery, size_wh, tmp_path, capsys):
    gallery.register(person("Ada", fingerprint=None), [])
    Image.new("RGB", size_wh, "gray").save(tmp_path / "x.png")
    code, decision = verify(capsys, *files, "--image", str(tmp_path / "x.png"))
    assert code == 1 and "no face found" in decision["reason"]


@pytest.mark.slow
def test_people_of_lfw_and_a_stranger(shared, real_app, files, capsys):
    lfw = shared / "data" / "lfw"
    images = {folder.name: sorted(folder.glob("*.jpg")) for folder in sorted(lfw.iterdir())}
    people = [name for name in images if len(images[name]) >= 4][:2]
    for name in people:
        register = ["register", name, "--images", str(images[name][0])]
        assert faceid_app.main([*files, *register]) == 0
    for name in people:
        code, decision = verify(capsys, *files, "--image", str(images[name][1]))
        assert (code, decision["name"]) == (0, name)
        assert decision["probability"] > 0.9 and decision["reason"].endswith("% sure")
    stranger = next(name for name in images if name not in people)
    code, decision = verify(capsys, *files, "--image", str(images[stranger][0]))
    assert (code, decision["name"]) == (1, None)
    assert decision["probability"] < 0.5 and decision["reason"].endswith("% match")


@pytest.mark.slow
@pytest.mark.skipif(
    not (ASSETS / "liveness.onnx").exists(), reason="no liveness model was trained yet"
)
@pytest.mark.parametrize("mode", ["passive", "auto"])
def test_a_live_video_registers_and_verifies_and_a_replay_does_not(
    shared, real_app, files, gallery, capsys, mode
):
    """The replay shows the same person, on a screen."""
    videos = shared / "data" / "videos"
    live = ["--camera", str(videos / "one_face_head_turns_live.mp4"), "--liveness", mode]
    assert faceid_app.main([*files, "register", "Ada", *live, "--no-window"]) == 0
    (ada,) = gallery.people()
    assert ada.samples == 5
    code, decision = verify(capsys, *files, *live)
    assert (code, decision["name"], decision["liveness"]["live"]) == (0, "Ada", True)
    replay = ["--camera", str(videos / "one_face_screen_replay.mp4"), "--liveness", mode]
    code, decision = verify(capsys, *files, *replay)
    assert (code, decision["name"], decision["liveness"]["live"]) == (1, None, False)
    assert decision["similarity"] > decision["threshold"]  # it is the screen that is refused
