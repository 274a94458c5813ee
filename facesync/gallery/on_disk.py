"""The store and the sample images on disk: read, and changed together.

A store that cannot be read is an error and is never overwritten; so is a plain one where a sealed
one should be (`facesync.gallery.trust`). A change that was interrupted is finished or undone by the
next one: never is a template kept with another's, or some, of its images.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from facesync import files
from facesync.errors import FaceSyncError, FileError, StoreError, UsageError
from facesync.files import folder_name
from facesync.gallery import samples, sealing, store_file, trust
from facesync.gallery.attempts import FileAttempts
from facesync.gallery.keys import KeyChain
from facesync.gallery.people import Person, now
from facesync.gallery.store import Gallery, Images
from facesync.gallery.store_file import Content, backup_of
from facesync.gallery.trust import Mark

log = logging.getLogger(__name__)


class GalleryOnDisk(Gallery):
    """The files of a gallery; its arguments are those of `FileGallery`."""

    def __init__(
        self,
        path: Path,
        faces: Path,
        *,
        encrypt: bool = True,
        keys: KeyChain | None = None,
        audit_log: Path | None = None,
    ) -> None:
        self.given = Path(path)
        if not self.given.name:
            raise UsageError(f"{path} cannot be the store of registered people, which is a file")
        linked = self.given.is_symlink()
        self.path = Path(os.path.realpath(self.given)) if linked else self.given
        super().__init__(FileAttempts(self.path), keys, audit_log)
        self.where, self.beside = str(self.path), self.path
        self.faces = Path(faces)
        self.encrypts = encrypt
        self._warned = False

    @property
    def backup(self) -> Path:
        """The version of the store before its last save."""
        return backup_of(self.path)

    def folder(self, name: str) -> Path:
        """Folder of a person's sample images."""
        return self.faces / folder_name(name)

    def content(self) -> Content:
        """Read the store, which need not exist yet; warn if it is older than the one last saved.

        Raises:
            StoreError: it cannot be read, or is plain and should be sealed.
        """
        if not self.path.exists():
            if missing := self.missing():
                self._warn(missing)
            return Content([], now())
        mark = trust.read(self.given)  # first: another process may be saving
        try:
            content = self.read(self.path)
        except StoreError as error:
            hint = f"; the version before the last save is {self.backup}"
            raise StoreError(f"{error}{hint if self.backup.exists() else ''}") from error
        older = trust.older(self.path, content, mark)
        if older:
            self._warn(older)
        elif content.key and mark != Mark.of(content):
            self.note(Mark.of(content))
        return content

    def key_id(self) -> str | None:
        """Return the id of the store's key, whoever has it; None if it has none.

        Raises:
            StoreError: there is a store, but it cannot be read.
        """
        return sealing.key_id(self.path) if self.path.exists() else None

    def version(self) -> tuple[int, int] | None:
        """Return what is another one after each save, by any process; None without a store."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def missing(self) -> str | None:
        """Say that somebody removed the store, but not the version before; None if not so."""
        if self.path.exists() or not self.backup.exists():
            return None
        return (
            f"{self.path} is gone, but not {self.backup}, the version before its last save: if "
            "you miss it, rename that to it; `delete --all` removes everybody"
        )

    def _warn(self, text: str) -> None:
        """Warn once."""
        if not self._warned:
            self._warned = True
            log.warning("%s", text)

    def read(self, path: Path) -> Content:
        """Read the store or the version before; StoreError as `content`."""
        content = store_file.read(path, self.keys)
        if content.key is None:
            self.refuse_plain(path)
        else:
            trust.refuse_other_key(self.given, path, content.key)
        return content

    def refuse_plain(self, path: Path) -> None:
        """Raise a StoreError for a plain file, of this store, that should be sealed."""
        reason = trust.reason_to_be_sealed(self.given, self.faces) if self.encrypts else None
        if reason:
            raise StoreError(
                f"{path} is not encrypted, although {reason}: somebody may have replaced it; "
                "if it is yours, `store adopt` or --no-encrypt accepts it"
            )

    def adopt(self) -> Content:
        """Trust the store as it is, plain or older than the one last saved, from now on.

        Raises:
            StoreError: it cannot be read.
            FileError: that it is trusted cannot be written down.
        """
        content = store_file.read(self.path, self.keys)
        trust.record(self.given, Mark.of(content))
        return content

    def note(self, mark: Mark) -> None:
        """Write down what is known of the store; it is saved already, so failing is a warning."""
        try:
            trust.record(self.given, mark)
        except FaceSyncError as error:
            log.warning("a replaced store would not be noticed: %s", error)

    def to_seal(self, content: Content) -> Content:
        """Return the content with the key for its next save, and seal the images that are plain.

        Call it under the lock.
        """
        key = content.key
        if key is None and self.encrypts:
            if content.plain is not None:
                # Until the save is done, some things are sealed and the store, rightly, is not.
                self.note(Mark(False, self._saves(content)))
            key = self.keys.new()
        if key:
            for person in content.people:
                samples.seal_plain(self.folder(person.name), key)
        return replace(content, key=key)

    def image_names(self, name: str) -> list[str]:
        """List the images of who has just this name, in the order they were taken."""
        return [
            path.name.removesuffix(samples.SEALED) for path in samples.in_use(self.folder(name))
        ]

    def read_image(self, name: str, image: str, *, sealed: bool = False) -> bytes:
        """Read one encoded image; with `sealed`, one that is not sealed is not trusted."""
        plain = self.folder(name) / image
        path = plain.with_name(plain.name + samples.SEALED)
        if not path.exists():
            path = plain
        if sealed and path == plain:
            raise StoreError(f"{path} is not encrypted, although the store is")
        return samples.read_one(path, self.keys)

    def unsettled(self, name: str) -> bool:
        """Whether somebody is changing the images of a person right now."""
        return bool(samples.leftovers(self.folder(name)))

    def by_folder(self, images: Images) -> dict[Path, Mapping[str, bytes]]:
        """Return images by folder, for `change_folders`.

        A folder that is to be emptied counts only if it is there, and is not another spelling of
        one that is kept.
        """
        found = {self.folder(name): encoded for name, encoded in images.items() if encoded}
        kept = list(found)
        for folder in {self.folder(name) for name in images}.difference(kept):
            there = folder.is_symlink() or folder.exists()
            if there and not any(each.exists() and folder.samefile(each) for each in kept):
                found[folder] = {}
        return found

    def change(
        self, content: Content, people: Sequence[Person], images: Images, *, add: bool = False
    ) -> None:
        """Replace everyone in the store, and the images of some; call it under the lock."""
        self.change_folders(content, people, self.by_folder(images), add=add)

    def change_folders(
        self,
        content: Content,
        people: Sequence[Person],
        images: Mapping[Path, Mapping[str, bytes]],
        *,
        add: bool = False,
        before: Sequence[Person] | None = None,
    ) -> None:
        """Replace everyone in the store and the images in some folders; call it under the lock.

        They change when the store is written: what ends before that is undone, what ends after it
        finished, by `locked`.

        Args:
            content: of the store, with the key that seals.
            people: everyone, from now on.
            images: of each folder that changes, encoded, by name.
            add: keep the images that are there.
            before: who is in the version before, if not everyone until now.

        Raises:
            FileError, OSError: something cannot be written.
        """
        save = 1 + self._saves(content)
        for folder, encoded in images.items():
            samples.stage(folder, encoded, content.key, save, add=add)
        if before is not None:
            store_file.write(self.backup, before, content.created, content.key, content.saves)
        elif content.plain is not None:
            store_file.write_plain(self.backup, content.plain, content.key)
        store_file.write(self.path, people, content.created, content.key, save)
        if content.key:
            self.note(Mark.of(replace(content, saves=save)))
        for folder in images:
            samples.settle(folder, save)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the store, and finish what one left half-done."""
        try:
            with files.locked(self.path):
                for path in (self.path, self.backup):
                    if path.is_symlink():  # what it points at would be left behind, unnoticed
                        raise StoreError(f"{path} is a link: put the file itself in its place")
                self._settle()
                try:
                    yield
                except BaseException:
                    with suppress(FaceSyncError, OSError):  # else the next change does it
                        self._settle()
                    raise
        except FileError as error:
            raise StoreError(str(error)) from error
        except OSError as error:
            raise StoreError(
                f"cannot change {error.filename or self.path}: {error.strerror or error}"
            ) from error

    def _settle(self) -> None:
        """Finish or undo what a process left that ended during a change."""
        for path in (self.path, self.backup):
            files.temporary_beside(path).unlink(missing_ok=True)
        unsettled = [folder for folder in samples.folders(self.faces) if samples.leftovers(folder)]
        if unsettled:
            saves = self.content().saves
            for folder in unsettled:
                samples.settle(folder, saves)

    def _saves(self, content: Content) -> int:
        """Return how often the store was saved, even if it is an older one now."""
        mark = trust.read(self.given)
        return max(content.saves, mark.saves if mark else 0)
