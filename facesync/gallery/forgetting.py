"""Forgetting: people and samples deleted so that nothing is left of them, which a search checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from facesync.errors import StoreError
from facesync.files import same_name_key
from facesync.gallery import attempts, leftovers, samples, store_file
from facesync.gallery.on_disk import GalleryOnDisk
from facesync.gallery.people import (
    Person,
    clean_name,
    one_with_name,
    unkept_samples,
    with_name,
    with_samples,
)
from facesync.gallery.store_file import Content


class ForgettingGallery(GalleryOnDisk):
    """A gallery that forgets; see `facesync.gallery.store.Gallery`."""

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
            return self._delete(name)

    def _delete(self, name: str) -> str | None:
        """Delete a person; call it under the lock."""
        content, before = self.content(), self._content_of_backup()
        same, others = with_name(content.people, name)
        in_backup, still = with_name(before.people if before else [], name)
        gone = [*same, *in_backup]
        names = [clean_name(name), *(person.name for person in gone)]
        folders = self._folders_of(names)
        unreadable = before is None and self.backup.exists()  # it may hold anybody
        left = []
        if gone or folders or unreadable:
            content = self.to_seal(content) if content.plain is not None else content
            kept = still if before and not same else others
            left = self._forget(content, others, before, kept, folders)
        kept = [*others, *still]
        attempts.keep(self.path, [person.name for person in kept])
        leftovers.remove_temporary(self.path)
        left += leftovers.find(self.path, folders, self.keys, names, gone, kept)
        _refuse(left, f"something of {names[-1]}")
        if gone:
            return gone[0].name
        return names[0] if folders else None

    def remove_samples(self, name: str, rows: np.ndarray) -> Person | None:
        """Take samples of a person away again, with their images; nothing of them is kept.

        Args:
            name: who has them.
            rows: their embeddings as they are stored, float32 (n, 512).

        Returns:
            The person with the other samples; None if there are none, and the person is deleted.

        Raises:
            StoreError: nobody has this name, or not these samples, or it is not known which images
                are theirs; or the store cannot be read, locked or written, or something is left.
        """
        with self.locked():
            content = self.content()
            person, others = one_with_name(content.people, name)
            folder = self.folder(person.name)
            images = list(samples.read_encoded(folder, self.keys).items())
            places = _places(person, rows)
            if unkept_samples(person) or len(images) != person.samples:
                raise StoreError(
                    f"it is not known which image of {person.name} is of which sample: delete and "
                    "register them again"
                )
            kept = [place for place in range(person.samples) if place not in places]
            if not kept:
                self._delete(person.name)
                return None
            fewer = with_samples(
                person, person.sample_embeddings[kept], person.sample_qualities[kept]
            )
            staged = {folder: dict(images[place] for place in kept)}
            self.replace_people(content, [person], [*others, fewer], staged)
        return fewer

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
            _refuse(left, "something")
        return names

    def replace_people(
        self,
        content: Content,
        gone: Sequence[Person],
        people: Sequence[Person],
        images: Mapping[Path, Mapping[str, bytes]],
    ) -> None:
        """Change the store so that nothing of how some people were is left; call it under the lock.

        The version before is as the store is now: it would hold what a later `delete` of who they
        are now does not look for.

        Args:
            content: of the store.
            gone: those people as they were.
            people: everyone, from now on.
            images: of each folder that changes, encoded, by name; none where a folder goes.

        Raises:
            StoreError: something is left; or as `change`.
        """
        self.change(self.to_seal(content), people, images, before=people)
        attempts.keep(self.path, [person.name for person in people])
        leftovers.remove_temporary(self.path)
        folders = [folder for folder, encoded in images.items() if not encoded]
        names = [person.name for person in gone]
        left = leftovers.find(self.path, folders, self.keys, names, gone, people)
        _refuse(left, f"something of how {names[-1]} was")

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


def _places(person: Person, rows: np.ndarray) -> list[int]:
    """Find where samples are among those of a person; StoreError if one is not."""
    places: list[int] = []
    for row in rows:
        same = np.flatnonzero((person.sample_embeddings == row).all(axis=1)).tolist()
        found = [place for place in same if place not in places]
        if not found:
            raise StoreError(f"{person.name} does not have this sample any more")
        places.append(found[-1])
    return places


def _refuse(left: Sequence[Path], what: str) -> None:
    """Raise a StoreError if there are files in which something is left."""
    if left:
        raise StoreError(f"{what} is left in {', '.join(map(str, left))}")
