"""The store, its backup and the images sealed with a new key, or decrypted for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from facesync.errors import StoreError
from facesync.gallery import samples, store_file
from facesync.gallery.keys import Key
from facesync.gallery.on_disk import GalleryOnDisk
from facesync.gallery.trust import Mark


def reseal(gallery: GalleryOnDisk, new_key: Callable[[], Key] | None) -> int:
    """Seal everything with a new key or, without one, decrypt it; return how many people.

    Each file is replaced whole, the store last: after a crash every file still opens, and the same
    call finishes the job.

    Raises:
        StoreError: there is no store, or something cannot be read, opened or written.
    """
    with gallery.locked():
        content = gallery.content()
        if content.plain is None:
            raise StoreError(f"there is no store {gallery.path}")
        if new_key is None and content.key is None:
            raise StoreError(f"{gallery.path} is not encrypted")
        before = gallery.read(gallery.backup) if gallery.backup.exists() else None
        # Until it is done, files with the old and the new key, or plain ones, are side by side.
        gallery.note(Mark(new_key is not None and content.key is not None, content.saves))
        key = new_key() if new_key else None
        for folder in samples.folders(gallery.faces):
            samples.reseal(folder, key, gallery.keys)
        if before and before.plain is not None:
            store_file.write_plain(gallery.backup, before.plain, key)
        store_file.write_plain(gallery.path, content.plain, key)
        gallery.note(Mark.of(replace(content, key=key)))
    return len(content.people)
