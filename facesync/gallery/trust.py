"""Whether a store is the one that was saved last: not a plain one in its place, nor an older one.

Whoever may write into the folder of a store can put another file there. A sealed one they cannot
make; but a plain one, an older one, or another of its owner's stores would open. So the
configuration folder, which is elsewhere, has a mark for each store: whether it is sealed, with
which key, and how often it was saved. A plain store is refused if its mark, the version before, an
image or a key says that it should be sealed.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facesync.errors import FaceSyncError, StoreError
from facesync.files import locked, read_text, write_json
from facesync.gallery import keys, samples, sealing
from facesync.gallery.keys import Key
from facesync.gallery.store_file import MOST_SAVES, Content, backup_of


@dataclass(frozen=True)
class Mark:
    """What was last known of a store.

    Attributes:
        sealed: it was sealed, so a plain one is another store. If not, a plain one was accepted.
        saves: how often it was saved; a sealed one of fewer saves is an older one.
        key: id of the key that seals it; None while that changes.
    """

    sealed: bool
    saves: int
    key: str | None = None

    @staticmethod
    def of(content: Content) -> Mark:
        """Return the mark of a store that is as it should be."""
        key = content.key
        return Mark(key is not None, content.saves, str(key.header["id"]) if key else None)


def read(store: Path | str) -> Mark | None:
    """Read the mark of a store; None if it was never sealed here.

    Raises:
        StoreError: it cannot be read.
    """
    marks = [_read(file) for file in files(store) if file.exists()] if _config() else []
    if not marks:
        return None
    last = max(marks, key=lambda mark: mark.saves)
    return Mark(any(mark.sealed for mark in marks), last.saves, last.key)


def record(store: Path | str, mark: Mark) -> None:
    """Write the mark of a store; raises FileError."""
    for file in files(store):
        with locked(file):
            write_json(file, asdict(mark), private=True)


def older(store: Path, content: Content, mark: Mark | None) -> str | None:
    """Say that a store is older than the one that was saved last; None if it is not."""
    if content.key is None or mark is None or content.saves >= mark.saves:
        return None
    return (
        f"{store} is not the one that was saved last, but an older one: somebody put it back; "
        "if you did, `store adopt` accepts it"
    )


def reason_to_be_sealed(store: Path, faces: Path) -> str | None:
    """Return why a store should be sealed; None if nothing says so."""
    mark = read(store)
    if mark is not None:
        return "it was when it was last saved here" if mark.sealed else None
    for path in (store, Path(os.path.realpath(store))):
        if sealing.is_sealed(backup_of(path)):
            return f"{backup_of(path)} is"
    for folder in samples.folders(faces):
        if any(map(samples.is_sealed, samples.in_use(folder))):
            return f"the images in {folder} are"
    kept = keys.key_file("").parent if _config() else None
    return f"there are keys in {kept}" if kept and any(kept.glob("*.key")) else None


def refuse_other_key(store: Path, path: Path, key: Key) -> None:
    """Raise a StoreError if a file of a store is sealed with another key than the store was."""
    mark = read(store)
    if mark is not None and mark.key not in (None, key.header["id"]):
        raise StoreError(
            f"{path} has another key than when it was last saved here: somebody may have replaced "
            "it; if it is yours, `store adopt` accepts it"
        )


def _config() -> Path | None:
    """Return the configuration folder; None for a user without a home, who has no marks."""
    try:
        return keys.config_folder()
    except FaceSyncError:
        return None


def files(store: Path | str) -> list[Path]:
    """Where the mark of a store is: one for its path as given, and one for what it links to.

    For text, which names a gallery on a server, it is one.
    """
    if isinstance(store, str):
        return [_file(hashlib.sha256(store.encode()))]
    paths = {os.path.normcase(path) for path in (os.path.abspath(store), os.path.realpath(store))}
    return [_file(hashlib.sha256(os.fsencode(path))) for path in sorted(paths)]


def _file(digest: Any) -> Path:
    return keys.config_folder() / "stores" / f"{digest.hexdigest()[:32]}.json"


def _read(file: Path) -> Mark:
    damaged = f"{file}, which notes how the store was saved, is damaged; `store adopt` renews it"
    try:
        data = json.loads(read_text(file))
        mark = Mark(**data)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(damaged) from error
    except FaceSyncError as error:
        raise StoreError(str(error)) from error
    if type(mark.sealed) is not bool or type(mark.saves) is not int:
        raise StoreError(damaged)
    if not 0 <= mark.saves < MOST_SAVES or not isinstance(mark.key, str | None):
        raise StoreError(damaged)
    return mark
