"""`store push` and `store pull`: everybody of one gallery copied to another, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from facesync.errors import StoreError
from facesync.gallery.people import name_key
from facesync.gallery.store import Gallery


def copy(source: Gallery, target: Gallery, *, overwrite: bool = False) -> list[str]:
    """Copy everybody with their images and failed attempts; return their names.

    The source stays as it is. A target in which nobody was registered gets the source's key, and
    else keeps its own.

    Args:
        source: what is copied.
        target: where to; others who are there stay.
        overwrite: replace people of the same names.

    Raises:
        StoreError: there is nobody to copy, or somebody of a name is there already; or one of the
            galleries cannot be read or changed. Nothing is copied then.
    """
    with source.locked():
        content = source.content()
        if not content.people:
            raise StoreError(f"nobody is registered in {source.where}; nothing was copied")
        names = [person.name for person in content.people]
        images: dict[str, Mapping[str, bytes]] = {
            name: source.encoded_images(name) for name in names
        }
        counts = source.attempts.counts(names)
    coming = set(map(name_key, names))
    with target.locked():
        there = target.content()
        same = [person.name for person in there.people if name_key(person.name) in coming]
        if same and not overwrite:
            raise StoreError(
                f"{', '.join(same)}: registered in {target.where} already; nothing was copied "
                "(--replace replaces them)"
            )
        others = [person for person in there.people if name_key(person.name) not in coming]
        if there.plain is None and target.encrypts:
            there = replace(there, key=content.key)
        gone: dict[str, Mapping[str, bytes]] = {name: {} for name in same}
        target.change(target.to_seal(there), [*others, *content.people], gone | images)
        target.attempts.take(counts)
    return names
