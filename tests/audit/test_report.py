from __future__ import annotations

import csv

import pytest

import audit_dataset
import preprocessing_dataset
from facesync.audit import report
from facesync.cli import DONE, FAILED, USAGE
from facesync.data.conversion import convert_pack
from facesync.data.datasets import FaceDataset
from facesync.data.left_out import list_path, read_list
from facesync.data.recordio import write_pack
from tests.evaluation.drawn_people import (
    DrawnDetector,
    DrawnModel,
    faceless,
    fill,
    people,
    photograph,
)

FAULTS = {
    "p1/9.jpg": photograph(1, 3),
    "p2/9.jpg": photograph(3, 20),
    "p3/9.jpg": faceless(1),
}
LEFT_OUT = {"p1/9": "exact copy", "p2/9": "wrong identity", "p3/9": "no face"}


@pytest.fixture
def script(monkeypatch, capsys):
    """Run a script in this process with stand-ins; returns its exit code, output and errors."""
    monkeypatch.setattr(report, "load_face_model", lambda *_, **__: DrawnModel())
    monkeypatch.setattr(report, "FaceDetector", DrawnDetector)

    def run(*args: object) -> tuple[int, str, str]:
        module = preprocessing_dataset if args[0] == "--audit" else audit_dataset
        code = module.main([str(arg) for arg in args])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def images(tmp_path):
    return fill(tmp_path / "images", people(5, 6) | FAULTS)


@pytest.mark.parametrize("door", [["--audit"], []], ids=["preprocessing_dataset", "audit_dataset"])
def test_an_audit_says_what_it_found_and_leaves_nothing_out(door, script, images, tmp_path):
    code, out, err = script(*door, "--input", images)
    output = tmp_path / "images_audit"
    assert code == DONE and "error" not in err
    assert "33 images of 5 identities: 3 should be left out (9.1%)" in out
    assert f"Findings: {output / 'findings.csv'}" in out and "with --apply" in out
    with open(output / "findings.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["picture"]: row["finding"] for row in rows} == LEFT_OUT
    by_image = {row["picture"]: row for row in rows}
    assert by_image["p1/9"]["other"] == "p1/3" and by_image["p2/9"]["other"] == "p3"
    assert by_image["p2/9"]["identity"] == "p2"
    assert by_image["p2/9"]["action"] == "leave out, or move to p3"
    assert sorted(path.name for path in (output / "sheets").iterdir()) == [
        "exact_copy_01.png",
        "no_face_01.png",
        "wrong_identity_01.png",
    ]
    assert FaceDataset(images).left_out == []
    assert sorted(path.name for path in images.iterdir()) == [f"p{n}" for n in range(5)]


def test_apply_leaves_them_out_and_is_taken_back(script, images, tmp_path):
    code, out, _ = script("--input", images, "--apply", "--output", tmp_path / "o")
    assert code == DONE and str(images / "left_out.csv") in out
    dataset = FaceDataset(images)
    assert {name: reason.split(":")[0].split(" (")[0] for name, reason in dataset.left_out} == (
        LEFT_OUT
    )
    assert not set(LEFT_OUT) & set(dataset.names) and len(dataset) == 30
    assert dict(dataset.left_out)["p1/9"] == "exact copy (p1/3): the same bytes"
    (images / "left_out.csv").unlink()
    assert len(FaceDataset(images)) == 33


def test_a_second_apply_adds_to_the_list(script, images, tmp_path):
    script("--input", images, "--apply")
    fill(images, {"p4/9.jpg": photograph(0, 2)})
    code, out, _ = script("--input", images, "--apply")
    assert code == DONE and "31 images of 5 identities: 1 should be left out" in out
    assert set(read_list(images / "left_out.csv")) == {*LEFT_OUT, "p4/9"}
    code, out, _ = script("--input", images, "--apply")
    assert "0 should be left out" in out and "Left out by" not in out
    assert set(read_list(images / "left_out.csv")) == {*LEFT_OUT, "p4/9"}


def test_a_pack_gives_what_its_folder_gives(script, tmp_path):
    files = people(5, 6) | FAULTS
    ordered = sorted(files, key=lambda name: name.partition("/")[0])
    pack = write_pack(tmp_path / "pack", [(int(name[1]), files[name]) for name in ordered])
    convert_pack(pack, tmp_path / "folder", workers=1)
    lists = []
    for source in (tmp_path / "pack", pack, tmp_path / "folder"):
        code, _, _ = script("--input", source, "--output", tmp_path / "o", "--apply")
        assert code == DONE
        path = list_path(pack if source != tmp_path / "folder" else source)
        lists.append(path.read_bytes())
        path.unlink()
    assert lists[0] == lists[1] == lists[2]
    assert lists[0].count(b"\n") == 4


def test_the_default_output_is_beside_the_dataset(script, tmp_path):
    pack = write_pack(
        tmp_path / "a.b" / "pack", [(n // 5, photograph(n // 5, n)) for n in range(9)]
    )
    assert script("--input", pack)[0] == DONE
    assert (pack.parent / "train_audit" / "findings.csv").is_file()
    assert script("--input", tmp_path / "a.b")[0] == DONE
    assert (tmp_path / "a.b_audit" / "findings.csv").is_file()


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--apply"], "--apply cannot be used without --audit"),
        (["--model", "vggface2"], "--model cannot be used without --audit"),
        (["--offline"], "--offline cannot be used without --audit"),
        (["--device", "cpu"], "--device cannot be used without --audit"),
        (["--audit", "--workers", "2"], "--workers cannot be used with --audit"),
        (["--audit", "--decode-check"], "--decode-check cannot be used with --audit"),
        ([], "name the folder for the images with --output DIR"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_go_together(images, args, line, capsys):
    assert preprocessing_dataset.main(["--input", str(images), *args]) == USAGE
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize("place", [".", "audit", "p1/audit"])
def test_an_output_among_the_images_is_refused(script, images, place):
    code, _, err = script("--input", images, "--output", images / place)
    assert code == USAGE and "among the images" in err and err.count("\n") == 1


def test_nothing_there(script, tmp_path):
    code, out, err = script("--input", tmp_path / "none")
    assert (code, out) == (FAILED, "") and "no such folder or pack" in err
    (tmp_path / "empty").mkdir()
    code, _, err = script("--input", tmp_path / "empty")
    assert code == FAILED and err.count("\n") == 1


def test_a_list_that_cannot_be_written_loses_nothing(script, images, tmp_path):
    (images / ".left_out.csv.tmp" / "in the way").mkdir(parents=True)
    code, _, err = script("--input", images, "--apply")
    assert code == FAILED and "left_out.csv" in err
    assert (tmp_path / "images_audit" / "findings.csv").is_file()


@pytest.mark.slow
def test_planted_faults_in_real_images(shared, tmp_path, run_script):
    """Eight people of the shared pack, with the VGGFace2 weights and MTCNN."""
    whole = FaceDataset(shared / "data" / "celeba_pack")
    chosen = [whole.names[i] for i, label in enumerate(whole.labels) if label < 8]
    chosen = [name for n, name in enumerate(chosen) if int(name.split("/")[1]) % 3 == 0]
    data = {name: whole.encoded(whole.names.index(name)) for name in chosen}
    people_of = sorted({name.split("/")[0] for name in chosen}, key=int)
    first, other = (next(n for n in chosen if n.startswith(f"{who}/")) for who in people_of[1:3])
    data[first], data[other] = data[other], data[first]
    data[f"{people_of[3]}/9000"] = data[next(n for n in chosen if n.startswith(people_of[3] + "/"))]
    data[f"{people_of[4]}/9001"] = faceless(1)
    fill(tmp_path / "set", {f"{name}.jpg": image for name, image in data.items()})
    env = {"TORCH_HOME": str(shared / "torch_home")}
    options = ("--model", "vggface2", "--offline", "--device", "cpu", "--apply")
    done = run_script("audit_dataset.py", "--input", tmp_path / "set", *options, env=env)
    assert done.returncode == DONE, done.stderr
    reasons = {name: why.split(":")[0] for name, why in FaceDataset(tmp_path / "set").left_out}
    assert reasons[first] == f"wrong identity ({people_of[2]})"
    assert reasons[other] == f"wrong identity ({people_of[1]})"
    assert reasons[f"{people_of[3]}/9000"].startswith("exact copy")
    assert reasons[f"{people_of[4]}/9001"] == "no face"
    assert len(reasons) <= len(data) // 10
