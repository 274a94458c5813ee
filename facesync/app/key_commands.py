"""The commands that hand the key of a gallery to another machine: `store key export|import`."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from typing import Any

from facesync import cli
from facesync.app.settings import KeyFileOptions
from facesync.app.store_commands import must_be_new
from facesync.errors import StoreError, UsageError
from facesync.files import read_text
from facesync.gallery import key_files
from facesync.gallery.keys import (
    SHORTEST_PASSPHRASE,
    in_groups,
    keep,
    place_in_words,
    typed_twice,
)
from facesync.gallery.store import Gallery


def _export(gallery: Gallery, options: KeyFileOptions) -> int:
    must_be_new(options.file)
    key = gallery.content().key
    if key is None:
        raise StoreError(
            f"{gallery.where} has no key: nobody is registered, or it is not encrypted"
        )
    key_files.write(options.file, key, _new_passphrase(options))
    print(f"{options.file}: the key {in_groups(key.header['id'])}, sealed with the passphrase")
    print("Whoever has both opens every template and image: send them on different ways.")
    return cli.DONE


def _import(gallery: Gallery, options: KeyFileOptions) -> int:
    key = key_files.read(options.file, _passphrase(options))
    here, given = gallery.key_id(), key.header["id"]
    if here is None and gallery.version() is not None:  # a key here would make it look replaced
        raise StoreError(f"{gallery.where} is not encrypted and has no key: nothing was imported")
    if here not in (None, given):
        raise StoreError(
            f"{gallery.where} has the key {in_groups(here)}, and {options.file} is "
            f"{in_groups(given)}: nothing was imported"
        )
    keep(key)
    print(f"the key {in_groups(given)} is kept here: {place_in_words(key.header)}")
    print("Where it was exported, the same sixteen characters were printed; compare them.")
    return cli.DONE


def _new_passphrase(options: KeyFileOptions) -> str:
    if options.passphrase_file is None and sys.stdin.isatty():
        text = typed_twice("New passphrase for the file: ")
        if text is None:
            raise UsageError("the two passphrases differ; nothing was written")
    else:
        text = _passphrase(options)
    if len(text) < SHORTEST_PASSPHRASE:
        raise UsageError(f"a passphrase needs at least {SHORTEST_PASSPHRASE} characters")
    return text


def _passphrase(options: KeyFileOptions) -> str:
    """Return the passphrase of a file: from another file, or typed without echo."""
    if options.passphrase_file is not None:
        return read_text(options.passphrase_file, most=4096).partition("\n")[0]
    if not sys.stdin.isatty():
        raise UsageError("no terminal to ask for a passphrase: use --passphrase-file FILE")
    return getpass.getpass("Passphrase of the file: ")


COMMANDS: dict[str, Callable[[Gallery, Any], int]] = {
    "store key export": _export,
    "store key import": _import,
}
