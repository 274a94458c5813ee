"""The commands that need no model: `delete`, `export`, `store …`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facesync import cli
from facesync.app.console import confirm, proof
from facesync.app.settings import BackupOptions, DeleteOptions, ExportOptions, KeyOptions, NoOptions
from facesync.errors import StoreError
from facesync.files import folder_name
from facesync.gallery import backups, checking, exports
from facesync.gallery.keys import place_in_words
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import clean_name
from facesync.gallery.store import Gallery


def delete(gallery: Gallery, options: DeleteOptions) -> int:
    """Delete a person or everybody; asks first, unless `--yes` is given.

    Raises:
        StoreError: nobody has this name, or the store does not allow it.
    """
    if options.name is None:
        return _delete_all(gallery, options)
    person = gallery.find(options.name)
    if person is not None and not options.yes:
        if not confirm(f"Delete {person.name}, template and images, for good?"):
            return cli.FAILED
    deleted = gallery.delete(options.name)
    if deleted is None:
        name = clean_name(options.name)
        raise StoreError(f"nobody is registered as {name}; `list` shows who is")
    copy = " and the copy in the backup" if isinstance(gallery, FileGallery) else ""
    print(f"{deleted} is deleted: template, samples, images{copy}")
    print(f"  {proof(gallery)}")
    return cli.DONE


def _delete_all(gallery: Gallery, options: DeleteOptions) -> int:
    if not options.yes:
        if not confirm(f"Delete everybody in {gallery.where}, templates and images, for good?"):
            return cli.FAILED
    gone = cli.count(len(gallery.delete_all()), "person is", "people are")
    itself = ", and the store itself" if isinstance(gallery, FileGallery) else ""
    print(f"{gone} deleted{itself}\n  {proof(gallery)}")
    return cli.DONE


def _export(gallery: Gallery, options: ExportOptions) -> int:
    file = options.output or Path(f"{folder_name(clean_name(options.name))}.zip")
    must_be_new(file)
    images = cli.count(exports.export(gallery, options.name, file), "image", "images")
    print(
        f"{file}: everything stored about {clean_name(options.name)}, with {images}; not encrypted"
    )
    return cli.DONE


def _encrypt(gallery: Gallery, options: KeyOptions) -> int:
    if not isinstance(gallery, FileGallery):
        raise StoreError(f"{gallery.where} is encrypted; `store change-key` gives it a new key")
    return _seal(gallery, options, "is encrypted")


def _change_key(gallery: Gallery, options: KeyOptions) -> int:
    if gallery.content().key is None:
        raise StoreError(f"{gallery.where} is not encrypted; `store encrypt` does that")
    code = _seal(gallery, options, "has a new key")
    print("Earlier backups still need the old key, which was not removed.")
    return code


def _seal(gallery: Gallery, options: KeyOptions, what: str) -> int:
    people = gallery.reseal(lambda: gallery.keys.new(passphrase=options.passphrase))
    key = gallery.content().key
    assert key is not None
    print(f"{gallery.where} {what}: {_people(people)}, {place_in_words(key.header)}")
    return cli.DONE


def _decrypt(gallery: Gallery, options: NoOptions) -> int:
    people = gallery.reseal(None)
    print(f"{gallery.where} is no longer encrypted: {_people(people)}")
    print("The next change encrypts it again, unless you use --no-encrypt.")
    return cli.DONE


def _adopt(gallery: Gallery, options: NoOptions) -> int:
    content = gallery.adopt()
    names = ", ".join(person.name for person in content.people) or "nobody"
    how = "encrypted" if content.key else "not encrypted; the next change encrypts it"
    print(f"{gallery.where} is trusted from now on, with {names}: {how}")
    return cli.DONE


def _check(gallery: Gallery, options: NoOptions) -> int:
    facts, faults = checking.check(gallery)
    for line in facts:
        print(line)
    for line in faults:
        print(f"WRONG  {line}")
    print(cli.count(len(faults), "fault", "faults") if faults else "everything is in order")
    return cli.FAILED if faults else cli.DONE


def _backup(gallery: Gallery, options: BackupOptions) -> int:
    must_be_new(options.file)
    people = _people(backups.backup(gallery, options.file))
    print(f"{options.file}: {people}, encrypted like the store")
    return cli.DONE


def _restore(gallery: Gallery, options: BackupOptions) -> int:
    people = _people(backups.restore(gallery, options.file))
    print(f"{gallery.where}: {people} from {options.file}{_where_before(gallery)}")
    return cli.DONE


def _where_before(gallery: Gallery) -> str:
    """Say where what was replaced is kept: a server keeps nothing."""
    return f"; the previous version is {gallery.backup}" if isinstance(gallery, FileGallery) else ""


def _people(number: int) -> str:
    return cli.count(number, "person", "people")


def must_be_new(file: Path) -> None:
    """Raise a StoreError where a command would overwrite a file."""
    if os.path.lexists(file):  # a link that leads nowhere, too
        raise StoreError(f"{file} already exists; choose another name")


COMMANDS: dict[str, Callable[[Gallery, Any], int]] = {
    "export": _export,
    "store encrypt": _encrypt,
    "store change-key": _change_key,
    "store decrypt": _decrypt,
    "store adopt": _adopt,
    "store check": _check,
    "store backup": _backup,
    "store restore": _restore,
}
