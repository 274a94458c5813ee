"""The commands that are about the store itself: `store …`, `export`, `delete --all`.

Imports nothing heavy at the top, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesync import cli
from facesync.errors import StoreError, UsageError

if TYPE_CHECKING:
    from facesync.gallery.store import Gallery


def add_store_parsers(commands: Any) -> list[argparse.ArgumentParser]:
    """Add the parsers of `store` and its actions; all of them take the app's options too."""
    parser = commands.add_parser("store", help="encrypt, check or back up the store of faces")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    encrypt = actions.add_parser("encrypt", help="encrypt the store, its backup and the images")
    change = actions.add_parser("change-key", help="encrypt everything with a new key")
    for keyed in (encrypt, change):
        keyed.add_argument(
            "--passphrase",
            action="store_true",
            help="ask for a passphrase (FACESYNC_PASSPHRASE where there is no terminal) "
            "instead of keeping a key in the keyring or a file",
        )
    decrypt = actions.add_parser("decrypt", help="write everything as plain files")
    check = actions.add_parser("check", help="open everything that is stored and say how it is")
    backup = actions.add_parser("backup", help="write everything into one file")
    restore = actions.add_parser("restore", help="put a backup in the place of the store")
    for filed in (backup, restore):
        filed.add_argument("file", metavar="FILE", type=Path)
    return [encrypt, change, decrypt, check, backup, restore]


def add_export_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the parser of `export`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export", help="give a person all that is stored about them, as a zip file"
    )
    parser.add_argument("name", metavar="NAME", help="the person's name")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the zip file (default: NAME.zip, here)"
    )
    return parser


def store(gallery: Gallery, args: argparse.Namespace) -> int:
    """Run a `store` command."""
    return _ACTIONS[args.action](gallery, args)


def export(gallery: Gallery, args: argparse.Namespace) -> int:
    """Write what is stored about a person into a zip file."""
    from facesync.files import folder_name
    from facesync.gallery import exports
    from facesync.gallery.people import clean_name

    file = args.output or Path(f"{folder_name(clean_name(args.name))}.zip")
    _is_new(file)
    images = exports.export(gallery, args.name, file)
    print(f"{file}: all that is stored, with {images} images; it is not encrypted")
    return cli.DONE


def delete_all(gallery: Gallery, args: argparse.Namespace, confirm: Callable[[str], bool]) -> int:
    """Forget everybody, after asking unless told not to."""
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError("delete: no terminal to ask on; --yes deletes without asking")
        if not confirm(f"Delete everybody in {gallery.path}, templates and images, for good?"):
            return cli.FAILED
    names = gallery.delete_all()
    gone = cli.count(len(names), "person is", "people are")
    print(f"{gone} deleted; nothing of them is left in what the app keeps here")
    return cli.DONE


def _encrypt(gallery: Gallery, args: argparse.Namespace) -> int:
    return _seal(gallery, args, "is encrypted")


def _change_key(gallery: Gallery, args: argparse.Namespace) -> int:
    if gallery.content().key is None:
        raise StoreError(f"{gallery.path} is not encrypted; `store encrypt` does that")
    code = _seal(gallery, args, "has a new key")
    print("Files of `store backup` made before need the key from before; it was not removed.")
    return code


def _seal(gallery: Gallery, args: argparse.Namespace, what: str) -> int:
    from facesync.gallery.keys import place_in_words
    from facesync.gallery.resealing import reseal

    people = reseal(gallery, lambda: gallery.keys.new(passphrase=args.passphrase))
    key = gallery.content().key
    assert key is not None
    print(f"{gallery.path} {what}: {_people(people)}, {place_in_words(key.header)}")
    return cli.DONE


def _decrypt(gallery: Gallery, args: argparse.Namespace) -> int:
    from facesync.gallery.resealing import reseal

    people = reseal(gallery, None)
    print(f"{gallery.path} is not encrypted any more: {_people(people)}")
    print("The next save encrypts it again unless it is given --no-encrypt.")
    return cli.DONE


def _check(gallery: Gallery, args: argparse.Namespace) -> int:
    from facesync.gallery.checking import check

    facts, faults = check(gallery)
    for line in facts:
        print(line)
    for line in faults:
        print(f"WRONG  {line}")
    wrong = cli.count(len(faults), "fault", "faults")
    print(wrong if faults else "everything is as it should be")
    return cli.FAILED if faults else cli.DONE


def _backup(gallery: Gallery, args: argparse.Namespace) -> int:
    from facesync.gallery import backups

    _is_new(args.file)
    print(f"{args.file}: {_people(backups.backup(gallery, args.file))}, encrypted as the store is")
    return cli.DONE


def _restore(gallery: Gallery, args: argparse.Namespace) -> int:
    from facesync.gallery import backups

    people = backups.restore(gallery, args.file)
    print(f"{gallery.path}: {_people(people)} from {args.file}; before: {gallery.backup}")
    return cli.DONE


def _people(number: int) -> str:
    return cli.count(number, "person", "people")


def _is_new(file: Path) -> None:
    if file.exists():
        raise StoreError(f"{file} is there already; choose another name")


_ACTIONS: dict[str, Callable[[Gallery, argparse.Namespace], int]] = {
    "encrypt": _encrypt,
    "change-key": _change_key,
    "decrypt": _decrypt,
    "check": _check,
    "backup": _backup,
    "restore": _restore,
}
