"""The command line of the app; its defaults are those of `AppSettings`.

Imports nothing heavy, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facesync.app.settings import VERIFY_FRAMES, AppSettings
from facesync.app.store_commands import add_export_parser, add_store_parsers
from facesync.options import positive_int, rate


def threshold(text: str) -> float:
    """Argparse type: a cosine similarity above -1 and up to 1."""
    value = float(text)
    if not -1 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above -1 and at most 1")
    return value


def margin(text: str) -> float:
    """Argparse type: a difference of similarities, 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what may stand before as well as after the command."""
    options = parser.add_argument_group("options of every command")

    def add(flag: str, **described: Any) -> None:
        # Not given after the command must not undo what was given before it: such an option is
        # left out, and its default is the one of AppSettings.
        options.add_argument(flag, default=argparse.SUPPRESS, **described)

    add(
        "--model",
        metavar="FILE|vggface2|embedded",
        help="what embeds faces (default: models/best_face_model.pth, else the VGGFace2 weights)",
    )
    add(
        "--embeddings",
        type=Path,
        metavar="FILE",
        help=f"the store of registered faces (default: {AppSettings.embeddings})",
    )
    add(
        "--faces",
        type=Path,
        metavar="DIR",
        help=f"folder of their sample images (default: {AppSettings.faces})",
    )
    add(
        "--threshold",
        type=threshold,
        metavar="F",
        help="cosine similarity that accepts (default: by --fmr where the model is calibrated, "
        "else the model's own, else 0.6)",
    )
    add(
        "--fmr",
        type=rate,
        metavar="F",
        help="how often a stranger may be taken for somebody registered; the threshold follows "
        f"from it by the model's calibration (default: {AppSettings.fmr:g})",
    )
    add(
        "--margin",
        type=margin,
        metavar="F",
        help="how much more similar than the second the best must be, else the face is unknown "
        f"(default: {AppSettings.margin})",
    )
    add(
        "--camera",
        metavar="SOURCE",
        help="a number, a video, an image, a folder of images or a stream address "
        f"(default: {AppSettings.camera}, the first camera)",
    )
    add("--offline", action="store_true", help="open no connection")
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help=f"where to compute (default: {AppSettings.device})",
    )
    add(
        "--no-encrypt",
        dest="encrypt",
        action="store_false",
        help="leave a store that is not encrypted so (FACESYNC_PASSPHRASE, else the keyring or a "
        "key file, has the key of one that is)",
    )
    add(
        "--audit-log",
        type=Path,
        metavar="FILE",
        help="add a line of JSON for every verification, without images (default: none)",
    )


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the options and a subparser for each command of `facesync.app.commands`."""
    add_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for add_command in (_register, _verify, _watch, _list, _delete, _doctor):
        add_options(add_command(commands))
    for parser in (add_export_parser(commands), *add_store_parsers(commands)):
        add_options(parser)


def _register(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("register", help="register a person")
    parser.add_argument("name", metavar="NAME", help="the person's name")
    parser.add_argument(
        "--images", nargs="+", type=Path, metavar="FILE", help="images of them; else the camera"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--replace", action="store_true", help="register anew who is registered already"
    )
    existing.add_argument(
        "--add", action="store_true", help="add samples to who is registered already"
    )
    parser.add_argument(
        "--same-person",
        action="store_true",
        help="it is one person, though the face is stored under another name or looks different",
    )
    return parser


def _verify(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "verify", help="say who is in an image or before the camera"
    )
    parser.add_argument("--image", type=Path, metavar="FILE", help="an image; else the camera")
    parser.add_argument("--name", help="accept this person only")
    parser.add_argument(
        "--frames",
        type=positive_int,
        default=VERIFY_FRAMES,
        metavar="N",
        help="frames of a camera to look at; more than half must agree (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the decision as JSON")
    return parser


def _watch(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "watch", help="say who is in view, several people at once"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="a video of what is shown")
    parser.add_argument(
        "--events", type=Path, metavar="FILE", help="who appeared when, a line of JSON each; added"
    )
    parser.add_argument("--no-window", action="store_true", help="print who appears instead")
    return parser


def _list(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser("list", help="list who is registered")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    return parser


def _delete(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "delete", help="forget a person: template and images"
    )
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("name", metavar="NAME", nargs="?", help="the person's name")
    whom.add_argument("--all", action="store_true", help="everybody, and the store itself")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _doctor(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor", help="say what works here: cameras, model, store, versions"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    return parser
