"""The gallery in files, and how it forgets: nothing is left of people, which a search checks.

The store (`face_embeddings.pkl`) is saved whole, under a lock, and forgets people when told to.
`facesync.gallery.people` has its format, `facesync.gallery.sealing` how it is sealed,
`facesync.gallery.on_disk` how it is read and changed.

Every save seals the store, the version before it (`.bak`) and the images, unless the gallery was
told not to. Reading changes neither. What is sealed stays sealed, even if a later save was told not
to seal: `facesync.gallery.resealing` decrypts it for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from facesync.cli import count
from facesync.errors import StoreError
from facesync.files import same_name_key
from facesync.gallery import leftovers, resealing, samples, store_file
from facesync.gallery.keys import Key
from facesync.gallery.on_disk import GalleryOnDisk
from facesync.gallery.people import Person, clean_name, with_name
from facesync.gallery.store import Images
from facesync.gallery.store_file import Content


class FileGallery(GalleryOnDisk):
    """A gallery in files: a store of templates and a folder of images, changed together.

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
        self.attempts.keep([person.name for person in kept])
        leftovers.remove_temporary(self.path)
        left += leftovers.find(self.path, folders, self.keys, names, gone, kept)
        _refuse(left, f"something of {names[-1]}")
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
            _refuse(left, "something")
        return names

    def replace_people(
        self, content: Content, gone: Sequence[Person], people: Sequence[Person], images: Images
    ) -> None:
        """Do as `change`, so that nothing is left of how some people, who are `gone`, were.

        The version before is as the store is now: it would hold what a later `delete` of who they
        are now does not look for.

        Raises:
            StoreError: something is left; or as `change`.
        """
        by_folder = self.by_folder(images)
        self.change_folders(self.to_seal(content), people, by_folder, before=people)
        self.attempts.keep([person.name for person in people])
        leftovers.remove_temporary(self.path)
        folders = [folder for folder, encoded in by_folder.items() if not encoded]
        names = [person.name for person in gone]
        left = leftovers.find(self.path, folders, self.keys, names, gone, people)
        _refuse(left, f"something of how {names[-1]} was")

    def searched(self) -> str:
        """Say which files were searched after a deletion."""
        found = leftovers.searched(self.path)
        size = sum(file.stat().st_size for file in found)
        return (
            f"{count(len(found), 'file', 'files')} of the store ({size:,} bytes) and {self.faces}"
        )

    def reseal(self, new_key: Callable[[], Key] | None) -> int:
        """Seal everything with a new key or, without one, decrypt it; return how many people."""
        return resealing.reseal(self, new_key)

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
            self.change_folders(content, people, emptied, before=kept)
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


def _refuse(left: Sequence[Path], what: str) -> None:
    """Raise a StoreError if there are files in which something is left."""
    if left:
        raise StoreError(f"{what} is left in {', '.join(map(str, left))}")
