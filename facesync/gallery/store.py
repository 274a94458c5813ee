"""The gallery: everyone who is registered, and their sample images, wherever they are kept.

`Gallery` has what is the same everywhere: who may be registered under which name, and what becomes
of samples and images. Files keep them (`facesync.gallery.on_files`) or a PostgreSQL server
(`facesync.gallery.server`); `facesync.gallery.opening` opens either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from facesync.errors import StoreError
from facesync.files import same_name_key
from facesync.gallery import samples
from facesync.gallery.attempts import Attempts
from facesync.gallery.keys import Key, KeyChain
from facesync.gallery.matching import comparable
from facesync.gallery.people import (
    Person,
    are_samples,
    clean_name,
    is_template,
    merged,
    one_with_name,
    unkept_samples,
    with_name,
    with_samples,
)
from facesync.gallery.store_file import Content
from facesync.images import encode_jpeg

Images = Mapping[str, Mapping[str, bytes]]
"""Encoded images by their names (`sample_1.jpg`), by the name of the person whose they are."""

PEOPLE, IMAGES = "people: names and templates", "sample images"
"""What a gallery keeps, in words."""


class Gallery(ABC):
    """Everyone who is registered: templates and images, changed together.

    Args:
        attempts: counts failed attempts.
        keys: where keys come from.
        audit_log: log that says when people were embedded again.

    Attributes:
        where: what it is called in messages.
        beside: the file beside which what is known of this machine's cameras is kept.
        encrypts: whether what is saved is sealed.
        outage: why and since when it goes on with what it knew, in words; None while all is well.
    """

    where: str
    beside: Path
    encrypts: bool = True
    outage: str | None = None

    def __init__(
        self, attempts: Attempts, keys: KeyChain | None = None, audit_log: Path | None = None
    ) -> None:
        self.attempts = attempts
        self.keys = keys or KeyChain()
        self.audit_log = audit_log
        self.embedded_again: dict[tuple[str, bytes, str], Person] = {}

    @abstractmethod
    def content(self) -> Content:
        """Read who is there, which may be nobody yet.

        Raises:
            StoreError: it cannot be read, or not be trusted.
        """

    @abstractmethod
    def version(self) -> tuple[int, int] | None:
        """Return what is another one after each change, by any process; None without a store."""

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Keep all others from changing anything; what fails or is killed inside is undone."""

    @abstractmethod
    def to_seal(self, content: Content) -> Content:
        """Return the content with the key for its next save; call it under the lock."""

    @abstractmethod
    def change(
        self, content: Content, people: Sequence[Person], images: Images, *, add: bool = False
    ) -> None:
        """Replace everyone, and the images of some; call it under the lock.

        Args:
            content: what is there, with the key that seals.
            people: everyone, from now on.
            images: of each person whose images change; none where they go.
            add: keep the images that are there.

        Raises:
            FaceSyncError, OSError: something cannot be written.
        """

    @abstractmethod
    def replace_people(
        self, content: Content, gone: Sequence[Person], people: Sequence[Person], images: Images
    ) -> None:
        """Do as `change`, so that nothing is left of how some people, who are `gone`, were."""

    @abstractmethod
    def image_names(self, name: str) -> list[str]:
        """List the images of who has just this name, in the order they were taken."""

    @abstractmethod
    def read_image(self, name: str, image: str, *, sealed: bool = False) -> bytes:
        """Read one encoded image; with `sealed`, one that is not sealed is not trusted.

        Raises:
            StoreError: it cannot be read, opened or trusted.
        """

    @abstractmethod
    def adopt(self) -> Content:
        """Trust what is there, plain or older than what was saved last, from now on.

        Raises:
            StoreError: it cannot be read.
            FileError: that it is trusted cannot be written down.
        """

    @abstractmethod
    def key_id(self) -> str | None:
        """Return the id of the key that seals it, whoever has it; None if it has none.

        Raises:
            StoreError: it cannot be read.
        """

    @abstractmethod
    def reseal(self, new_key: Callable[[], Key] | None) -> int:
        """Seal everything with a new key or, without one, decrypt it; return how many people.

        Raises:
            StoreError: there is no store, or something cannot be read, opened or written.
        """

    @abstractmethod
    def delete_all(self) -> list[str]:
        """Forget everybody, also those of whom only images are left; return their names.

        Raises:
            StoreError: the store cannot be read, locked or changed, or something is left.
        """

    @abstractmethod
    def searched(self) -> str:
        """Say where nothing was found after a deletion, which raises an error if anything is."""

    @abstractmethod
    def _delete(self, name: str) -> str | None:
        """Delete a person; called under the lock."""

    def close(self) -> None:  # noqa: B027 - files have nothing to close
        """End whatever goes on in the background."""

    def refuse_plain(self, path: Path) -> None:
        """Raise a StoreError for a plain file that should be sealed, as this gallery is."""
        raise StoreError(f"{path} is not encrypted, although {self.where} is")

    def unsettled(self, name: str) -> bool:
        """Whether somebody is changing the images of a person right now."""
        return False

    def encoded_images(self, name: str) -> dict[str, bytes]:
        """Read the encoded images of who has just this name.

        Raises:
            StoreError: one cannot be read or opened.
        """
        return {image: self.read_image(name, image) for image in self.image_names(name)}

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
        return [] if person is None else samples.decoded(self.encoded_images(person.name))

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
            # The name may now be spelled differently.
            images: dict[str, dict[str, bytes]] = {other.name: {} for other in same}
            images[person.name] = samples.numbered(map(encode_jpeg, samples_rgb))
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
            first = 1 + max(map(samples.number, self.image_names(person.name)), default=0)
            images = {person.name: samples.numbered(map(encode_jpeg, samples_rgb), first)}
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
            images = {person.name: {}, new: self.encoded_images(person.name)}
            self.attempts.carry([person.name], new)
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
            encoded = [
                data
                for each in (person, joining)
                for data in self.encoded_images(each.name).values()
            ]
            images = {joining.name: {}, person.name: samples.numbered(encoded)}
            self.attempts.carry([joining.name], person.name)
            self.replace_people(content, [person, joining], [*others, both], images)
        return both

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
            images = list(self.encoded_images(person.name).items())
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
            staged = {person.name: dict(images[place] for place in kept)}
            self.replace_people(content, [person], [*others, fewer], staged)
        return fewer


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
