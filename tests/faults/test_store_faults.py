"""Whatever fails in a change of the store: nobody is lost, and the next command mends the rest.

Each call on disk of each operation is the last of a process, or fails in one way, in turn; with
`FACESYNC_FAULTS=all`, in every way (minutes).
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facesync.errors import FaceSyncError, StoreError
from facesync.faces.recognizer import Seen
from facesync.gallery import attempts, keys
from facesync.gallery.backups import backup, restore
from facesync.gallery.checking import check
from facesync.gallery.on_files import FileGallery
from facesync.gallery.reembedding import renewed
from facesync.gallery.resealing import reseal
from tests.app.fakes import FakeRecognizer, embedding, face, quality
from tests.faults.injector import FAULTS, KILLS, KINDS, Disk, Killed, faulty
from tests.gallery.conftest import enrolled, images

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and renames are POSIX")

ADA, NEW, BOB, CID, ZED = (
    enrolled(name, i, 2) for i, name in enumerate("Ada Ada Bob Cid Zed".split())
)
MORE = enrolled("Ada", 9, 2)
SHADES = {"ada": 100, "new": 30, "bob": 150, "cid": 200, "zed": 220, "more": 60}
FILE = "all.facesync"


def taken(who: str, number: int = 2) -> list[np.ndarray]:
    return images(number, shade=SHADES[who])


class OtherModel(FakeRecognizer):
    """Sees a face in all images but Ada's second one."""

    def __init__(self) -> None:
        super().__init__(fingerprint="model-b")

    def look(self, image_rgb: np.ndarray, *, photograph: bool = False) -> Seen | None:
        shade = round(float(image_rgb.mean()))
        return None if shade == 101 else Seen(image_rgb, [face()], embedding(shade), quality())


def add(gallery: FileGallery) -> None:
    gallery.add(MORE, taken("more", 2))


OPERATIONS: dict[str, Callable[[FileGallery], object]] = {
    "register the first": lambda g: g.register(CID, taken("cid")),
    "register": lambda g: g.register(CID, taken("cid")),
    "replace": lambda g: g.register(NEW, taken("new"), replace=True),
    "replace another spelling": lambda g: g.register(
        enrolled("ADA", 1, 2), taken("new"), replace=True
    ),
    "add": add,
    "delete": lambda g: g.delete("Ada"),
    "delete from the backup": lambda g: g.delete("Cid"),
    "delete all": lambda g: g.delete_all(),
    "back up": lambda g: backup(g, g.faces.parent / FILE),
    "restore": lambda g: restore(g, g.faces.parent / FILE),
    "encrypt": lambda g: reseal(g, g.keys.new),
    "change key": lambda g: reseal(g, g.keys.new),
    "decrypt": lambda g: reseal(g, None),
    "encrypt by registering": lambda g: g.register(CID, taken("cid")),
    "embed again": lambda g: renewed(g, OtherModel()),
    "rename": lambda g: g.rename("Ada", "Eva"),
    "merge": lambda g: g.merge("Ada", "Bob"),
    "remove samples": lambda g: g.remove_samples("Ada", MORE.sample_embeddings[:1]),
}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A folder for everything, the configuration too."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "root" / "config"))
    monkeypatch.setattr(keys, "_ask_keyring", lambda *_: None)
    monkeypatch.setattr(os, "fsync", os.fstat)  # which takes most of the time
    return tmp_path / "root"


def opened(root: Path, *, encrypt: bool = True) -> FileGallery:
    return FileGallery(root / "models" / "people.pkl", root / "faces", encrypt=encrypt)


def prepare(root: Path, what: str) -> None:
    """Bob and Ada are registered; for some operations Cid was."""
    (root / "config").mkdir(parents=True)
    if what == "register the first":
        return
    gallery = opened(root, encrypt=not what.startswith("encrypt"))
    gallery.register(BOB, taken("bob"))
    gallery.register(ADA, taken("ada"))
    for _ in range(attempts.FREE_ATTEMPTS):  # far ahead: the pause begins when it is looked at
        gallery.attempts.record("Ada", None, now=1e10)
    backup(gallery, root / FILE)
    if what == "remove samples":
        add(gallery)
    if what == "restore":
        gallery.register(NEW, taken("new"), replace=True)
    if what == "delete from the backup":
        gallery.register(CID, taken("cid"))
        restore(gallery, root / FILE)


def expected(gallery: FileGallery, name: str) -> list[int]:
    """The shades of the images that belong to a person's template."""
    person = gallery.find(name)
    assert person is not None
    rows = person.sample_embeddings
    if person.fingerprint == "model-b":
        return [100] if name == "ada" else [150, 151]
    if len(rows) == 4 and np.array_equal(rows[2:], BOB.sample_embeddings):
        return [100, 101, 150, 151]
    if len(rows) > 2:
        assert np.array_equal(rows[2:], MORE.sample_embeddings[4 - len(rows) :])
        return [100, 101, *(60, 61)[4 - len(rows) :]]
    who = "ada" if np.array_equal(rows, ADA.sample_embeddings) else name.lower()
    who = "new" if np.array_equal(rows, NEW.sample_embeddings) else who
    return [SHADES[who] + i for i in range(2)]


def examine(root: Path, what: str) -> None:
    """The next command works, and leaves everything in order."""
    gallery = opened(root)
    if what in ("back up", "delete from the backup"):
        OPERATIONS[what](gallery)
    gallery.register(ZED, taken("zed"))
    names = {person.name.casefold() for person in gallery.people()}
    if what not in ("register the first", "delete all"):
        assert "bob" in names or (what == "merge" and len(gallery.images("Ada")) == 4)
        assert names & {"ada", "eva"} or what == "delete"
        assert not {"ada", "eva"} <= names
    for name in names & {"ada", "eva"}:
        with pytest.raises(StoreError, match="5 failed attempts"):
            gallery.attempts.check(name)
    for name in names:
        shades = [round(float(image.mean())) for image in gallery.images(name)]
        assert shades == expected(gallery, name), name
    assert check(gallery)[1] == []
    # A count of attempts names nobody; the next attempt or deletion removes what a kill left of it.
    ends = (".key.tmp", ".attempts.tmp")
    left = [path for path in root.rglob(".*") if not path.name.endswith(ends)]
    assert left == []


def kinds(call: int) -> tuple[str, ...]:
    """Half of the calls are the last of a process, the others fail; all of both with `all`."""
    if os.environ.get("FACESYNC_FAULTS") == "all":
        return KINDS
    several = FAULTS if call % 2 else KILLS
    return (several[call // 2 % len(several)],)


@pytest.mark.parametrize("what", OPERATIONS)
def test_a_fault_at_every_call(root, tmp_path, what):
    prepare(root, what)
    shutil.copytree(root, tmp_path / "saved")
    hit = True
    for call in itertools.count(1):
        if not hit:
            break
        for kind in kinds(call):
            disk = Disk(kind, call)
            try:
                with faulty(disk):
                    OPERATIONS[what](opened(root))
            except Killed:
                pass
            except FaceSyncError as error:
                assert "\n" not in str(error)
                assert not any(claim in str(error) for claim in ("unchanged", "as it was"))
            hit = disk.hit
            try:
                examine(root, what)
            except BaseException as error:
                error.add_note(f"{what}: {kind} at call {call}")
                raise
            shutil.rmtree(root)
            shutil.copytree(tmp_path / "saved", root)
    assert call > 10
