"""The gallery: everyone who is registered, and their sample images.

The store (`face_embeddings.pkl`) is saved whole, under a lock, and forgets people when told to.
`facesync.gallery.people` has its format, `facesync.gallery.sealing` how it is sealed,
`facesync.gallery.on_disk` how it is read and changed.

Every save seals the store, the version before it (`.bak`) and the images, unless the gallery was
told not to. Reading changes neither. What is sealed stays sealed, even if a later save was told not
to seal: `facesync.gallery.resealing` decrypts it for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from facesync.errors import StoreError
from facesync.files import same_name_key
from facesync.gallery import attempts, leftovers, samples, store_file
from facesync.gallery.on_disk import GalleryOnDisk
from facesync.gallery.people import (
    Person,
    are_samples,
    clean_name,
    is_template,
    name_key,
    with_samples,
)
from facesync.gallery.store_file import Content


class Gallery(GalleryOnDisk):
    """Everyone who is registered: a store of templates and a folder of images, changed together.

    Args:
        path: the store; it need not exist yet. A link is followed. `<path>.bak` is the version
            before the last save.
        faces: folder of the sample images: `<faces>/<name>/sample_N.jpg`, or `.jpg.enc` if sealed.
        encrypt: the next save seals what is not sealed yet, and a plain store is refused where it
            should be sealed.
        keys: where keys come from.

    Raises:
        UsageError: the path does not end in a file's name.
    """

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

    def register(
        self, person: Person, samples_rgb: Sequence[np.ndarray], *, replace: bool = False
    ) -> None:
        """Store a person and their sample images (each uint8 RGB, any size).

        Raises:
            StoreError: the name is taken and `replace` is not set, or the store cannot be read,
                locked or written; the next change finishes or undoes what was begun.
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
            folder = self.folder(person.name)
            images = {folder: samples.encoded(folder, samples_rgb)}
            for old in (self.folder(other.name) for other in same):
                # The name may now be spelled differently.
                if old.exists() and not (folder.exists() and old.samefile(folder)):
                    images[old] = {}
            self.change(self.to_seal(content), [*others, person], images)

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
                be read, locked or written; the next change finishes or undoes what was begun.
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
            folder = self.folder(person.name)
            images = {folder: samples.encoded(folder, samples_rgb, add=True)}
            self.change(self.to_seal(content), [*others, person], images, add=True)
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
            names = [clean_name(name), *(person.name for person in gone)]
            folders = self._folders_of(names)
            unreadable = before is None and self.backup.exists()  # it may hold anybody
            left = []
            if gone or folders or unreadable:
                content = self.to_seal(content) if content.plain is not None else content
                kept = still if before and not same else others
                left = self._forget(content, others, before, kept, folders)
            attempts.forget(self.path, names)
            leftovers.remove_temporary(self.path)
            kept = [*others, *still]
            left += leftovers.find(self.path, folders, self.keys, names, gone, kept)
        if left:
            raise StoreError(f"something of {names[-1]} is left in {', '.join(map(str, left))}")
        if gone:
            return gone[0].name
        return names[0] if folders else None

    def delete_all(self) -> list[str]:
        """Forget everybody, also those of whom only images are left, and remove the store.

        Returns:
            The names in the store and the version before.

        Raises:
            StoreError: the store cannot be read, locked or removed, or something is left.
        """
        with self.locked():
            content, before = self.content(), self._content_of_backup()
            gone = [*content.people, *(before.people if before else [])]
            names = sorted({person.name for person in gone})
            folders = {*samples.folders(self.faces), *self._folders_of(names)}
            left = self._forget(content, [], before, [], folders)
            # The store last: without it, what an interruption leaves would have no owner.
            for file in reversed(leftovers.managed_files(self.path)):
                file.unlink()
            left += leftovers.find(self.path, folders, self.keys, names, gone, [])
        if left:
            raise StoreError(f"something is left in {', '.join(map(str, left))}")
        return names

    def _forget(
        self,
        content: Content,
        people: Sequence[Person],
        before: Content | None,
        kept: Sequence[Person],
        folders: Iterable[Path],
    ) -> list[Path]:
        """Keep `people` in the store, `kept` in the version before, and no image in `folders`.

        Returns:
            Images that folders which are links point at: they are left.
        """
        links = [folder for folder in folders if folder.is_symlink()]
        left = [image for link in links for image in samples.behind_link(link)]
        if content.plain is not None:
            emptied: dict[Path, dict[str, bytes]] = {
                folder: {} for folder in folders if folder not in links
            }
            self.change(content, people, emptied, before=kept)
        else:
            for folder in folders:
                samples.remove(folder)
            if before:
                store_file.write(self.backup, kept, before.created, before.key, before.saves)
        for link in links:
            link.unlink(missing_ok=True)
        return left

    def _folders_of(self, names: Iterable[str]) -> set[Path]:
        """Find the folders of images of some names, however they are spelled."""
        named = {self.folder(name) for name in names}
        found = {folder for folder in named if folder.is_symlink()}
        keys = {same_name_key(folder.name) for folder in named}
        return found | {f for f in samples.folders(self.faces) if same_name_key(f.name) in keys}

    def _content_of_backup(self) -> Content | None:
        """Read the version before; None if there is none or it cannot be read."""
        try:
            return self.read(self.backup) if self.backup.exists() else None
        except StoreError:
            return None


def _split(people: Sequence[Person], name: str) -> tuple[list[Person], list[Person]]:
    """Split people into those who have a name, however spelled, and the others."""
    key = name_key(name)
    same = [person for person in people if name_key(person.name) == key]
    return same, [person for person in people if name_key(person.name) != key]
