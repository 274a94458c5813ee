from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from facesync.data import conversion
from facesync.data.conversion import REPORT_NAME, convert_pack
from facesync.data.recordio import write_pack
from facesync.data.shards import Shard
from facesync.errors import DataError, FileError
from tests.conftest import ROOT
from tests.data.packs import (
    image,
    images,
    index_of,
    many_images,
    overwrite,
    write_im2rec,
    write_index,
)

SCRIPT = "preprocessing_dataset.py"


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, including hidden ones, except the report."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != REPORT_NAME
    }


def report_of(folder: Path) -> dict:
    return json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))


def reasons_of(folder: Path) -> dict[int | None, str]:
    return {entry["key"]: entry["reason"] for entry in report_of(folder)["corrupt"]}


@pytest.fixture
def rec(tmp_path) -> Path:
    """3 identities with 4 images each: keys 1 to 12, bookkeeping 13 to 15."""
    return write_pack(tmp_path / "pack", images(3, 4))


@pytest.fixture
def expected() -> dict[str, bytes]:
    return {f"{who}/{key}.jpg": data for key, (who, data) in enumerate(images(3, 4), 1)}


def test_the_bytes_are_those_of_the_pack(rec, tmp_path, expected, run_script):
    out = tmp_path / "a" / "out"
    done = run_script(SCRIPT, "--input", rec.parent, "--output", out)
    assert done.returncode == 0
    assert tree(out) == expected
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    report = report_of(out)
    assert {key: report[key] for key in ("images", "identities", "bookkeeping", "corrupt")} == {
        "images": 12,
        "identities": 3,
        "bookkeeping": 4,
        "corrupt": [],
    }
    assert report["source"] == str(rec) and report["written"] == 12
    assert "one header (key 0) and 3 that say which keys" in report["explanation"]
    assert "12 images of 3 identities: 12 written" in done.stdout
    assert "10,573" in done.stdout
    assert "images/s" in done.stderr


def test_other_encodings_keep_their_suffix(tmp_path):
    write_im2rec(tmp_path / "a.rec", [((5.0,), image(1, "PNG"))])
    report = convert_pack(tmp_path / "a.rec", tmp_path / "out", workers=1, decode_check=True)
    assert tree(tmp_path / "out") == {"5/0.png": image(1, "PNG")}
    assert report.bookkeeping == 0 and "no bookkeeping" in report.explanation


def test_a_shuffled_pack_with_several_workers(tmp_path):
    samples = [((float(who),), data) for who, data in many_images(20, 60)]
    random.Random(3).shuffle(samples)
    write_im2rec(tmp_path / "a.rec", samples)
    report = convert_pack(tmp_path / "a.rec", tmp_path / "out", workers=3)
    assert (report.images, report.identities) == (1200, 20)
    assert tree(tmp_path / "out") == {
        f"{labels[0]:.0f}/{key}.jpg": data for key, (labels, data) in enumerate(samples)
    }


def test_running_again_writes_only_what_is_missing(rec, tmp_path, expected):
    out = tmp_path / "out"
    convert_pack(rec, out, workers=2)
    (out / "0" / "1.jpg").unlink()
    (out / "1" / "5.jpg").write_bytes(b"")
    (out / "2" / "9.jpg").write_bytes(expected["2/9.jpg"][:50])
    kept = (out / "0" / "2.jpg").stat().st_ino
    report = convert_pack(rec, out, workers=2)
    assert (report.images, report.written, report.already_there) == (12, 3, 9)
    assert tree(out) == expected
    assert (out / "0" / "2.jpg").stat().st_ino == kept


def test_what_a_killed_run_left_is_removed(rec, tmp_path, expected):
    left = tmp_path / "out" / ".conversion.tmp"
    left.mkdir(parents=True)
    (left / "4711").write_bytes(b"half an image")
    convert_pack(rec, tmp_path / "out")
    assert tree(tmp_path / "out") == expected
    assert not left.exists()


def start_script(*args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / SCRIPT), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A pack that takes a while to convert, and its content."""
    samples = list(many_images(400, 50))
    rec = write_pack(tmp_path_factory.mktemp("large"), samples)
    return rec, {f"{who}/{key}.jpg": data for key, (who, data) in enumerate(samples, 1)}


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("whole_group", [True, False], ids=["all processes", "only the parent"])
def test_kill_9_leaves_only_whole_images_and_running_again_completes(large, tmp_path, whole_group):
    rec, expected = large
    out = tmp_path / "out"
    script = start_script("--input", rec, "--output", out, "--workers", 2)
    wait_for((out / "3").exists)
    if whole_group:
        os.killpg(script.pid, signal.SIGKILL)
    else:
        script.kill()
    script.communicate()  # ends only when the workers, which hold the same pipes, have ended
    assert not (out / REPORT_NAME).exists()
    left = tree(out)
    written = {name: data for name, data in left.items() if not name.startswith(".")}
    assert 0 < len(written) < len(expected)
    assert written.items() <= expected.items()

    report = convert_pack(rec, out, workers=2)
    assert report.already_there == len(written)
    assert tree(out) == expected


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_ctrl_c_says_how_to_resume(large, tmp_path):
    rec, expected = large
    out = tmp_path / "out"
    script = start_script("--input", rec, "--output", out, "--workers", 2)
    wait_for((out / "3").exists)
    os.killpg(script.pid, signal.SIGINT)
    _, said = script.communicate()
    assert script.returncode == 130
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    written = tree(out)
    assert 0 < len(written) < len(expected)
    assert written.items() <= expected.items()


def test_corrupt_images_by_start_and_end(shared, tmp_path):
    convert_pack(shared / "data" / "recordio" / "corrupt.rec", tmp_path)
    report = report_of(tmp_path)
    assert (report["images"], report["identities"], report["bookkeeping"]) == (10, 5, 6)
    assert Counter(((key - 1) % 8, reason) for key, reason in reasons_of(tmp_path).items()) == {
        (1, "end marker missing: truncated JPEG"): 5,
        (2, "end marker missing: truncated JPEG"): 5,
        (3, "empty"): 5,
        (4, "start marker missing: not an image of a known encoding"): 5,
        (6, "end marker missing: truncated JPEG"): 5,
        (7, "start marker missing: not an image of a known encoding"): 5,
    }
    keys = {int(Path(name).stem) for name in tree(tmp_path)}
    assert keys == {key for key in range(1, 41) if (key - 1) % 8 in (0, 5)}


def test_decoding_finds_the_early_end(shared, tmp_path):
    convert_pack(shared / "data" / "recordio" / "corrupt.rec", tmp_path, decode_check=True)
    assert report_of(tmp_path)["decode_check"] is True
    early = {key: reason for key, reason in reasons_of(tmp_path).items() if (key - 1) % 8 == 5}
    assert set(early.values()) == {
        "damaged image (Corrupt JPEG data: premature end of data segment)"
    }
    assert {int(Path(name).stem) for name in tree(tmp_path)} == {1, 9, 17, 25, 33}


def test_decoding_finds_damage_between_sound_ends(tmp_path):
    damaged = image(1, "PNG")
    damaged = damaged[:60] + bytes(40) + damaged[100:]
    write_im2rec(tmp_path / "a.rec", [((1.0,), damaged), ((1.0,), image(2, "PNG"))])
    assert convert_pack(tmp_path / "a.rec", tmp_path / "marks").images == 2
    assert convert_pack(tmp_path / "a.rec", tmp_path / "decoded", decode_check=True).images == 1
    assert "damaged image" in reasons_of(tmp_path / "decoded")[0]


def test_readable_records_are_converted_and_the_rest_is_reported(rec, tmp_path, expected):
    rows = index_of(rec)
    overwrite(rec, rows[6], b"\0\0\0\0")
    convert_pack(rec, tmp_path / "out")
    assert reasons_of(tmp_path / "out") == {6: "no record starts here"}
    assert tree(tmp_path / "out") == {k: v for k, v in expected.items() if k != "1/6.jpg"}


def test_an_index_that_does_not_fit_loses_nothing_and_is_named(rec, tmp_path, expected, run_script):
    write_index(rec, [(1, offset) for offset in index_of(rec).values()])
    done = run_script(SCRIPT, "--input", rec, "--output", tmp_path / "out")
    assert done.returncode == 0 and "train.idx does not fit train.rec" in done.stderr
    assert tree(tmp_path / "out") == expected and report_of(tmp_path / "out")["corrupt"] == []


@pytest.mark.parametrize(("case", "images"), [("idx_one_key", 18), ("lost_middle", 5)])
def test_packs_that_were_converted_wrongly(shared, tmp_path, case, images):
    source = shared / "cases" / "packs" / case
    report = convert_pack(source, tmp_path / "out", decode_check=True)
    assert (report.images, len(report.corrupt)) == (images, {18: 0, 5: 3}[images])


def test_an_input_that_is_not_a_pack_is_one_line(tmp_path, run_script):
    (tmp_path / "in").write_text("a text\n" * 999)
    done = run_script(SCRIPT, "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and "not a RecordIO pack" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_pack_without_any_image_is_an_error_with_a_report(tmp_path):
    write_im2rec(tmp_path / "a.rec", [((1.0,), b"no image")])
    with pytest.raises(DataError, match=r"no image in it could be read; see .*report\.json"):
        convert_pack(tmp_path / "a.rec", tmp_path / "out")
    assert list(reasons_of(tmp_path / "out")) == [0]


def test_an_output_that_is_a_file(rec, tmp_path, run_script):
    (tmp_path / "out").write_text("mine")
    done = run_script(SCRIPT, "--input", rec, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "cannot write to" in done.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_an_output_where_a_file_has_an_identitys_name(rec, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1").write_text("mine")
    with pytest.raises(FileError, match="Not a directory"):
        convert_pack(rec, tmp_path / "out")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output(rec, tmp_path, run_script):
    (tmp_path / "out").mkdir(mode=0o555)
    done = run_script(SCRIPT, "--input", rec, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "cannot write to" in done.stderr and "Permission denied" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
def test_a_full_disk_leaves_no_partial_file(tmp_path):
    """A limit on file size acts as a full disk: a write ends in the middle."""
    import resource

    small, large_one = image(1), image(2) + bytes(60)
    assert len(small) < len(large_one)
    rec = write_pack(tmp_path / "pack", [(0, small), (1, large_one)])
    limit = len(large_one) - 10
    done = subprocess.run(
        [sys.executable, str(ROOT / SCRIPT), "--input", rec, "--output", tmp_path / "out"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: cannot write to") and "File too large" in error
    assert "Traceback" not in done.stderr
    assert set(tree(tmp_path / "out")) <= {"0/1.jpg"}
    assert not (tmp_path / "out" / ".conversion.tmp").exists()
    assert not (tmp_path / "out" / REPORT_NAME).exists()


def test_a_failed_run_removes_the_old_report(rec, tmp_path):
    out = tmp_path / "out"
    convert_pack(rec, out)
    (out / "1" / "5.jpg").unlink()
    (out / "1" / "5.jpg").mkdir()
    with pytest.raises(FileError):
        convert_pack(rec, out)
    assert not (out / REPORT_NAME).exists()


def die(*_: object) -> None:
    os._exit(1)


def test_a_worker_that_dies_is_one_line(rec, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "_RECORDS_PER_TASK", 4)
    monkeypatch.setattr(conversion, "_convert_in_process", die)
    with pytest.raises(DataError, match="a worker process died"):
        convert_pack(rec, tmp_path / "out", workers=2)


def test_workers_inherit_nothing(rec, tmp_path, expected, monkeypatch):
    """They are spawned, on every system."""
    monkeypatch.setattr(conversion, "_RECORDS_PER_TASK", 4)
    monkeypatch.setattr(conversion, "marker_fault", lambda data: "seen by a fork")
    report = convert_pack(rec, tmp_path / "out", workers=2)
    assert report.corrupt == [] and tree(tmp_path / "out") == expected


def test_one_process_needs_no_other(rec, tmp_path, expected, monkeypatch):
    monkeypatch.setattr(conversion, "_RECORDS_PER_TASK", 4)
    monkeypatch.setattr(conversion, "in_processes", die)
    convert_pack(rec, tmp_path / "out", workers=1)
    assert tree(tmp_path / "out") == expected


@pytest.mark.parametrize("place", ["__init__", "submit"])
def test_full_shared_memory_is_named(rec, tmp_path, monkeypatch, place):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(conversion, "_RECORDS_PER_TASK", 4)
    monkeypatch.setattr(f"facesync.spawning.ProcessPoolExecutor.{place}", refuse)
    with pytest.raises(DataError, match=r"No space left .* /dev/shm, .*--workers 1"):
        convert_pack(rec, tmp_path / "out", workers=2)
    assert not (tmp_path / "out" / ".conversion.tmp").exists()


def test_no_workers_is_wrong_usage(run_script, tmp_path):
    pack = ("--input", tmp_path, "--output", tmp_path)
    assert run_script(SCRIPT, *pack, "--workers", 0).returncode == 2


def test_what_can_be_imported_from_the_script():
    import preprocessing_dataset
    from facesync.data.datasets import FaceDataset

    assert preprocessing_dataset.FaceDataset is FaceDataset
    assert preprocessing_dataset.process_casia_webface is conversion.process_casia_webface
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = preprocessing_dataset.nothing_of_that_name


def convert_in_shares(rec, out, order, **options):
    return [convert_pack(rec, out, workers=1, shard=Shard(n, len(order)), **options) for n in order]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
def test_shares_give_the_folder_and_the_report_of_one_run(tmp_path, order):
    pack = write_pack(tmp_path / "pack", many_images(8, 5))
    overwrite(pack, index_of(pack)[7] + 32, b"\0\0\0\0")  # its image
    overwrite(pack, index_of(pack)[30], b"\0\0\0\0")  # its record
    convert_pack(pack, tmp_path / "one", workers=1)
    *first, last = convert_in_shares(pack, tmp_path / "out", order)
    assert tree(tmp_path / "out") == tree(tmp_path / "one")
    found, expected = report_of(tmp_path / "out"), report_of(tmp_path / "one")
    assert found.pop("seconds") >= 0 and expected.pop("seconds") >= 0
    assert found == expected and len(found["corrupt"]) == 2
    assert last.images == sum(found[kind] for kind in ("written", "already_there")) == 38
    assert sum(share.images for share in first) < 38


def test_an_interrupted_share_resumes_and_no_report_is_there_before_all_are_done(
    rec, tmp_path, expected, monkeypatch
):
    out = tmp_path / "out"
    convert_in_shares(rec, out, (1, 2))
    assert (out / REPORT_NAME).exists()
    with monkeypatch.context() as patched:
        patched.setattr(conversion.ImageWriter, "publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            convert_pack(rec, out, workers=1, shard=Shard(1, 2))
    assert not (out / REPORT_NAME).exists()
    convert_pack(rec, out, workers=1, shard=Shard(2, 2))
    assert not (out / REPORT_NAME).exists()
    convert_pack(rec, out, workers=1, shard=Shard(1, 2))
    assert tree(out) == expected and report_of(out)["already_there"] == 12
    convert_pack(rec, out, workers=1, shard=Shard(1, 3))
    convert_pack(rec, out, workers=1)  # all in one removes what parts of other runs left
    assert tree(out) == expected and report_of(out)["already_there"] == 12


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"about": [1, false]}', "[" * 100_000])
def test_a_part_that_is_damaged_or_of_something_else_is_named(rec, tmp_path, content):
    convert_pack(rec, tmp_path / "out", workers=1, shard=Shard(1, 2))
    part = tmp_path / "out" / "conversion_report.1-of-2.json"
    part.write_text(content)
    with pytest.raises(FileError, match=r"1-of-2\.json is damaged, or of another pack"):
        convert_pack(rec, tmp_path / "out", workers=1, shard=Shard(2, 2))


def test_shares_at_once_from_shells(tmp_path):
    pack = write_pack(tmp_path / "pack", many_images(20, 10))
    convert_pack(pack, tmp_path / "one", workers=1)
    command = [sys.executable, SCRIPT, "--input", pack, "--output", tmp_path / "out"]
    shells = [
        subprocess.Popen([*command, "--workers", "1", "--shard", f"{n}/2"], cwd=ROOT,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for n in (1, 2)
    ]  # fmt: skip
    said = "".join(shell.communicate()[0] for shell in shells)
    assert [shell.returncode for shell in shells] == [0, 0]
    assert tree(tmp_path / "out") == tree(tmp_path / "one")
    assert report_of(tmp_path / "out")["images"] == 200
    assert said.count("Report: ") >= 1
    alone = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True,
                           env={**os.environ, "RANK": "1", "WORLD_SIZE": "2"})  # fmt: skip
    assert "Part 2 of 2 is done" in alone.stderr  # as torchrun starts it
