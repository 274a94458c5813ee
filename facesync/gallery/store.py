"""The people who are known: `face_embeddings.pkl`, saved whole, locked, and forgetting when told.

What the file holds is in `facesync.gallery.people`. A file that cannot be read is an error and is
never overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np

from facesync.errors import FileError, StoreError
from facesync.files import folder_name, replacing, same_name_key
from facesync.gallery import samples
from facesync.gallery.people import (
    Person,
    are_samples,
    clean_name,
    decode,
    encode,
    is_template,
    name_key,
    now,
)
from facesync.pickles import dump_plain, load_plain

__all__ = ["Gallery", "Person", "clean_name", "now"]

LOCK_SECONDS = 5.0
"""How long a save waits for another process that is saving."""


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
        key = name_key(name)
        return next((person for person in self.people() if name_key(person.name) == key), None)

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
        rows, qualities = person.sample_embeddings, person.sample_qualities
        if not (is_template(person.embedding) and are_samples(rows, qualities)):
            raise StoreError(
                f"the model made no face embedding of {person.name}; nothing is stored"
            )
        with self._locked():
            created, people = self._read()
            same = [other for other in people if name_key(other.name) == name_key(person.name)]
            others = [other for other in people if name_key(other.name) != name_key(person.name)]
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
            gone = [person for person in people if name_key(person.name) == name_key(name)]
            others = [person for person in people if name_key(person.name) != name_key(name)]
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
        return decode(data, self.path)

    def _write(self, path: Path, people: Sequence[Person], created: datetime) -> None:
        data = encode(people, created)
        with replacing(path, private=True) as file:
            dump_plain(data, file)
