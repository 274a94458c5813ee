"""The store opens or says why not, is saved whole or not at all, and forgets people."""

from __future__ import annotations

import errno
import os
import pickle
import stat
import subprocess
import sys
import threading
from dataclasses import replace

import filelock
import numpy as np
import pytest

from facesync import files
from facesync.errors import StoreError
from facesync.gallery import attempts
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import Person, clean_name, from_samples
from facesync.pickles import load_plain
from tests.conftest import ROOT
from tests.gallery.conftest import enrolled, images, person, unit

HARD_NAMES = [
    "../../x",
    "con",
    "n" * 300,
    "😀👩‍🚀",
    "José",
    "-rf",
    "عمر",
    "a/b\\c:d",
    ".",
    "張偉",
]


def write(gallery: FileGallery, data: object) -> bytes:
    gallery.path.parent.mkdir(parents=True, exist_ok=True)
    gallery.path.write_bytes(pickle.dumps(data))
    return gallery.path.read_bytes()


def entry(**changes: object) -> dict[str, object]:
    whole = {
        "embedding": unit(1),
        "model": "model-a",
        "registered": "2026-11-05T14:03:00+01:00",
        "samples": 5,
    }
    return {**whole, **changes}


def form(**people: object) -> dict[str, object]:
    time = "2026-11-05T14:03:00+01:00"
    return {"format": 1, "created": time, "changed": time, "people": people}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_an_existing_folder_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    FileGallery(tmp_path / "e.pkl", tmp_path / "faces").register(person("Ada"), images())
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "e.pkl").stat().st_mode) == 0o600


def test_a_person_comes_back_as_stored(either):
    gallery = either
    ada = enrolled("Ada Lovelace")
    gallery.register(ada, images())
    (back,) = FileGallery(gallery.path, gallery.faces).people()
    assert (back.name, back.fingerprint, back.registered, back.samples) == (
        ada.name,
        ada.fingerprint,
        ada.registered,
        ada.samples,
    )
    np.testing.assert_array_equal(back.embedding, ada.embedding)
    np.testing.assert_array_equal(back.sample_embeddings, ada.sample_embeddings)
    np.testing.assert_array_equal(back.sample_qualities, ada.sample_qualities)
    assert back.embedding.dtype == back.sample_embeddings.dtype == np.float32
    assert [p.shape for p in gallery.images("ada lovelace")] == [(40, 40, 3)] * 2


def sample(embedding: np.ndarray) -> Person:
    return from_samples("Ada", "model-a", embedding[None], np.ones(1, np.float32))


def test_samples_are_added(either):
    gallery = either
    ada, more = enrolled("Ada", 1, 3), enrolled("Ada", 2, 2)
    gallery.register(ada, images(3))
    kept = {p.name: p.read_bytes() for p in gallery.folder("Ada").iterdir()}
    gallery.add(replace(more, name="ADA"), images(2, shade=50))
    back = gallery.find("Ada")
    rows = np.concatenate([ada.sample_embeddings, more.sample_embeddings])
    np.testing.assert_array_equal(back.sample_embeddings, rows)
    mean = rows.mean(axis=0)
    np.testing.assert_allclose(back.embedding, mean / np.linalg.norm(mean), atol=1e-6)
    assert (back.samples, back.registered) == (5, ada.registered)
    assert back.changed is not None
    assert len(gallery.images("Ada")) == 5
    for name, content in kept.items():
        assert (gallery.folder("Ada") / name).read_bytes() == content
    with pytest.raises(StoreError, match="nobody is registered as Bob"):
        gallery.add(replace(more, name="Bob"), [])
    with pytest.raises(StoreError, match="no valid face embedding"):
        gallery.add(replace(more, sample_embeddings=rows[:2] * 2), [])
    with pytest.raises(StoreError, match="another model; use --replace"):
        gallery.add(replace(more, fingerprint="model-b"), [])


def test_format_1_is_upgraded(gallery):
    original = write(gallery, form(Ada=entry()))
    (ada,) = gallery.people()
    assert (ada.samples, ada.changed, len(ada.sample_embeddings)) == (5, None, 0)
    gallery.add(sample(unit(9)), images(1))
    total = 5 * unit(1) + unit(9)
    (ada,) = gallery.people()
    np.testing.assert_allclose(ada.embedding, total / np.linalg.norm(total), atol=1e-6)
    assert ada.samples == 6
    assert load_plain(gallery.path)["format"] == 2
    assert gallery.backup.read_bytes() == original


def test_people_are_sorted_by_name(anywhere):
    for seed, name in enumerate(["bob", "Ada", "Émile", "Zoë"]):
        anywhere.register(person(name, seed), images())
    assert [p.name for p in anywhere.people()] == ["Ada", "bob", "Zoë", "Émile"]


@pytest.mark.parametrize("name", HARD_NAMES)
def test_names_are_data(either, name, tmp_path):
    gallery = either
    gallery.register(person(name), images())
    assert gallery.find(name).name == name
    files = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {"models", "faces"}
    assert len(list(gallery.faces.glob("*/sample_*.jpg*"))) == 2
    assert gallery.delete(name) == name
    assert gallery.people() == []
    assert list(gallery.faces.rglob("*")) == []


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Ada \n Lovelace\t", "Ada Lovelace"),
        ("\x1b[31mAda\x07", "[31mAda"),
        ("evil\u202egnp", "evilgnp"),
        ("A\u200bda", "Ada"),
        ("Ada\u200e\u3164\U000e0041", "Ada"),
        ("Ada \u200b Lovelace", "Ada Lovelace"),
        ("\u3164\u200d\ufe0f", ""),
        ("\U0001f469\u200d\U0001f52c", "\U0001f469\u200d\U0001f52c"),
        ("Jose\u0301", "José"),
        ("\udcff", ""),
        (" \n ", ""),
    ],
)
def test_names_become_one_printable_line(typed, kept):
    assert clean_name(typed) == kept


def test_an_empty_name_is_refused(anywhere):
    with pytest.raises(StoreError, match="a name needs"):
        anywhere.register(person("\x00"), images())


def test_spellings_of_one_name_are_one_person(anywhere):
    anywhere.register(person("José"), images())
    invisible = ("\u200d", "\u200e", "\u3164", "\ufe0f", "\u034f", "\U000e0041", "\x00", "\u2800")
    for spelling in ("jose\u0301", "JOSÉ", *(f"Jo{one}sé" for one in invisible)):
        with pytest.raises(StoreError, match="José is already registered"):
            anywhere.register(person(spelling), images())
        assert anywhere.find(spelling).name == "José"


def test_replacing_takes_the_new_spelling_and_leaves_one_folder(gallery):
    gallery.register(person("ada", 1, samples=4), images(4))
    gallery.register(person("Ada", 2), images(2), replace=True)
    (back,) = gallery.people()
    assert back.name == "Ada"
    np.testing.assert_array_equal(back.embedding, unit(2))
    assert sorted(p.name for p in gallery.faces.rglob("*.jpg")) == ["sample_1.jpg", "sample_2.jpg"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_files_are_for_their_owner_alone(either):
    gallery = either
    gallery.register(person("Ada", 1), images())
    gallery.register(person("Bob", 2), images())
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in gallery.faces.parent.rglob("*")}
    private = [p for p in modes if p.is_file()]
    assert len(private) >= 6
    assert {oct(modes[p]) for p in private} == {"0o600"}
    folders = (gallery.path.parent, gallery.faces, *gallery.faces.iterdir())
    assert {oct(modes[p]) for p in folders} == {"0o700"}


def test_deleting_an_unknown_name(anywhere):
    anywhere.register(person("Ada"), images())
    assert anywhere.delete("Bob") is None
    assert [p.name for p in anywhere.people()] == ["Ada"]


def test_deleting_keeps_other_files_and_follows_no_link(gallery, tmp_path):
    gallery.register(person("Ada", 1), images())
    (gallery.faces / "Ada" / "diary.txt").write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "sample_1.jpg").write_bytes(b"precious")
    gallery.register(person("Bob", 2), images())
    for image in (gallery.faces / "Bob").iterdir():
        image.unlink()
    (gallery.faces / "Bob").rmdir()
    (gallery.faces / "Bob").symlink_to(outside, target_is_directory=True)

    assert gallery.delete("Ada") == "Ada"
    assert [p.name for p in (gallery.faces / "Ada").iterdir()] == ["diary.txt"]
    with pytest.raises(StoreError, match="is a link"):
        gallery.register(person("Bob", 2), images(), replace=True)
    with pytest.raises(StoreError, match=r"something of Bob is left in .*outside.sample_1\.jpg"):
        gallery.delete("Bob")
    assert not (gallery.faces / "Bob").exists() and gallery.find("Bob") is None
    assert (outside / "sample_1.jpg").read_bytes() == b"precious"


def test_images_without_a_template_can_be_deleted(gallery):
    """As left by a process that is killed between the images and the store."""
    gallery.register(person("Ada"), images())
    gallery.path.unlink()
    assert gallery.delete("Ada") == "Ada"
    assert not (gallery.faces / "Ada").exists()


@pytest.mark.parametrize("length", [1e300, 1e-200])
def test_a_template_of_the_older_form_may_have_any_length(gallery, length):
    write(gallery, {"Ada": unit(1).astype(np.float64) * length})
    np.testing.assert_allclose(gallery.find("Ada").embedding, unit(1), atol=1e-6)


def test_the_older_form_opens_and_is_upgraded(gallery):
    original = write(gallery, {"Ada": unit(1) * 3, "Bob": unit(2)[None].astype(np.float64)})
    ada, bob = gallery.people()
    np.testing.assert_allclose(ada.embedding, unit(1), atol=1e-6)
    assert (ada.name, ada.fingerprint, ada.registered, ada.samples) == ("Ada", None, None, 0)
    assert bob.embedding.shape == (512,)
    gallery.register(person("Cid", 3), images())
    assert load_plain(gallery.path)["format"] == 2
    assert [p.name for p in gallery.people()] == ["Ada", "Bob", "Cid"]
    assert gallery.people()[0].fingerprint is None
    assert gallery.backup.read_bytes() == original


Q = np.ones(1, np.float32)
BAD = {
    "a list": [1, 2],
    "text": "people",
    "another format": {"format": 7, "people": {}},
    "no people": {"format": 1, "created": "2026-11-05T14:03:00+01:00"},
    "people as list": form() | {"people": []},
    "bad creation time": form() | {"created": "yesterday"},
    "time without zone": form(Ada=entry(registered="2026-11-05T14:03:00")),
    "time as number": form(Ada=entry(registered=12)),
    "name as number": form() | {"people": {1: entry()}},
    "entry as array": form(Ada=unit(1)),
    "no template": form(Ada=entry(embedding=None)),
    "short template": form(Ada=entry(embedding=unit(1)[:128])),
    "template with NaN": form(Ada=entry(embedding=unit(1) * np.float32("nan"))),
    "huge template": form(Ada=entry(embedding=np.full(512, 1e300))),
    "template not unit": form(Ada=entry(embedding=unit(1) * 2)),
    "zero template": form(Ada=entry(embedding=unit(1) * 0)),
    "whole numbers": form(Ada=entry(embedding=np.ones(512, dtype=int))),
    "objects": form(Ada=entry(embedding=np.array([None] * 512))),
    "complex": form(Ada=entry(embedding=unit(1) + 0j)),
    "samples as text": form(Ada=entry(samples="5")),
    "samples below 0": form(Ada=entry(samples=-1)),
    "samples as bool": form(Ada=entry(samples=True)),
    "model as number": form(Ada=entry(model=3)),
    "samples not unit": form(Ada=entry(sample_embeddings=np.ones((1, 512)), sample_qualities=Q)),
    "samples without quality": form(Ada=entry(sample_embeddings=unit(1)[None])),
    "quality above 1": form(Ada=entry(sample_embeddings=unit(1)[None], sample_qualities=2 * Q)),
    "one quality too many": form(
        Ada=entry(sample_embeddings=np.empty((0, 512), np.float32), sample_qualities=Q)
    ),
    "older, short": {"Ada": unit(1)[:3]},
    "older, NaN": {"Ada": unit(1) * np.float32("nan")},
    "older, zero": {"Ada": unit(1) * 0},
    "older, infinite": {"Ada": unit(1) * np.float32("inf")},
    "older, whole numbers": {"Ada": np.ones(512, np.int64)},
    "older, text": {"Ada": "x"},
    "older, name as number": {1: unit(1)},
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_invalid_content_is_one_line_and_is_kept(gallery, data):
    original = write(gallery, data)
    for use in (
        gallery.people,
        lambda: gallery.register(person("Bob"), images()),
        lambda: gallery.delete("Ada"),
    ):
        with pytest.raises(StoreError) as caught:
            use()
        assert "\n" not in str(caught.value)
        assert str(gallery.path) in str(caught.value)
    assert gallery.path.read_bytes() == original
    assert not gallery.backup.exists()
    assert not list(gallery.faces.rglob("*.jpg"))


@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_a_damaged_file_is_never_overwritten(gallery, damage):
    gallery.register(person("Ada", 1), images())
    gallery.register(person("Bob", 2), images())
    whole = gallery.path.read_bytes()
    damaged = {"empty": b"", "half": whole[: len(whole) // 2], "text": b"hello\n"}[damage]
    gallery.path.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"the version before the last save is .*\.bak"):
        gallery.register(person("Cid", 3), images())
    assert gallery.path.read_bytes() == damaged


def test_an_invalid_template_is_not_stored(gallery):
    broken = person("Ada")
    broken.embedding[:] = np.nan
    with pytest.raises(StoreError, match="no valid face embedding for Ada"):
        gallery.register(broken, images())
    assert not gallery.path.exists()


def everything(gallery: FileGallery) -> dict[str, bytes]:
    root = gallery.faces.parent
    files = (p for p in root.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


@pytest.mark.parametrize("call", range(4))
def test_a_full_disk_loses_nothing(gallery, monkeypatch, call):
    """Each of the four files that a save writes fails in turn: two images, backup, store."""
    gallery.register(person("Ada", 1), images())
    before = everything(gallery)
    real, calls = os.fsync, iter(range(1000))

    def full(handle: int) -> None:
        # Files are flushed, then the folder they are in.
        if stat.S_ISREG(os.fstat(handle).st_mode) and next(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        gallery.register(person("Ada", 2), images(shade=30), replace=True)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(os, "fsync", real)
    after = everything(gallery)
    after.pop("models/face_embeddings.pkl.bak", None)
    assert after == before
    gallery.register(person("Ada", 2), images(), replace=True)


def test_a_file_in_place_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        FileGallery(tmp_path / "file" / "e.pkl", tmp_path / "faces").register(
            person("Ada"), images()
        )
    gallery = FileGallery(tmp_path / "e.pkl", tmp_path / "file")
    with pytest.raises(StoreError, match="cannot write"):
        gallery.register(person("Ada"), images())
    assert gallery.people() == []


def test_a_read_only_folder_is_one_line(gallery, monkeypatch):
    def denied(*args: object, **kwargs: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    gallery.path.parent.mkdir()
    monkeypatch.setattr(filelock.FileLock, "acquire", denied)
    with pytest.raises(StoreError, match="Permission denied"):
        gallery.register(person("Ada"), images())


def test_a_locked_store_is_waited_for_and_then_one_line(gallery, monkeypatch):
    gallery.register(person("Ada", 1), images())
    ready = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n print('ready', flush=True)\n sys.stdin.read()"  # noqa: E501
    holder = subprocess.Popen(
        [sys.executable, "-c", ready, f"{gallery.path}.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline().strip() == b"ready"
        monkeypatch.setattr(files, "LOCK_SECONDS", 0.2)
        with pytest.raises(StoreError, match="another program is changing"):
            gallery.register(person("Bob", 2), images())
        assert [p.name for p in gallery.people()] == ["Ada"]  # reading needs no lock
        monkeypatch.setattr(files, "LOCK_SECONDS", 60)
        release = threading.Timer(0.3, holder.stdin.close)
        release.start()
        gallery.register(person("Bob", 2), images())
        release.join()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert [p.name for p in gallery.people()] == ["Ada", "Bob"]


WRITER = """
import sys
from pathlib import Path
from tests.gallery.conftest import enrolled, person, images
from facesync.gallery.on_files import FileGallery
root, mark, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
gallery = FileGallery(root / "models" / "face_embeddings.pkl", root / "faces")
print("ready", flush=True)
for number in range(count):
    gallery.register(person(f"{mark}{number}", number), images(1))
"""


def writer(root, mark: str, count: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), mark, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )


def test_two_processes_at_once_lose_nobody(gallery, tmp_path):
    writers = [writer(tmp_path, mark, 50) for mark in "ab"]
    for process in writers:
        with process:
            process.stdout.read()
        assert process.returncode == 0
    assert len(gallery.people()) == 100
    assert sum(1 for _ in gallery.faces.glob("*/sample_1.jpg.enc")) == 100


@pytest.mark.skipif(os.name != "posix", reason="there are no such files on Windows")
def test_a_pipe_in_the_place_of_a_file_is_an_error_not_a_wait(gallery):
    gallery.path.parent.mkdir(parents=True)
    os.mkfifo(gallery.path)
    with pytest.raises(StoreError, match="a pipe or a device"):
        gallery.people()
    counts = attempts.file_of(gallery.path)
    os.mkfifo(counts)
    with pytest.raises(StoreError, match="a pipe or a device"):
        gallery.attempts.check("Ada")


def test_samples_without_a_mean_are_not_added(anywhere):
    ada = person("Ada", 1)
    anywhere.register(replace(ada, samples=1, sample_embeddings=ada.embedding[None],
                             sample_qualities=np.ones(1, np.float32)), [])  # fmt: skip
    with pytest.raises(StoreError, match="nothing in common"):
        anywhere.add(sample(-ada.embedding), [])
    assert anywhere.find("Ada").samples == 1
