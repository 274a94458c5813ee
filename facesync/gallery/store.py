"""The gallery: everyone who is registered, and their sample images.

The store (`face_embeddings.pkl`) is saved whole, under a lock, and forgets people when told to.
`facesync.gallery.people` has its format, `facesync.gallery.sealing` how it is sealed. A store that
cannot be read is an error and is never overwritten.

Every save seals the store, the version before it (`.bak`) and the images, unless the gallery was
told not to. Reading changes nothing. What is sealed stays sealed, even if a later save was told not
to seal: `facesync.gallery.resealing` decrypts it for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from facesync import files
from facesync.errors import FileError, StoreError, UsageError
from facesync.files import folder_name, same_name_key
from facesync.gallery import attempts, leftovers, samples, store_file
from facesync.gallery.keys import Key, KeyChain
from facesync.gallery.people import (
    Person,
    are_samples,
    clean_name,
    is_template,
    name_key,
    now,
    with_samples,
)
from facesync.gallery.store_file import Content, backup_of


class Gallery:
    """Everyone who is registered: a store of templates and a folder of images, changed together.

    Args:
        path: the store; it need not exist yet. `<path>.bak` is the version before the last save.
        faces: folder of the sample images: `<faces>/<name>/sample_N.jpg`, or `.jpg.enc` if sealed.
        encrypt: the next save seals what is not sealed yet.
        keys: where keys come from.

    Raises:
        UsageError: the path does not end in a file's name.
    """

    def __init__(
        self, path: Path, faces: Path, *, encrypt: bool = True, keys: KeyChain | None = None
    ) -> None:
        self.path = Path(path)
        if not self.path.name:
            raise UsageError(f"the store of registered people is a file, which {path} is not")
        self.faces = Path(faces)
        self.keys = keys or KeyChain()
        self._encrypt = encrypt

    @property
    def backup(self) -> Path:
        """The version of the store before its last save."""
        return backup_of(self.path)

    def people(self) -> list[Person]:
        """Read everyone, sorted by name; nobody if there is no store yet.

        Raises:
            StoreError: the store cannot be read.
        """
        return sorted(self.content().people, key=lambda person: same_name_key(person.name))

    def find(self, name: str) -> Person | None:
        """Return the person of a name, or None; case and Unicode form do not matter."""
        same, _ = _split(self.people(), name)
        return same[0] if same else None

    def images(self, name: str) -> list[np.ndarray]:
        """Read a person's sample images, uint8 RGB; files that are not images are skipped.

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
                locked or written; what was stored before is then unchanged.
        """
        if not clean_name(person.name):
            raise StoreError("a name needs at least one printable character")
        rows, qualities = person.sample_embeddings, person.sample_qualities
        if not (is_template(person.embedding) and are_samples(rows, qualities)):
            raise StoreError(
                f"the model gave no valid face embedding for {person.name}; nothing was stored"
            )
        with self.locked():
            content = self.content()
            same, others = _split(content.people, person.name)
            if same and not replace:
                raise StoreError(f"{same[0].name} is already registered")
            self._save(content, others, person, samples_rgb)
            folder = self.folder(person.name)
            for old in (self.folder(other.name) for other in same):
                # The name may now be spelled differently.
                if old.exists() and not old.samefile(folder):
                    samples.remove(old)

    def add(
        self,
        name: str,
        sample_embeddings: np.ndarray,
        sample_qualities: np.ndarray,
        samples_rgb: Sequence[np.ndarray],
    ) -> Person:
        """Add samples to a person, and return them; the template becomes the mean of all.

        Args:
            name: of somebody who is registered.
            sample_embeddings: float32 (n, 512), n at least 1, each row of unit length, of the
                model that made the template.
            sample_qualities: float32 (n,), 0…1.
            samples_rgb: the images, each uint8 RGB; those already stored are kept.

        Raises:
            StoreError: nobody has this name, the samples are not embeddings, or the store cannot
                be read, locked or written; what was stored before is then unchanged.
        """
        if not len(sample_embeddings) or not are_samples(sample_embeddings, sample_qualities):
            raise StoreError(
                f"the model gave no valid face embedding for {name}; nothing was stored"
            )
        with self.locked():
            content = self.content()
            same, others = _split(content.people, name)
            if not same:
                raise StoreError(f"nobody is registered as {clean_name(name)}")
            person = with_samples(same[0], sample_embeddings, sample_qualities)
            self._save(content, others, person, samples_rgb, add=True)
        return person

    def delete(self, name: str) -> str | None:
        """Forget a person: template, samples, images, attempts and the backup's copy.

        Everything that the app keeps here is then searched for what was known of them. After an
        error, whoever is still listed has something left; the same call finishes the job.

        Returns:
            The name as it was stored, or None if nobody had it and no images were left.

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
            if same or unknown:  # a backup that cannot be read may hold anybody
                store_file.write(self.backup, others, content.created, content.key)
            elif in_backup and before:
                store_file.write(self.backup, still, before.created, before.key)
            names = [clean_name(name), *(person.name for person in gone)]
            folders = {self.folder(each) for each in names}
            removed = sum(samples.remove(folder) for folder in folders)
            if same:
                store_file.write(self.path, others, content.created, content.key)
                self._seal_plain_images(others, content.key)
            attempts.forget(self.path, names)
            leftovers.remove_temporary(self.path)
            left = leftovers.find(self.path, folders, self.keys, names, gone)
        if left:
            raise StoreError(f"something of {names[-1]} is left in {', '.join(map(str, left))}")
        if gone:
            return gone[0].name
        return names[0] if removed else None

    def delete_all(self) -> list[str]:
        """Forget everybody, as `delete` does, and remove the store; return the names.

        Raises:
            StoreError: the store cannot be read, locked or removed, or something is left.
        """
        with self.locked():
            before = self._content_of_backup()
            gone = [*self.content().people, *(before.people if before else [])]
            names = sorted({person.name for person in gone})
            folders = {self.folder(name) for name in names}
            for folder in folders:
                samples.remove(folder)
            for file in leftovers.managed_files(self.path):
                file.unlink()
            left = leftovers.find(self.path, folders, self.keys, names, gone)
        if left:
            raise StoreError(f"something is left in {', '.join(map(str, left))}")
        return names

    def content(self) -> Content:
        """Read the store, which need not exist yet.

        Raises:
            StoreError: it cannot be read.
        """
        if not self.path.exists():
            return Content([], now())
        try:
            return store_file.read(self.path, self.keys)
        except StoreError as error:
            hint = f"; the version before the last save is {self.backup}"
            raise StoreError(f"{error}{hint if self.backup.exists() else ''}") from error

    def put(self, content: Content, people: Sequence[Person]) -> None:
        """Replace everyone in the store, and keep the version before; call it under the lock."""
        if content.plain is not None:
            store_file.write_plain(self.backup, content.plain, content.key)
        store_file.write(self.path, people, content.created, content.key)

    def key_for_saving(self, content: Content) -> Key | None:
        """Return the key that the next save seals with: the present one, or a new one."""
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
            hint = f"; {self.path} is unchanged" if locked else ""
            raise StoreError(f"{error}{hint}") from error

    def _save(
        self,
        content: Content,
        others: list[Person],
        person: Person,
        samples_rgb: Sequence[np.ndarray],
        *,
        add: bool = False,
    ) -> None:
        """Write images, the version before and the store, in an order that loses none of them."""
        content = replace(content, key=self.key_for_saving(content))
        folder = self.folder(person.name)
        samples.stage(folder, samples_rgb, content.key, add=add)
        try:
            self.put(content, [*others, person])
        except BaseException:
            samples.discard(folder)
            raise
        samples.commit(folder, add=add)
        self._seal_plain_images([*others, person], content.key)

    def _seal_plain_images(self, people: Sequence[Person], key: Key | None) -> None:
        if key:
            for person in people:
                samples.seal_plain(self.folder(person.name), key)

    def _content_of_backup(self) -> Content | None:
        """Read the version before; None if there is none or it cannot be read."""
        try:
            return store_file.read(self.backup, self.keys) if self.backup.exists() else None
        except StoreError:
            return None


def _split(people: Sequence[Person], name: str) -> tuple[list[Person], list[Person]]:
    """Split people into those who have a name, however spelled, and the others."""
    key = name_key(name)
    same = [person for person in people if name_key(person.name) == key]
    return same, [person for person in people if name_key(person.name) != key]
