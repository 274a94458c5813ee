"""What is left of a person after a deletion.

Every file that the app keeps beside a store is searched, and opened first if it is sealed: the
store, the version before it, what a killed save may have left, the count of wrong attempts, and the
person's folder of images. What is known of the cameras names nobody. Copies made elsewhere (`store
backup`, `export`), a log of attempts, and what a disk keeps of removed files are out of its reach.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from facesync.errors import StoreError
from facesync.files import locked, temporary_beside
from facesync.gallery import attempts, samples, sealing, store_file
from facesync.gallery.keys import KeyChain
from facesync.gallery.people import Person, now
from facesync.gallery.store_file import backup_of
from facesync.liveness import camera


def find(
    store: Path,
    folders: Iterable[Path],
    keys: KeyChain,
    names: Iterable[str],
    people: Sequence[Person],
    kept: Sequence[Person],
) -> list[Path]:
    """List the files that still hold something of some people.

    `folders` are where their sample images would be, `names` theirs as typed and as stored, and
    `people` what was stored of them, in the store and in the version before. What a file has
    anyway is not theirs: its own words, such as `people`, and what those who are `kept` have, who
    may be registered from the same image.
    """
    wanted = [
        vector.tobytes()
        for person in people
        for vector in (person.embedding, *person.sample_embeddings)
    ]
    wanted += [token for name in set(names) for token in _tokens(name)]
    anyway = [attempts.nothing_counted()]
    anyway += [store_file.encoded(each, now(), 0) for each in ([], *([one] for one in kept))]
    wanted = [part for part in wanted if not any(part in content for content in anyway)]
    left = []
    for path in searched(store):
        content = _content(path, keys)
        if content is None or any(part in content for part in wanted):
            left.append(path)
    for folder in sorted(folders):
        left += [*samples.in_use(folder), *samples.leftovers(folder)]
    return left


def searched(store: Path) -> list[Path]:
    """List the files that `find` opens; what is known of cameras names them, and `0` is a name."""
    return [path for path in managed_files(store) if path != camera.file_of(store)]


def managed_files(store: Path) -> list[Path]:
    """List the files that the app keeps beside a store; only those that exist."""
    kept = _saved_files(store)
    kept += [temporary_beside(path) for path in kept]
    kept.append(attempts.damaged_file_of(store))
    return [path for path in kept if path.exists()]


def remove_temporary(store: Path) -> None:
    """Remove what was left when counting attempts, or learning about a camera, was killed."""
    for file in (attempts.file_of(store), camera.file_of(store)):
        if temporary_beside(file).exists():
            with locked(file):  # or another process may be writing it
                temporary_beside(file).unlink(missing_ok=True)


def _saved_files(store: Path) -> list[Path]:
    return [store, backup_of(store), attempts.file_of(store), camera.file_of(store)]


def _tokens(name: str) -> set[bytes]:
    """Encode a name as a pickle or JSON would, in every Unicode form.

    The bare name would also be found in longer ones: Ada in Adam.
    """
    tokens = set()
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        text = unicodedata.normalize(form, name).encode("utf-8", "surrogatepass")
        short = b"\x8c" + bytes([len(text)]) if len(text) < 256 else b""
        tokens |= {short + text, b"X" + len(text).to_bytes(4, "little") + text, b'"%b"' % text}
    return tokens


def _content(path: Path, keys: KeyChain) -> bytes | None:
    """Read what a file holds, unsealed; None if it cannot be opened."""
    if path.suffix in (".attempts", ".damaged"):
        return path.read_bytes()
    try:
        plain, _ = sealing.read(path, keys, sealing.STORE)
    except StoreError:
        return None
    return plain
