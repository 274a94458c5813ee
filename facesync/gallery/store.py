"""The people who are known: `face_embeddings.pkl`, saved whole, locked, and forgetting when told.

The file is a pickle of plain containers and arrays (see `facesync.pickles`), format 1:

    {"format": 1, "created": time, "changed": time,
     "people": {name: {"embedding": float32 (512,) of unit length, "model": fingerprint or None,
                       "registered": time or None, "samples": number of pictures averaged,
                       "changed": time or None, "sample_embeddings": float32 (n, 512),
                       "sample_qualities": float32 (n,)}}}

Times are ISO 8601 with their zone. The older form `{name: array(512)}` opens too and is upgraded
by the next save. A file that cannot be read is an error and is never overwritten.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from facesync.errors import FileError, StoreError
from facesync.files import folder_name, replacing, same_name_key
from facesync.gallery import samples
from facesync.pickles import dump_plain, load_plain

FORMAT = 1
EMBEDDING_SIZE = 512
LOCK_SECONDS = 5.0
"""How long a save waits for another process that is saving."""

# Characters that cannot be seen or that turn the text around them: they could disguise a name.
# Joiners stay; emoji and several scripts are written with them.
_UNSEEN = frozenset("\u00ad\u200b\u2060\ufeff") | {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


@dataclass(frozen=True)
class Person:
    """Somebody who is registered.

    Attributes:
        name: as given, cleaned by `clean_name`.
        embedding: float32 (512,), of unit length: the template.
        fingerprint: of the model and crop that made the template; None in the older form.
        registered: when, with the zone; None in the older form.
        samples: number of pictures the template is the average of; 0 in the older form.
        changed: when samples were added last, with the zone; None where none were.
        sample_embeddings: float32 (n, 512), each row of unit length; n is 0 where none are kept.
        sample_qualities: float32 (n,), 0…1.
    """

    name: str
    embedding: np.ndarray
    fingerprint: str | None
    registered: datetime | None
    samples: int
    changed: datetime | None = None
    sample_embeddings: np.ndarray = field(
        default_factory=lambda: np.empty((0, EMBEDDING_SIZE), dtype=np.float32)
    )
    sample_qualities: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.float32))


def clean_name(text: str) -> str:
    """Make a name one printable line: white space becomes single blanks, control characters go.

    Whatever is left is a good name, in any script and of any length. What reaches the terminal
    can therefore not move its cursor or disguise another name.
    """
    text = unicodedata.normalize("NFC", text)
    kept = (c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cs"))
    return "".join(c for c in kept if c not in _UNSEEN).strip()


def now() -> datetime:
    """Return the time with its zone, to the second."""
    return datetime.now().astimezone().replace(microsecond=0)


class Gallery:
    """The store of templates and the folder of sample pictures, which change together.

    Args:
        path: the store; need not exist yet. The version before the last save is `<path>.bak`.
        faces: folder of the sample pictures, `<faces>/<name>/sample_N.jpg`.
    """

    def __init__(self, path: Path, faces: Path) -> None:
        self.path = Path(path)
        self.faces = Path(faces)

    @property
    def backup(self) -> Path:
        """The version of the store before its last save."""
        return self.path.with_name(self.path.name + ".bak")

    def people(self) -> list[Person]:
        """Read everybody, sorted by name; nobody where there is no store yet.

        Raises:
            StoreError: the store cannot be read.
        """
        _, people = self._read()
        return sorted(people, key=lambda person: same_name_key(person.name))

    def find(self, name: str) -> Person | None:
        """Return who is registered under a name; case and Unicode form do not matter."""
        key = _key(name)
        return next((person for person in self.people() if _key(person.name) == key), None)

    def pictures(self, name: str) -> list[np.ndarray]:
        """Read a person's sample pictures, uint8 RGB; those unreadable are left out."""
        person = self.find(name)
        return [] if person is None else samples.read(self._folder(person))

    def register(
        self, person: Person, samples_rgb: Sequence[np.ndarray], *, replace: bool = False
    ) -> None:
        """Store a person and their sample pictures (each uint8 RGB, any size).

        Raises:
            StoreError: the name is taken and `replace` is not set, or the store cannot be read,
                locked or written; what was stored before then stays as it was.
        """
        if not clean_name(person.name):
            raise StoreError("a name needs at least one letter, digit or sign")
        if not _is_template(person.embedding):
            raise StoreError(
                f"the model made no face embedding of {person.name}; nothing is stored"
            )
        with self._locked():
            created, people = self._read()
            same = [other for other in people if _key(other.name) == _key(person.name)]
            others = [other for other in people if _key(other.name) != _key(person.name)]
            if same and not replace:
                raise StoreError(f"{same[0].name} is already registered")
            folder = self._folder(person)
            samples.stage(folder, samples_rgb)
            try:
                if self.path.exists():
                    with replacing(self.backup, private=True) as file:
                        file.write(self.path.read_bytes())
                self._write(self.path, [*others, person], created)
            except BaseException:
                samples.discard(folder)
                raise
            samples.commit(folder)
            for old in map(self._folder, same):  # the name may be spelled otherwise than before
                if old.exists() and not old.samefile(folder):
                    samples.remove(old)

    def delete(self, name: str) -> str | None:
        """Forget a person: template, sample pictures and the backup's copy.

        Whoever is still listed after an error has still something stored; asking again goes on.

        Returns:
            The name as it was stored, or None where nobody had it and no pictures were left.

        Raises:
            StoreError: the store cannot be read, locked or written.
        """
        with self._locked():
            created, people = self._read()
            gone = [person for person in people if _key(person.name) == _key(name)]
            others = [person for person in people if _key(person.name) != _key(name)]
            folders = {self._folder(person) for person in gone} | {
                self.faces / folder_name(clean_name(name))
            }
            if gone:
                self._write(self.backup, others, created)
            removed = sum(samples.remove(folder) for folder in folders)
            if gone:
                self._write(self.path, others, created)
        if gone:
            return gone[0].name
        return clean_name(name) if removed else None

    def _folder(self, person: Person) -> Path:
        return self.faces / folder_name(person.name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the store."""
        import filelock

        lock = filelock.FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS, mode=0o600)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout as error:
            raise StoreError(
                f"another program is changing {self.path}; try again when it is done"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot write to {self.path.parent}: {error.strerror}") from error
        try:
            yield
        except FileError as error:
            raise StoreError(f"{error}; {self.path} is as it was") from error
        finally:
            lock.release()

    def _read(self) -> tuple[datetime, list[Person]]:
        """Read the time of creation and everybody."""
        if not self.path.exists():
            return now(), []
        try:
            data = load_plain(self.path)
        except FileError as error:
            hint = f"; the version before the last save is {self.backup}"
            raise StoreError(f"{error}{hint if self.backup.exists() else ''}") from error
        return _decode(data, self.path)

    def _write(self, path: Path, people: Sequence[Person], created: datetime) -> None:
        data = {
            "format": FORMAT,
            "created": created.isoformat(),
            "changed": now().isoformat(),
            "people": {
                person.name: {
                    "embedding": person.embedding.astype(np.float32),
                    "model": person.fingerprint,
                    "registered": person.registered and person.registered.isoformat(),
                    "samples": person.samples,
                    "changed": person.changed and person.changed.isoformat(),
                    "sample_embeddings": person.sample_embeddings.astype(np.float32),
                    "sample_qualities": person.sample_qualities.astype(np.float32),
                }
                for person in people
            },
        }
        with replacing(path, private=True) as file:
            dump_plain(data, file)


def _key(name: str) -> str:
    return same_name_key(clean_name(name))


def _decode(data: Any, path: Path) -> tuple[datetime, list[Person]]:
    """Check what a store holds and read it; StoreError for anything that does not belong there."""
    if not isinstance(data, dict):
        raise StoreError(f"{path} is not a store of faces")
    if not isinstance(data.get("format"), int):
        return now(), [_decode_older(name, value, path) for name, value in data.items()]
    if data["format"] != FORMAT:
        raise StoreError(
            f"{path} has format {data['format']}; this version reads {FORMAT}: update FaceSync"
        )
    people = data.get("people")
    if not isinstance(people, dict):
        raise StoreError(f"{path} is damaged: it holds no people")
    created = _decode_time(data.get("created"), path)
    return created, [_decode_person(name, entry, path) for name, entry in people.items()]


def _decode_person(name: Any, entry: Any, path: Path) -> Person:
    name = _decode_name(name, path)
    if not isinstance(entry, dict):
        raise StoreError(f"{path} is damaged: the entry of {name} is not readable")
    embedding = entry.get("embedding")
    if not _is_template(embedding):
        raise StoreError(f"{path} is damaged: the template of {name} is no face embedding")
    model, registered = entry.get("model"), entry.get("registered")
    count = entry.get("samples")
    if not (model is None or isinstance(model, str)) or type(count) is not int or count < 0:
        raise StoreError(f"{path} is damaged: the entry of {name} is not readable")
    rows = entry.get("sample_embeddings", np.empty((0, EMBEDDING_SIZE), dtype=np.float32))
    qualities = entry.get("sample_qualities", np.empty(0, dtype=np.float32))
    if not _are_samples(rows, qualities):
        raise StoreError(f"{path} is damaged: the samples of {name} are no face embeddings")
    changed = entry.get("changed")
    return Person(
        name=name,
        embedding=embedding.astype(np.float32),
        fingerprint=model,
        registered=None if registered is None else _decode_time(registered, path),
        samples=count,
        changed=None if changed is None else _decode_time(changed, path),
        sample_embeddings=rows.astype(np.float32),
        sample_qualities=qualities.astype(np.float32),
    )


def _decode_older(name: Any, value: Any, path: Path) -> Person:
    """Read an entry of the older form: an array of 512 numbers, also as one row, any length."""
    name = _decode_name(name, path)
    if not isinstance(value, np.ndarray) or value.shape not in ((512,), (1, 512)):
        raise StoreError(f"{path} is not a store of faces: {name} has no {EMBEDDING_SIZE} numbers")
    if value.dtype.kind != "f" or not np.isfinite(value).all() or not value.any():
        raise StoreError(f"{path} is damaged: the template of {name} is no face embedding")
    vector = value.reshape(-1).astype(np.float64)
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    return Person(name, unit, fingerprint=None, registered=None, samples=0)


def _decode_name(name: Any, path: Path) -> str:
    if not isinstance(name, str):
        raise StoreError(f"{path} is damaged: a name in it is not text")
    return clean_name(name) or "(no name)"


def _decode_time(text: Any, path: Path) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged: a time in it is not readable") from error
    if time.tzinfo is None:
        raise StoreError(f"{path} is damaged: a time in it has no zone")
    return time


def _is_template(value: Any) -> TypeGuard[np.ndarray]:
    if not isinstance(value, np.ndarray) or value.shape != (EMBEDDING_SIZE,):
        return False
    if value.dtype.kind != "f" or not (np.abs(value) <= 1.001).all():  # NaN is not <= either
        return False
    return abs(float(np.linalg.norm(value.astype(np.float64))) - 1) < 1e-3


def _are_samples(rows: Any, qualities: Any) -> bool:
    """Whether these are templates, a row each, and a quality for each of them."""
    if not isinstance(rows, np.ndarray) or not isinstance(qualities, np.ndarray):
        return False
    if rows.ndim != 2 or rows.shape[1] != EMBEDDING_SIZE or qualities.shape != (len(rows),):
        return False
    sound = qualities.dtype.kind == "f" and bool(((qualities >= 0) & (qualities <= 1)).all())
    return sound and all(_is_template(row) for row in rows)
