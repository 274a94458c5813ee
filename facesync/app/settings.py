"""The settings of the app: the options of every command, and those of each single command.

Imports nothing heavy, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from facesync import options
from facesync.errors import UsageError
from facesync.faces.settings import RecognizerSettings
from facesync.liveness.settings import LIVENESS
from facesync.options import make_settings, option, positive_int

VERIFY_FRAMES = 5
"""Frames of a camera that one verification looks at."""


def margin(text: str) -> float:
    """Argparse type: a difference of similarities, 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def tcp_port(text: str) -> int:
    """Argparse type: a port of TCP; 0 for any."""
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return value


@dataclass(frozen=True)
class AppSettings(RecognizerSettings):
    """Settings of one run of the app, whichever the command."""

    embeddings: Path = option(
        Path("models/face_embeddings.pkl"), "store of registered people", metavar="FILE"
    )
    faces: Path = option(Path("faces"), "folder of their sample images", metavar="DIR")
    gallery: str | None = option(
        None,
        "a PostgreSQL server that keeps the people for several cameras, instead of the files above",
        metavar="ADDRESS",
    )
    gallery_insecure: bool = option(
        False, "use a gallery on another machine without checking which machine answers"
    )
    margin: float = option(
        0.05,
        "how much more similar the best match must be than the second; a face that matches two "
        "people about equally is not accepted",
        parse=margin,
        metavar="F",
    )
    camera: str = option(
        "0",
        "camera number, video, image, folder of images or address of a stream",
        metavar="SOURCE",
    )
    encrypt: bool = option(
        True,
        "do not encrypt a store that is new or not encrypted yet; an encrypted one stays encrypted",
        flag="--no-encrypt",
    )
    audit_log: Path | None = option(
        None, "append a line of JSON for every verification (no images)", metavar="FILE"
    )
    liveness: str = option(
        "auto",
        "whether a face before the camera must be alive, and no photograph or screen: `passive` "
        "judges by how it looks; `auto` asks for turns of the head, too, where that is not sure; "
        "`challenge` always asks",
        choices=LIVENESS,
    )
    require_liveness: bool = option(
        False, "refuse still images, which cannot show that somebody is alive"
    )
    given: frozenset[str] = field(default=frozenset(), repr=False)  # what was not left to a default

    def __post_init__(self) -> None:
        if self.gallery is not None and not self.encrypt:
            raise UsageError("--no-encrypt: on a server everything is encrypted; leave it out")
        if self.require_liveness and self.liveness == "off":
            raise UsageError("--require-liveness needs --liveness passive, auto or challenge")


def _json_option() -> Any:
    return option(False, "print the result as one line of JSON")


def _no_window_option(instead: str) -> Any:
    return option(False, f"{instead} instead of opening a window")


def _similar_name_option() -> Any:
    return option(False, "confirm a name that looks like a registered one, but has other letters")


@dataclass(frozen=True)
class NoOptions:
    """A command without options of its own."""


@dataclass(frozen=True)
class JsonOptions:
    """A command that can print JSON instead of words."""

    json: bool = _json_option()


@dataclass(frozen=True)
class RegisterOptions:
    """`register`."""

    name: str = option(help="the person's name", metavar="NAME", positional=True)
    images: tuple[Path, ...] = option(
        (),
        "three or more images of the person, or folders of them, instead of the camera",
        metavar="FILE",
    )
    replace: bool = option(False, "replace the person who already has this name")
    add: bool = option(False, "add samples to the person who already has this name")
    same_person: bool = option(
        False,
        "confirm that this is the same person, or a twin, although the face is registered under "
        "another name, or looks different from the samples",
    )
    similar_name: bool = _similar_name_option()
    no_window: bool = _no_window_option("with a camera, use the terminal")


@dataclass(frozen=True)
class VerifyOptions(JsonOptions):
    """`verify`."""

    image: tuple[Path, ...] = option(
        (),
        "images to verify, instead of the camera. An image is accepted if one of its faces is; "
        "with several images, the exit code is 0 only if all are accepted",
        metavar="FILE",
    )
    main_face: bool = option(False, "compare only the main face of each image")
    name: str | None = option(None, "accept only this person")
    frames: int = option(
        VERIFY_FRAMES,
        "number of camera frames to look at, at least 5 unless --liveness is off; more than half "
        "must agree",
        parse=positive_int,
        metavar="N",
    )
    no_window: bool = _no_window_option("with a camera, use the terminal (as does --json)")


@dataclass(frozen=True)
class CompareOptions:
    """`compare`."""

    first: Path = option(help="an image", metavar="A", positional=True)
    second: Path = option(help="another image", metavar="B", positional=True)
    json: bool = _json_option()


@dataclass(frozen=True)
class WatchOptions:
    """`watch`."""

    record: Path | None = option(None, "record what is shown as a video", metavar="FILE")
    events: Path | None = option(
        None, "append a line of JSON for each appearance of a person", metavar="FILE"
    )
    no_window: bool = _no_window_option("print who appears")


@dataclass(frozen=True)
class WebOptions:
    """`web`."""

    port: int = option(
        8642,
        "port; the browser remembers its camera permission for each, 0 takes any free one",
        parse=tcp_port,
        metavar="N",
    )
    no_browser: bool = option(False, "do not open a browser")
    host: str = option(
        "127.0.0.1",
        "address to listen on; one that other machines reach needs --certfile, --keyfile and a "
        "passphrase (asked for, or taken from FACESYNC_WEB_PASSPHRASE)",
        metavar="ADDRESS",
    )
    certfile: Path | None = option(None, "certificate for https, PEM", metavar="FILE")
    keyfile: Path | None = option(None, "its private key, PEM", metavar="FILE")
    api_token: Path | None = option(
        None,
        "let programs in that send the token in this file (Authorization: Bearer ...); it is "
        "written if there is none",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        if (self.certfile is None) != (self.keyfile is None):
            raise UsageError("web: --certfile and --keyfile go together")


@dataclass(frozen=True)
class DeleteOptions:
    """`delete`."""

    name: str | None = option(None, "the person's name", metavar="NAME", positional=True)
    all: bool = option(False, "delete everybody, and the store itself")
    yes: bool = option(False, "do not ask for confirmation")

    def __post_init__(self) -> None:
        if (self.name is None) != self.all:
            raise UsageError("delete: give either a NAME or --all")


@dataclass(frozen=True)
class RenameOptions:
    """`rename`."""

    name: str = option(help="the person's name", metavar="OLD", positional=True)
    new: str = option(help="the name to have from now on", metavar="NEW", positional=True)
    similar_name: bool = _similar_name_option()


@dataclass(frozen=True)
class MergeOptions:
    """`merge`."""

    name: str = option(help="who keeps the name", metavar="A", positional=True)
    other: str = option(
        help="whose samples and images join those of A; the name is gone then",
        metavar="B",
        positional=True,
    )
    same_person: bool = option(
        False, "confirm that both are the same person, although their faces look different"
    )


@dataclass(frozen=True)
class ExportOptions:
    """`export`."""

    name: str = option(help="the person's name", metavar="NAME", positional=True)
    output: Path | None = option(
        None, "the zip file", metavar="FILE", shown_default="NAME.zip in this folder"
    )


@dataclass(frozen=True)
class KeyOptions:
    """`store encrypt` and `store change-key`."""

    passphrase: bool = option(
        False,
        "derive the key from a passphrase (asked for, or taken from FACESYNC_PASSPHRASE) instead "
        "of keeping one in the keyring or a file",
    )


@dataclass(frozen=True)
class KeyFileOptions:
    """`store key export` and `store key import`."""

    file: Path = option(help="file of the key", metavar="FILE", positional=True)
    passphrase_file: Path | None = option(
        None,
        "take the passphrase that seals it from the first line of a file, instead of the terminal",
        metavar="FILE",
    )


@dataclass(frozen=True)
class BackupOptions:
    """`store backup` and `store restore`."""

    file: Path = option(help="backup file", metavar="FILE", positional=True)


@dataclass(frozen=True)
class MoveOptions:
    """`store push` and `store pull`."""

    replace: bool = option(False, "replace people of the same names")


@dataclass(frozen=True)
class FetchOptions:
    """`models fetch`."""

    name: str = option(help="the model", metavar="NAME", positional=True)


@dataclass(frozen=True)
class UseOptions:
    """`models use`."""

    name: str = option(
        help="the model, or `auto`: leave the choice to the app", metavar="NAME", positional=True
    )


COMMANDS: dict[str, tuple[type, str]] = {
    "register": (RegisterOptions, "register a person"),
    "verify": (VerifyOptions, "say who is in an image or in front of the camera"),
    "compare": (CompareOptions, "say whether two images show the same person"),
    "watch": (WatchOptions, "follow and recognise several people at once"),
    "web": (WebOptions, "open the app as a page in the browser"),
    "list": (JsonOptions, "list registered people"),
    "rename": (RenameOptions, "give a person another name"),
    "merge": (MergeOptions, "make one person of two who are registered, but are the same"),
    "delete": (DeleteOptions, "delete a person's template and images"),
    "doctor": (JsonOptions, "report what works on this machine: cameras, model, store, versions"),
    "models": (
        JsonOptions,
        "list the models that the app knows, and how good they are",
    ),
    "models fetch": (FetchOptions, "download a model"),
    "models use": (UseOptions, "choose the model that is used without --model"),
    "export": (ExportOptions, "write everything stored about a person into a zip file"),
    "store encrypt": (KeyOptions, "encrypt the store, its backup and the images"),
    "store change-key": (KeyOptions, "encrypt everything with a new key"),
    "store key export": (KeyFileOptions, "write the store's key into a file, for another machine"),
    "store key import": (KeyFileOptions, "keep the key in such a file on this machine"),
    "store decrypt": (NoOptions, "turn everything back into plain files"),
    "store adopt": (NoOptions, "trust a store that was put in place of the one saved last"),
    "store push": (MoveOptions, "copy everybody from the files to the server of --gallery"),
    "store pull": (MoveOptions, "copy everybody from the server of --gallery to the files"),
    "store check": (NoOptions, "open everything that is stored and report any damage"),
    "store backup": (BackupOptions, "save all people and images in one file"),
    "store restore": (BackupOptions, "replace the store with a backup"),
}
"""The options of each command, and what it does."""

_GROUPS = {
    "store": "encrypt, check or back up the store",
    "store key": "hand the store's key to another machine",
}


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command, and a subparser for each command."""
    _add_common_options(parser, config=True)
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    actions: dict[str, Any] = {}  # of each command that has some
    for command, (kind, what) in COMMANDS.items():
        group, _, name = command.rpartition(" ")
        if group in _GROUPS and group not in actions:
            above, _, last = group.rpartition(" ")
            parent = actions[above] if above else commands
            inner = parent.add_parser(last, help=_GROUPS[group])
            actions[group] = inner.add_subparsers(metavar="ACTION", required=True)
        described = f"{what[0].upper()}{what[1:]}."
        place = actions[group] if group else commands
        leaf = place.add_parser(name, help=what, description=described)
        leaf.set_defaults(command=command)
        options.add_options(leaf, kind, config=False)
        _add_common_options(leaf, config=False)
        if command == "models":
            actions[command] = leaf.add_subparsers(metavar="ACTION", title="actions")


def _add_common_options(parser: argparse.ArgumentParser, *, config: bool) -> None:
    group: Any = parser.add_argument_group("options of all commands")
    options.add_options(group, AppSettings, config=config)


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> tuple[AppSettings, str | None, Any]:
    """Parse a command line: the settings, the command (None for the menu) and its options."""
    args = parser.parse_args(argv)
    settings = make_settings(parser, AppSettings, args)
    in_file = options.read_config(args.config, AppSettings) if "config" in args else {}
    settings = replace(settings, given=frozenset(vars(args)) | frozenset(in_file))
    if args.command is None:
        return settings, None, None
    given = argparse.Namespace(**{k: v for k, v in vars(args).items() if k != "config"})
    return settings, args.command, make_settings(parser, COMMANDS[args.command][0], given)
