"""The real kaggle client against a server on this machine; nothing here uses the network."""

from __future__ import annotations

import _thread
import errno
import io
import json
import os
import shutil
import struct
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from kagglesdk import kaggle_env

import download_dataset
from facesync.data import download, kaggle_client, unpacking
from facesync.data.settings import default_output
from facesync.data.verification import INVENTORY, verify_folder
from facesync.errors import DownloadError
from tests.data.kaggle_server import DATASET, PIECE, KaggleServer

RECORDS = 40
PAYLOAD_BYTES = 10_001


def write_pack(folder: Path, records: int = RECORDS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with (folder / "train.rec").open("wb") as file:
        for key in range(1, records + 1):
            rows.append(f"{key}\t{file.tell()}\n")
            payload = bytes([key]) * PAYLOAD_BYTES
            file.write(struct.pack("<II", 0xCED7230A, len(payload)) + payload + b"\0" * 3)
    (folder / "train.idx").write_text("".join(reversed(rows)))


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def no_account_of_the_developer(tmp_path, monkeypatch) -> Path:
    """A home folder without credentials."""
    for name in [name for name in os.environ if name.startswith(("KAGGLE_", "COLAB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    home = tmp_path / "home"
    (home / ".kaggle").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setattr(download, "RETRY_WAITS_S", (0, 0, 0))
    return home


@pytest.fixture
def pack_files(tmp_path) -> dict[str, bytes]:
    """The files in the zip of a pack, laid out as in Kaggle's CASIA-WebFace."""
    write_pack(tmp_path / "source")
    return {
        "eval/lfw.bin": b"pairs",
        **{f"tiny-faces/{f.name}": f.read_bytes() for f in sorted((tmp_path / "source").iterdir())},
    }


@pytest.fixture
def kaggle(pack_files, monkeypatch) -> Iterator[KaggleServer]:
    """A Kaggle that has `DATASET`, and credentials for it."""
    with KaggleServer(zip_of(pack_files)) as server:
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, server.url)
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("KAGGLE_API_TOKEN", "s3cret")
        yield server


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "datasets"


@pytest.fixture
def run(output, capsys):
    """Run the script: exit code, standard output, standard error."""

    def run(*args: str) -> SimpleNamespace:
        code = download_dataset.main(["--dataset", DATASET, "--output", str(output), *args])
        out, err = capsys.readouterr()
        assert "s3cret" not in out + err
        errors = [line for line in err.splitlines() if "error: " in line]
        assert len(errors) == (code == 1), err
        return SimpleNamespace(code=code, out=out, err=err, error=errors[0] if errors else "")

    return run


def part_of(output: Path) -> Path:
    return output / "someone_tiny-faces.zip.part"


def assert_complete(output: Path, pack_files: dict[str, bytes]) -> None:
    assert sorted(path.name for path in output.iterdir()) == ["tiny-faces"]
    folder = output / "tiny-faces"
    for name, content in pack_files.items():
        assert (folder / name.removeprefix("tiny-faces/")).read_bytes() == content
    found = verify_folder(folder, DATASET, checksums=True)
    assert (found.files, [pack.rows for pack in found.packs]) == (3, [RECORDS])


def test_downloads_unpacks_and_prints_the_next_command(run, kaggle, output, pack_files):
    result = run()
    assert result.code == 0
    assert f"Pack: {output}/tiny-faces (40 index rows" in result.out.replace("\\", "/")
    assert "python preprocessing_dataset.py --input" in result.out
    assert_complete(output, pack_files)
    assert kaggle.asked_ranges() == [None]


def test_credentials_go_to_kaggle_and_not_to_its_storage(run, kaggle):
    run()
    sent = {path: headers.get("Authorization") for path, headers in kaggle.requests}
    assert sent.pop("/storage/archive.zip") is None
    assert set(sent.values()) == {"Bearer s3cret"}


def test_nothing_is_requested_if_everything_is_there(run, kaggle, output, pack_files, monkeypatch):
    run()
    kaggle.requests.clear()
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    result = run()
    assert result.code == 0 and "is already there" in result.err
    assert kaggle.requests == []
    assert_complete(output, pack_files)


def test_a_cut_transfer_is_resumed_in_the_same_run(run, kaggle, output, pack_files):
    kaggle.cuts = [3 * PIECE + 100]
    assert run().code == 0
    assert kaggle.asked_ranges()[-1] == f"bytes={3 * PIECE}-"
    assert_complete(output, pack_files)


def break_off(run, kaggle: KaggleServer) -> None:
    kaggle.cuts = [2 * PIECE + 1] + [0] * 9
    result = run()
    assert result.code == 1 and "keeps breaking" in result.error
    kaggle.cuts = []
    kaggle.requests.clear()


def test_a_broken_transfer_is_kept_and_the_next_run_resumes_it(run, kaggle, output, pack_files):
    break_off(run, kaggle)
    assert part_of(output).stat().st_size == 2 * PIECE
    assert not (output / "tiny-faces").exists()
    assert run().code == 0
    assert kaggle.asked_ranges()[-1] == f"bytes={2 * PIECE}-"
    assert_complete(output, pack_files)


@pytest.mark.parametrize("change", ["another version", "no note", "no ranges", "complete"])
def test_a_part_that_cannot_be_continued(run, kaggle, output, pack_files, change):
    break_off(run, kaggle)
    part = part_of(output)
    if change == "another version":
        pack_files["eval/lfw.bin"] = b"other"
        kaggle.zip_bytes, kaggle.etag = zip_of(pack_files), '"second"'
    elif change == "no note":
        part.with_name(f"{part.name}.json").unlink()
    elif change == "no ranges":
        kaggle.ranges = False
    else:
        part.write_bytes(kaggle.zip_bytes)
    assert run().code == 0
    assert kaggle.asked_ranges()[0] is None
    assert len(kaggle.asked_ranges()) == 1 + (change == "no ranges")
    assert_complete(output, pack_files)


def test_ctrl_c_keeps_the_part_and_the_next_run_resumes_it(run, kaggle, output, pack_files):
    part = part_of(output)

    def interrupt() -> None:
        while not (part.exists() and part.stat().st_size):
            time.sleep(0.001)
        _thread.interrupt_main()

    kaggle.midway = interrupt
    result = run()
    assert result.code == 130
    assert "Run the same command again to resume" in result.err
    kept = part.stat().st_size
    assert 0 < kept < len(kaggle.zip_bytes)
    kaggle.midway = lambda: None
    assert run().code == 0
    assert kaggle.asked_ranges()[-1] == f"bytes={kept}-"
    assert_complete(output, pack_files)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "create new ones at https://www.kaggle.com/settings/api"),
        (403, "accept its terms and verify your phone"),
        (404, "check the name"),
        (429, "again in 90 seconds"),
        (500, "again in a few minutes"),
        (503, "again in a few minutes"),
        (418, "to see why"),
    ],
)
def test_a_refusal_says_what_to_do(run, kaggle, status, advice):
    kaggle.status, kaggle.headers = status, {"Retry-After": "90"}
    result = run()
    assert result.code == 1
    assert advice in result.error and str(status) in result.error


def test_a_refusal_of_the_storage_keeps_the_part(run, kaggle, output):
    break_off(run, kaggle)
    kaggle.storage_status = 503
    assert "again in a few minutes" in run().error
    assert part_of(output).stat().st_size == 2 * PIECE


def test_an_unknown_dataset_is_not_found(run, kaggle):
    result = run("--dataset", "someone/else")
    assert result.code == 1 and "no dataset someone/else" in result.error


def test_no_network(run, kaggle, monkeypatch):
    with KaggleServer() as gone:
        pass
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, gone.url)
    result = run()
    assert result.code == 1 and "cannot be reached" in result.error


@pytest.fixture
def certificate(tmp_path, kaggle, monkeypatch) -> Path:
    """Kaggle answers with this certificate, made by nobody, as a proxy that intercepts it does."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    certificate = kaggle.encrypt(tmp_path)
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, kaggle.url)
    return certificate


def test_a_certificate_that_is_not_trusted_is_named(run, output, certificate, monkeypatch):
    result = run()
    assert result.code == 1 and "certificate is not trusted" in result.error
    assert "set REQUESTS_CA_BUNDLE to" in result.error
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert run().code == 0


def test_an_untrusted_certificate_of_the_storage_is_not_tried_again(
    run, kaggle, certificate, monkeypatch
):
    """The proxy may read along with some hosts only."""
    tried = []

    def refuse(*_: object) -> None:
        tried.append(1)
        raise requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(kaggle_client.Kaggle, "open_zip", refuse)
    assert "certificate is not trusted" in run().error
    assert len(tried) == 1


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_bundle_that_cannot_be_used_is_named(run, kaggle, tmp_path, monkeypatch, content):
    if content is not None:
        (tmp_path / "bundle.pem").write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    result = run()
    assert result.code == 1 and "bundle.pem, which holds no certificate (PEM)" in result.error
    assert kaggle.requests == []


def test_an_answer_that_is_not_kaggles(run, kaggle, monkeypatch):
    def login_page(self: requests.Session, request: requests.PreparedRequest, **_: object):
        page = requests.Response()
        page.status_code, page.raw = 200, io.BytesIO(b"<html>Welcome to our hotel")
        page.headers["Content-Type"] = "text/html"
        return page

    monkeypatch.setattr(requests.Session, "send", login_page)
    result = run()
    assert result.code == 1 and "login page" in result.error


def test_a_damaged_zip_is_refused_and_downloaded_again(run, kaggle, output, pack_files):
    whole = kaggle.zip_bytes
    at = whole.index(bytes([7]) * 100)
    kaggle.zip_bytes = whole[:at] + b"?" + whole[at + 1 :]
    result = run()
    assert result.code == 1 and "damaged" in result.error
    assert list(output.iterdir()) == []
    kaggle.zip_bytes = whole
    assert run().code == 0
    assert_complete(output, pack_files)


def test_something_that_is_not_a_zip_is_refused(run, kaggle, output):
    kaggle.zip_bytes = b"<html>" * 99
    assert "damaged" in run().error
    assert list(output.iterdir()) == []


def marked(zip_bytes: bytes, *, flags: int = 0, method: int | None = None) -> bytes:
    """Set flags or another compression method in each header of a zip."""
    marked = bytearray(zip_bytes)
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = -1
        while (start := zip_bytes.find(magic, start + 1)) >= 0:
            old_flags, old_method = struct.unpack_from("<HH", zip_bytes, start + at)
            new = (old_flags | flags, old_method if method is None else method)
            struct.pack_into("<HH", marked, start + at, *new)
    return bytes(marked)


A_TEXT = zip_of({"a.txt": b"1"})
UNUSABLE = {
    "encrypted": (marked(A_TEXT, flags=1), "'a.txt' is encrypted"),
    "strongly encrypted": (marked(A_TEXT, flags=0x40), "strong encryption"),
    "Deflate64": (marked(A_TEXT, method=9), "'a.txt' is compressed with Deflate64"),
    "unknown method": (marked(A_TEXT, method=77), "'a.txt' is compressed with method 77"),
    "bomb": (
        zip_of({"a.txt": bytes(3 << 20)}, zipfile.ZIP_DEFLATED),
        "a zip bomb: it would unpack to 3.1 MB",
    ),
    "not UTF-8": (zip_of({"é.txt": b"1"}).replace("é".encode(), b"\xe9\xe9"), "is not UTF-8"),
    "long name": (zip_of({"é" * 200: b"1"}), "cannot be saved here (File name too long)"),
    "a file and a folder": (zip_of({"a": b"1", "a/b": b"2"}), "'a/b' cannot be saved here"),
    "a folder and a file": (zip_of({"a/b": b"1", "a": b"2"}), "'a' cannot be saved here"),
    "one name, written in two ways": (
        zip_of({"a/b": b"1", "./a/b": b"2"}),
        "two entries have one name, 'a/b' and './a/b'",
    ),
}


@pytest.mark.parametrize(("content", "said"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_whole_zip_that_cannot_be_unpacked_is_kept(
    run, kaggle, output, monkeypatch, content, said
):
    monkeypatch.setattr(unpacking, "_BOMB_BYTES", 1 << 20)
    kaggle.zip_bytes = content
    result = run()
    assert result.code == 1 and said in result.error and "it is kept" in result.error
    assert [path.name for path in output.iterdir()] == ["someone_tiny-faces.zip"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("deflate64", "'train.rec' is compressed with Deflate64"), ("twice", "'property'")],
)
def test_a_zip_that_was_put_there_by_hand_is_kept(run, output, shared, name, said):
    output.mkdir()
    archive = output / "someone_tiny-faces.zip"
    shutil.copyfile(shared / "cases" / "zip" / f"{name}.zip", archive)
    result = run()
    assert result.code == 1 and said in result.error and "it is kept" in result.error
    assert [path for path in output.iterdir()] == [archive]


def test_backslashes_between_folders(run, kaggle, output):
    kaggle.zip_bytes = zip_of({"images/a.txt": b"1"}).replace(b"images/a", b"images\\a")
    result = run()
    assert result.code == 0 and "backslashes in 1 name are taken for folders" in result.err
    assert (output / "tiny-faces/images/a.txt").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["a:b", "x/con.txt", "dot.", "space /y", "a\nb", "what?"])
def test_names_that_windows_cannot_hold(name, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(Exception, match="Windows cannot hold the name"):
        unpacking._require_usable(zipfile.ZipInfo(name), Path(name))


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str
)
def test_damaged_data_of_each_compression(run, kaggle, output, method):
    content = bytearray(zip_of({"a.txt": os.urandom(3000)}, method))
    content[40:2000] = bytes(1960)
    kaggle.zip_bytes = bytes(content)
    result = run()
    assert result.code == 1 and "is damaged" in result.error
    assert list(output.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "eval/../../outside.txt"])
def test_a_zip_that_writes_elsewhere_is_refused(run, kaggle, output, name):
    kaggle.zip_bytes = zip_of({"inside.txt": b"1", name: b"2"})
    result = run()
    assert result.code == 1 and "outside.txt" in result.error
    assert sorted(path.name for path in output.iterdir()) == ["someone_tiny-faces.zip"]
    assert not (output.parent / "outside.txt").exists()


def test_interrupted_unpacking_is_repeated_without_network(
    run, kaggle, output, pack_files, monkeypatch
):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "write_inventory", stop)
        assert run().code == 130
    assert not (output / "tiny-faces").exists()
    (output / ".tiny-faces.unpacking").mkdir()
    (output / ".tiny-faces.unpacking" / "left by a killed run").touch()
    kaggle.requests.clear()
    assert run().code == 0
    assert kaggle.requests == []
    assert_complete(output, pack_files)


def test_a_top_folder_is_kept_if_files_would_clash(run, kaggle, output):
    kaggle.zip_bytes = zip_of({"tiny-faces/a.txt": b"1", "a.txt": b"2"})
    assert run().code == 0
    assert (output / "tiny-faces/tiny-faces/a.txt").read_bytes() == b"1"
    assert (output / "tiny-faces/a.txt").read_bytes() == b"2"


def test_no_room_for_the_zip(run, kaggle, output, monkeypatch):
    usage = SimpleNamespace(free=2 * len(kaggle.zip_bytes) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    result = run()
    assert result.code == 1 and "not enough room" in result.error
    assert list(output.iterdir()) == []


def test_no_room_to_unpack(run, kaggle, output, monkeypatch):
    kaggle.zip_bytes = zip_of({"a.txt": b"1"})
    free = iter([10**9, 0])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    assert "not enough room" in run().error
    assert [path.suffix for path in output.iterdir()] == [".zip"]


def test_a_disk_that_fills_up_keeps_the_part(run, kaggle, output, monkeypatch):
    bodies = requests.Response.iter_content

    def full(self: requests.Response, size: int):
        for chunk in bodies(self, size):
            yield chunk
            if "storage" in self.url:
                raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(requests.Response, "iter_content", full)
        result = run()
    assert result.code == 1 and "No space left on device" in result.error
    assert part_of(output).stat().st_size == PIECE
    assert run().code == 0


def test_a_folder_that_cannot_be_written(run, kaggle, output):
    output.write_text("a file stands here")
    result = run()
    assert result.code == 1 and f"cannot write in {output}" in result.error
    assert kaggle.requests == []


def test_a_dataset_without_a_pack(run, kaggle, output):
    kaggle.zip_bytes = zip_of({"a.csv": b"1,2", "images/b.jpg": b"jpeg"})
    for args in ([], [], ["--verify-only"]):
        result = run(*args)
        assert result.code == 0 and "2 files, no RecordIO pack" in result.out
    assert (output / "tiny-faces/images/b.jpg").read_bytes() == b"jpeg"


def test_a_pack_that_is_broken_at_its_source_is_reported_and_kept(run, kaggle, output, pack_files):
    pack_files["tiny-faces/train.idx"] = b"1\t12\n"
    kaggle.zip_bytes = zip_of(pack_files)
    result = run()
    assert result.code == 1 and "the zip from Kaggle has the same fault" in result.error
    assert sorted(path.name for path in output.iterdir()) == [
        "someone_tiny-faces.zip",
        "tiny-faces",
    ]


def test_another_owners_dataset_of_the_same_name_is_refused(run, kaggle):
    run()
    result = run("--dataset", "else/tiny-faces")
    assert result.code == 1 and "holds someone/tiny-faces" in result.error


# Verification without network.


@pytest.fixture
def pack(output) -> Path:
    """A pack that was copied by hand."""
    write_pack(output / "tiny-faces")
    return output / "tiny-faces"


def rows_of(pack: Path, rows: str) -> None:
    (pack / "train.idx").write_text(rows)


def truncate(pack: Path) -> None:
    records = pack / "train.rec"
    os.truncate(records, records.stat().st_size - 100)


def test_a_whole_pack_verifies_by_hand_or_in_a_deeper_folder(run, pack):
    assert run("--verify-only").code == 0
    shutil.move(pack, pack.parent / "moved")
    shutil.move(pack.parent / "moved", pack / "deep/er")
    result = run("--verify-only")
    assert result.code == 0 and str(pack / "deep/er") in result.out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda pack: (pack / "train.idx").unlink(), "train.idx is missing beside train.rec"),
        (lambda pack: (pack / "train.rec").unlink(), "train.rec is missing beside train.idx"),
        (lambda pack: rows_of(pack, ""), "train.idx is empty"),
        (lambda pack: rows_of(pack, "1\t0\n2\n"), "1 row does not point at a record of train.rec"),
        (lambda pack: rows_of(pack, "a\tb\n"), "line 1 of train.idx is not a key and an offset"),
        (lambda pack: rows_of(pack, "1\t0\n7\t-8\n"), "(key 7: outside the file)"),
        (lambda pack: rows_of(pack, "9\t4\n7\t4\n"), "2 rows do not point at a record"),
        (lambda pack: rows_of(pack, "1\t0\n7\t4\n"), "(key 7: no record starts here)"),
        (truncate, "(key 40: truncated: only 9904 of 10001 bytes are there)"),
        (shutil.rmtree, "run without --verify-only to download it"),
        (lambda pack: [f.unlink() for f in pack.iterdir()], "holds no RecordIO pack"),
    ],
)
def test_a_broken_pack_is_reported(run, pack, damage, message):
    damage(pack)
    result = run("--verify-only")
    assert result.code == 1 and message in result.error


def test_a_flipped_byte_is_found_by_its_checksum(run, kaggle, output):
    run()
    records = output / "tiny-faces/train.rec"
    content = bytearray(records.read_bytes())
    content[100] ^= 1
    records.write_bytes(content)
    kaggle.requests.clear()
    result = run("--verify-only")
    assert result.code == 1 and "train.rec is damaged" in result.error
    assert kaggle.requests == []


def test_a_missing_or_shorter_file_is_found_without_reading_everything(run, kaggle, output):
    run()
    lost = output / "tiny-faces/eval/lfw.bin"
    lost.write_bytes(b"pai")
    assert "has 3 bytes instead of 5" in run().error
    lost.unlink()
    result = run()
    assert "lfw.bin is missing" in result.error and "then run again" in result.error


def test_a_damaged_inventory_is_reported(run, pack):
    (pack / INVENTORY).write_text("[]")
    assert "is damaged" in run("--verify-only").error


def test_real_packs(shared):
    for folder, rows in (("recordio", 541), ("celeba_pack", 5177)):
        found = verify_folder(shared / "data" / folder, DATASET)
        assert [pack.rows for pack in found.packs] == [rows]


# Credentials.


def authorization() -> str | None:
    found = kaggle_client.find_credentials()
    if found is None:
        return None
    return found(requests.Request("GET", "http://x").prepare()).headers["Authorization"]


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


ADA = {"username": "ada", "key": "k"}
ADA_BASIC = requests.auth._basic_auth_str("ada", "k")


def test_every_place_for_credentials(no_account_of_the_developer, tmp_path, monkeypatch):
    home = no_account_of_the_developer
    assert authorization() is None

    # In ascending order of precedence: each overrides those before it.
    write_json(home / ".config/kaggle/kaggle.json", {"username": "xdg", "key": "k"})
    assert authorization() == requests.auth._basic_auth_str("xdg", "k")
    write_json(home / ".kaggle/kaggle.json", ADA)
    assert authorization() == ADA_BASIC
    write_json(tmp_path / "elsewhere/kaggle.json", {"username": "eve", "key": "k"})
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "elsewhere"))
    assert authorization() == requests.auth._basic_auth_str("eve", "k")
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "k")
    assert authorization() == ADA_BASIC
    (home / ".kaggle/access_token.txt").write_text("windows\n")
    assert authorization() == "Bearer windows"
    (home / ".kaggle/access_token").write_text("file\n")
    assert authorization() == "Bearer file"
    monkeypatch.setenv("KAGGLE_API_TOKEN", "variable")
    assert authorization() == "Bearer variable"
    (tmp_path / "token").write_text("pointed\n")
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(tmp_path / "token"))
    assert authorization() == "Bearer pointed"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_credentials_that_windows_wrote(no_account_of_the_developer, encoding):
    folder = no_account_of_the_developer / ".kaggle"
    (folder / "kaggle.json").write_text(json.dumps(ADA), encoding=encoding)
    assert authorization() == ADA_BASIC
    (folder / "access_token").write_text("file\r\n", encoding=encoding)
    assert authorization() == "Bearer file"


def test_credentials_that_are_not_text(no_account_of_the_developer):
    (no_account_of_the_developer / ".kaggle/access_token").write_bytes(b"caf\xe9")
    with pytest.raises(DownloadError, match=r"cannot read .*access_token: .* create a new one"):
        kaggle_client.find_credentials()


@pytest.mark.parametrize("content", ["", "[]", '{"username": "ada"}'])
def test_a_kaggle_json_without_a_key_is_reported(no_account_of_the_developer, content):
    (no_account_of_the_developer / ".kaggle/kaggle.json").write_text(content)
    with pytest.raises(DownloadError, match="has no username and key"):
        kaggle_client.find_credentials()


def test_a_badly_copied_token_is_reported(monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_abc…")
    with pytest.raises(DownloadError, match="copy them again"):
        kaggle_client.find_credentials()


def test_name_and_key_reach_kaggle(run, kaggle, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "k")
    assert run().code == 0
    assert kaggle.requests[0][1]["Authorization"] == ADA_BASIC


@pytest.mark.skipif(
    not hasattr(kaggle_env, "get_access_token_from_env"), reason="kaggle 1.7 has no OAuth"
)
@pytest.mark.parametrize(("hours", "token"), [(1, "valid"), (-5, "renewed")])
def test_a_login_with_oauth_reaches_kaggle(
    run, kaggle, no_account_of_the_developer, monkeypatch, hours, token
):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    write_json(
        no_account_of_the_developer / ".kaggle/credentials.json",
        {
            "refresh_token": "r",
            "access_token": "valid",
            "access_token_expiration": str(datetime.now(timezone.utc) + timedelta(hours=hours)),
            "username": "ada",
        },
    )
    assert run().code == 0
    dataset_calls = [headers for path, headers in kaggle.requests if "Dataset" in path]
    assert {headers["Authorization"] for headers in dataset_calls} == {f"Bearer {token}"}


def test_without_credentials_one_line_names_the_page_to_get_them(run, kaggle, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    result = run()
    assert result.code == 1
    assert "https://www.kaggle.com/settings/api" in result.error
    assert result.out == "" and len(result.err.splitlines()) == 1
    assert kaggle.requests == []


# The command line.


@pytest.mark.parametrize("slug", ["faces", "a/b/c", "../x", "a/..", "a b/c", "", "https://x/y"])
def test_a_wrong_slug_is_wrong_usage(slug, capsys):
    with pytest.raises(SystemExit) as stopped:
        download_dataset.main(["--dataset", slug])
    assert stopped.value.code == 2
    assert "owner/name" in capsys.readouterr().err


def test_datasets_go_to_content_in_colab(monkeypatch):
    assert default_output() == Path("datasets")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    assert default_output() == Path("/content/datasets")


def test_a_file_supplies_defaults(run, output, pack, tmp_path):
    (tmp_path / "mine.toml").write_text("verify-only = true\n")
    assert run("--config", str(tmp_path / "mine.toml")).code == 0
