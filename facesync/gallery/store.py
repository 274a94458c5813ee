"""The gallery: everyone who is registered, and their sample images.

The store (`face_embeddings.pkl`) is saved whole, under a lock, and forgets people when told to.
`facesync.gallery.people` has its format, `facesync.gallery.sealing` how it is sealed,
`facesync.gallery.on_disk` how it is read and changed.

Every save seals the store, the version before it (`.bak`) and the images, unless the gallery was
told not to. Reading changes neither. What is sealed stays sealed, even if a later save was told not
to seal: `facesync.gallery.resealing` decrypts it for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from facesync.errors import StoreError
from facesync.files import same_name_key
from facesync.gallery import attempts, samples
from facesync.gallery.forgetting import ForgettingGallery
from facesync.gallery.matching import comparable
from facesync.gallery.people import (
    Person,
    are_samples,
    clean_name,
    is_template,
    merged,
    one_with_name,
    with_name,
)


class Gallery(ForgettingGallery):
    """Everyone who is registered: a store of templates and a folder of images, changed together.

    Args:
        path: the store; it need not exist yet. A link is followed. `<path>.bak` is the version
            before the last save.
        faces: folder of the sample images: `<faces>/<name>/sample_N.jpg`, or `.jpg.enc` if sealed.
        encrypt: the next save seals what is not sealed yet, and a plain store is refused where it
            should be sealed.
        keys: where keys come from.
        audit_log: log that says when people were embedded again.

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
        same, _ = with_name(self.people(), name)
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
            same, others = with_name(content.people, person.name)
            if same and not replace:
                raise StoreError(f"{same[0].name} is already registered")
            folder = self.folder(person.name)
            images: dict[Path, Mapping[str, bytes]] = {folder: samples.encoded(folder, samples_rgb)}
            for other in same:  # the name may now be spelled differently
                images |= self._emptied(self.folder(other.name), folder)
            self.change(self.to_seal(content), [*others, person], images)

    def add(self, person: Person, samples_rgb: Sequence[np.ndarray]) -> Person:
        """Add samples to who is stored, and return them; the template becomes the mean of all.

        Args:
            person: the samples, at least one, and the model that made them, under the name of
                somebody who is registered.
            samples_rgb: the images, each uint8 RGB; those already stored are kept.

        Raises:
            StoreError: nobody has this name, or with another model, the samples are not
                embeddings, or the store cannot be read, locked or written; the next change
                finishes or undoes what was begun.
        """
        rows, qualities = person.sample_embeddings, person.sample_qualities
        if not len(rows) or not are_samples(rows, qualities):
            raise StoreError(
                f"the model gave no valid face embedding for {person.name}; nothing was stored"
            )
        with self.locked():
            content = self.content()
            known, others = one_with_name(content.people, person.name)
            if not comparable([known], person.fingerprint):
                raise StoreError(
                    f"{known.name} was registered with another model; use --replace instead"
                )
            person = merged(known, replace(person, samples=len(rows)))
            folder = self.folder(person.name)
            images = {folder: samples.encoded(folder, samples_rgb, add=True)}
            self.change(self.to_seal(content), [*others, person], images, add=True)
        return person

    def rename(self, name: str, new: str) -> Person:
        """Give a person another name, or another spelling of theirs, and return them.

        Nothing keeps the name that they had: neither the version before nor an image. Failed
        attempts count on.

        Raises:
            StoreError: nobody has the name, the new one is taken or empty, or the store or an image
                cannot be read, locked or written; the next change finishes or undoes what was
                begun.
        """
        new = clean_name(new)
        if not new:
            raise StoreError("a name needs at least one printable character")
        with self.locked():
            content = self.content()
            person, others = one_with_name(content.people, name)
            taken, _ = with_name(others, new)
            if taken:
                raise StoreError(f"{taken[0].name} is already registered")
            if new == person.name:
                return person
            renamed = replace(person, name=new)
            old, folder = self.folder(person.name), self.folder(new)
            images: dict[Path, Mapping[str, bytes]] = {}
            if old != folder:
                images[folder] = samples.read_encoded(old, self.keys)
                images |= self._emptied(old, folder)
            attempts.carry(self.path, [person.name], new)
            self.replace_people(content, [person], [*others, renamed], images)
        return renamed

    def merge(self, name: str, other: str) -> Person:
        """Let the samples and images of another person join somebody's, and return them.

        The template becomes the mean of all samples. Nobody has the other name then, and nothing
        keeps it; of the failed attempts, the worse count on.

        Raises:
            StoreError: nobody has one of the names, both are one person's, their templates are of
                two models, or the store or an image cannot be read, locked or written; the next
                change finishes or undoes what was begun.
        """
        with self.locked():
            content = self.content()
            person, rest = one_with_name(content.people, name)
            joining, others = one_with_name(content.people, other)
            if joining is person:
                raise StoreError(f"{person.name} cannot be merged with themselves")
            others = [each for each in rest if each is not joining]
            if person.fingerprint != joining.fingerprint:
                raise StoreError(
                    f"{person.name} and {joining.name} were registered with different models: "
                    "register one of them again with --replace"
                )
            both = merged(person, joining)
            folder, gone = self.folder(person.name), self.folder(joining.name)
            encoded = [
                data
                for each in (folder, gone)
                for data in samples.read_encoded(each, self.keys).values()
            ]
            images = {folder: samples.numbered(encoded), **self._emptied(gone, folder)}
            attempts.carry(self.path, [joining.name], person.name)
            self.replace_people(content, [person, joining], [*others, both], images)
        return both

    def _emptied(self, folder: Path, kept: Path) -> dict[Path, Mapping[str, bytes]]:
        """Return no images for a folder that exists, unless it is another spelling of one kept."""
        exists = folder.is_symlink() or folder.exists()
        if not exists or (kept.exists() and folder.samefile(kept)):
            return {}
        return {folder: {}}
