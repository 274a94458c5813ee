"""The people who are known: `face_embeddings.pkl`, saved whole, locked, and forgetting when told.

What the file holds is in `facesync.gallery.people`, how it is sealed in `facesync.gallery.sealing`.
A file that cannot be read is an error and is never overwritten.

When is it sealed? By every save, the version before (`.bak`) and the images too, unless the
gallery was told not to. Reading changes nothing. What is sealed stays sealed, also by a save that
was told not to: `reseal` opens it for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from facesync import files
from facesync.errors import FileError, StoreError
from facesync.files import (
    folder_name,
    replacing,
    same_name_key,
    temporary_beside,
)
from facesync.gallery import attempts, leftovers, samples, sealing
from facesync.gallery.keys import Key, KeyChain
from facesync.gallery.people import (
    Person,
    are_samples,
    clean_name,
    decode,
    encode,
    is_template,
    name_key,
    now,
    with_samples,
)
from facesync.pickles import dumps_plain, loads_plain

__all__ = ["Gallery", "Person", "clean_name", "now"]


@dataclass(frozen=True)
class Content:
    """What a file of the store holds.

    Attributes:
        people: everybody, as stored.
        created: when the store was.
        plain: the pickle that it is, or that is sealed in it; None where there is no file.
        key: what it is sealed with; None where it is not.
    """

    people: list[Person]
    created: datetime
    plain: bytes | None = None
    key: Key | None = None


class Gallery:
    """The store of templates and the folder of sample images, which change together.

    Args:
        path: the store; need not exist yet. The version before the last save is `<path>.bak`.
        faces: folder of the sample images, `<faces>/<name>/sample_N.jpg`, `.jpg.enc` if sealed.
        encrypt: seal by the next save what is not sealed.
        keys: finds the keys.
    """

    def __init__(
        self, path: Path, faces: Path, *, encrypt: bool = True, keys: KeyChain | None = None
    ) -> None:
        self.path = Path(path)
        self.faces = Path(faces)
        self.keys = keys or KeyChain()
        self._encrypt = encrypt

    @property
    def backup(self) -> Path:
        """The version of the store before its last save."""
        return self.path.with_name(self.path.name + ".bak")

    def people(self) -> list[Person]:
        """Read everybody, sorted by name; nobody where there is no store yet.

        Raises:
            StoreError: the store cannot be read.
        """
        return sorted(self.content().people, key=lambda person: same_name_key(person.name))

    def find(self, name: str) -> Person | None:
        """Return who is registered under a name; case and Unicode form do not matter."""
        same, _ = _split(self.people(), name)
        return same[0] if same else None

    def images(self, name: str) -> list[np.ndarray]:
        """Read a person's sample images, uint8 RGB; those that are no images are left out.

        Raises:
            StoreError: the store or an image cannot be opened.
        """
        person = self.find(name)
        return [] if person is None else samples.read(self.folder(person.name), self.keys)

    def folder(self, name: str) -> Path:
        """Folder of a person's sample images."""
        return self.faces / folder_name(name)

    def register(
        self, person: Person, samples_rgb: Sequence[np.ndarray], *, replace: bool = False
    ) -> None:
        """Store a person and their sample images (each uint8 RGB, any size).

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
        with self.locked():
            content = self.content()
            same, others = _split(content.people, person.name)
            if same and not replace:
                raise StoreError(f"{same[0].name} is already registered")
            self._save(content, [*others, person], person.name, samples_rgb)
            folder = self.folder(person.name)
            for old in (self.folder(other.name) for other in same):
                # The name may be spelled otherwise than before.
                if old.exists() and not old.samefile(folder):
                    samples.remove(old)

    def add(
        self,
        name: str,
        sample_embeddings: np.ndarray,
        sample_qualities: np.ndarray,
        samples_rgb: Sequence[np.ndarray],
    ) -> Person:
        """Add samples to a person; the template becomes the mean of all.

        Args:
            name: who is registered already.
            sample_embeddings: float32 (n, 512), n at least 1, each row of unit length, of the
                model that made the template.
            sample_qualities: float32 (n,), 0…1.
            samples_rgb: the images, each uint8 RGB; those stored already stay as they are.

        Returns:
            The person as stored.

        Raises:
            StoreError: nobody has this name, the samples are no embeddings, or the store cannot
                be read, locked or written; what was stored before then stays as it was.
        """
        if not len(sample_embeddings) or not are_samples(sample_embeddings, sample_qualities):
            raise StoreError(f"the model made no face embedding of {name}; nothing is stored")
        with self.locked():
            content = self.content()
            same, others = _split(content.people, name)
            if not same:
                raise StoreError(f"nobody is registered as {clean_name(name)}")
            person = with_samples(same[0], sample_embeddings, sample_qualities)
            self._save(content, [*others, person], person.name, samples_rgb, add=True)
        return person

    def delete(self, name: str) -> str | None:
        """Forget a person: template, samples, images, attempts and the backup's copy.

        Then everything that the app manages here is searched for what was known of them. Whoever
        is still listed after an error has still something stored; asking again goes on.

        Returns:
            The name as it was stored, or None where nobody had it and no images were left.

        Raises:
            StoreError: the store cannot be read, locked or written, or something is left.
        """
        with self.locked():
            content, before = self.content(), self._content_of_backup()
            same, others = _split(content.people, name)
            in_backup, still = _split(before.people if before else [], name)
            gone = [*same, *in_backup]
            unknown = before is None and self.backup.exists() and self.path.exists()
            if same:
                content = replace(content, key=self.key_for_saving(content))
            if same or unknown:  # a version before that cannot be read may hold anybody
                self._write(self.backup, encode(others, content.created), content.key)
            elif in_backup and before:
                self._write(self.backup, encode(still, before.created), before.key)
            names = [clean_name(name), *(person.name for person in gone)]
            removed = sum(samples.remove(folder) for folder in {self.folder(n) for n in names})
            if same:
                self._write(self.path, encode(others, content.created), content.key)
                self._seal_plain_images(others, content.key)
            attempts.forget(self.path, names)
            self._remove_temporary()
            left = leftovers.find(self, names, gone)
        if left:
            raise StoreError(f"something of {names[-1]} is left in {', '.join(map(str, left))}")
        if gone:
            return gone[0].name
        return names[0] if removed else None

    def delete_all(self) -> list[str]:
        """Forget everybody, as `delete` does, and remove the store itself.

        Returns:
            The names that were stored.

        Raises:
            StoreError: the store cannot be read, locked or removed, or something is left.
        """
        with self.locked():
            before = self._content_of_backup()
            gone = [*self.content().people, *(before.people if before else [])]
            names = sorted({person.name for person in gone})
            for name in names:
                samples.remove(self.folder(name))
            self._remove_temporary()
            for file in leftovers.managed_files(self):
                file.unlink()
            left = leftovers.find(self, names, gone)
        if left:
            raise StoreError(f"something is left in {', '.join(map(str, left))}")
        return names

    def reseal(self, new_key: Callable[[], Key] | None) -> int:
        """Seal everything with a new key, or, without one, open it for good.

        Each file changes whole, the store last; after a crash every file opens, and asking again
        goes on.

        Returns:
            How many people there are.

        Raises:
            StoreError: there is no store, or something cannot be read, opened or written.
        """
        with self.locked():
            content = self.content()
            if content.plain is None:
                raise StoreError(f"there is no store {self.path}")
            if new_key is None and content.key is None:
                raise StoreError(f"{self.path} is not encrypted")
            before = self._read(self.backup) if self.backup.exists() else None
            key = new_key() if new_key else None
            for name in {p.name for p in [*content.people, *(before.people if before else [])]}:
                samples.reseal(self.folder(name), key, self.keys)
            if before and before.plain is not None:
                self._write_plain(self.backup, before.plain, key)
            self._write_plain(self.path, content.plain, key)
        return len(content.people)

    def content(self) -> Content:
        """Read the store, which need not exist yet.

        Raises:
            StoreError: it cannot be read.
        """
        if not self.path.exists():
            return Content([], now())
        try:
            return self._read(self.path)
        except (FileError, StoreError) as error:
            hint = f"; the version before the last save is {self.backup}"
            raise StoreError(f"{error}{hint if self.backup.exists() else ''}") from error

    def content_of(self, path: Path) -> Content:
        """Read a file of the form of the store.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            return self._read(path)
        except FileError as error:
            raise StoreError(str(error)) from error

    def put(self, content: Content, people: list[Person]) -> None:
        """Put people in the place of all that are in the store; call it with the lock held."""
        self._keep_version_before(content)
        self._write(self.path, encode(people, content.created), content.key)

    def key_for_saving(self, content: Content) -> Key | None:
        """Find what the next save seals with: the key there is, or a new one unless told not to."""
        return content.key or (self.keys.new() if self._encrypt else None)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the store."""
        locked = False
        try:
            with files.locked(self.path):
                locked = True
                yield
        except FileError as error:
            hint = f"; {self.path} is as it was" if locked else ""
            raise StoreError(f"{error}{hint}") from error

    def _save(
        self,
        content: Content,
        people: list[Person],
        name: str,
        samples_rgb: Sequence[np.ndarray],
        *,
        add: bool = False,
    ) -> None:
        """Write images, the version before and the store, in an order that loses none."""
        content = replace(content, key=self.key_for_saving(content))
        folder = self.folder(name)
        samples.stage(folder, samples_rgb, content.key, add=add)
        try:
            self.put(content, people)
        except BaseException:
            samples.discard(folder)
            raise
        samples.commit(folder, add=add)
        self._seal_plain_images(people, content.key)

    def _seal_plain_images(self, people: Sequence[Person], key: Key | None) -> None:
        if key:
            for person in people:
                samples.seal_plain(self.folder(person.name), key)

    def _keep_version_before(self, content: Content) -> None:
        if content.plain is not None:
            self._write_plain(self.backup, content.plain, content.key)

    def _content_of_backup(self) -> Content | None:
        """Read the version before; None where there is none or it cannot be read."""
        try:
            return self._read(self.backup) if self.backup.exists() else None
        except (FileError, StoreError):
            return None

    def _remove_temporary(self) -> None:
        """Remove what a killed save left beside the store."""
        for file in (self.path, self.backup, attempts.file_of(self.path)):
            temporary_beside(file).unlink(missing_ok=True)

    def _read(self, path: Path) -> Content:
        plain, key = sealing.read(path, self.keys, sealing.STORE)
        created, people = decode(loads_plain(plain, path), path)
        return Content(people, created, plain, key)

    def _write(self, path: Path, data: dict[str, object], key: Key | None) -> None:
        self._write_plain(path, dumps_plain(data), key)

    def _write_plain(self, path: Path, plain: bytes, key: Key | None) -> None:
        with replacing(path, private=True) as file:
            file.write(sealing.seal(plain, key, sealing.STORE))


def _split(people: Sequence[Person], name: str) -> tuple[list[Person], list[Person]]:
    """Part those who have a name, however spelled, from the others."""
    key = name_key(name)
    same = [person for person in people if name_key(person.name) == key]
    return same, [person for person in people if name_key(person.name) != key]
