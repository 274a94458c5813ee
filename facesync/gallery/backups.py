"""Backup: everything that is stored, in one file that can be restored whole.

It is a pickle of plain containers, sealed if the store is:

    {"format": 2, "backup": {"store": data of the store, "pictures": {name: {file: JPEG bytes}}}}
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from facesync.errors import ImageError, StoreError
from facesync.files import replacing
from facesync.gallery import samples, sealing
from facesync.gallery.people import FORMAT, Person, decode, encode
from facesync.gallery.store import Gallery
from facesync.images import read_image_rgb
from facesync.pickles import dumps_plain, is_same


def backup(gallery: Gallery, file: Path) -> int:
    """Write what `packed` returns into a file, mode 0600; return how many people.

    Raises:
        StoreError: see `packed`.
        FileError: the file cannot be written.
    """
    data, people = packed(gallery)
    with replacing(file, private=True) as opened:
        opened.write(data)
    return people


def packed(gallery: Gallery) -> tuple[bytes, int]:
    """Return everything that is stored, sealed if the store is, and how many people that is.

    Raises:
        StoreError: there is no store, or something in it cannot be opened.
    """
    with gallery.locked():
        content = gallery.content()
        if content.plain is None:
            raise StoreError(f"there is no store {gallery.where}")
        images = {person.name: gallery.encoded_images(person.name) for person in content.people}
    store = encode(content.people, content.created)
    plain = dumps_plain({"format": FORMAT, "backup": {"store": store, "pictures": images}})
    return sealing.seal(plain, content.key, sealing.BACKUP), len(content.people)


def restore(gallery: Gallery, file: Path) -> int:
    """Replace the store by a backup, and return how many people there are now.

    The whole file is checked before anything is changed. The store stays as the version before;
    images of people who are not in the backup are left alone.

    Raises:
        StoreError: the file cannot be opened, is damaged or is not a backup, or is plain and the
            store is sealed; nothing is changed.
    """
    created, people, images = _read(gallery, file)
    with gallery.locked():
        content = replace(gallery.to_seal(gallery.content()), created=created)
        staged = {person.name: images.get(person.name, {}) for person in people}
        gallery.change(content, people, staged)
    return len(people)


def _read(
    gallery: Gallery, file: Path
) -> tuple[datetime, list[Person], dict[str, dict[str, bytes]]]:
    """Open a backup and check everything in it: creation time, people, and images by name."""
    data, _, key = sealing.load(file, gallery.keys, sealing.BACKUP)
    if key is None:
        gallery.refuse_plain(file)
    inner = data.get("backup") if isinstance(data, dict) else None
    if not isinstance(inner, dict) or not is_same(data.get("format"), FORMAT):
        raise StoreError(f"{file} is not a backup of a store")
    created, people = decode(inner.get("store"), file)
    images = inner.get("pictures")
    if not isinstance(images, dict) or not set(images) <= {person.name for person in people}:
        raise StoreError(f"{file} is damaged: it has images of people who are not in it")
    for name, files in images.items():
        for image, content in files.items() if isinstance(files, dict) else [(None, None)]:
            if not samples.is_name(image) or not isinstance(content, bytes):
                raise StoreError(f"{file} is damaged: an image of {name} has no name or content")
            try:
                read_image_rgb(content)
            except ImageError as error:
                raise StoreError(f"{file} is damaged: an image of {name}: {error}") from error
    return created, people, images
