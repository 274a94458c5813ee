"""Register faces and verify them: a menu with a camera window, or commands for programs.

  python faceid_app.py                                    # the menu
  python faceid_app.py register "Ada" --images a.jpg b.jpg
  python faceid_app.py register "Ada" --camera clip.mp4
  python faceid_app.py verify --image x.jpg               # exit code 0: known, 1: not
  python faceid_app.py verify --image x.jpg --name Ada --json
  python faceid_app.py list
  python faceid_app.py delete "Ada" --yes

Options stand before or after the command. Exit codes: 0 accepted or done, 1 not accepted or
failed, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from facesync import cli
from facesync.app.settings import AppSettings
from facesync.errors import FaceSyncError


def threshold(text: str) -> float:
    """Argparse type: a cosine similarity above -1 and up to 1."""
    value = float(text)
    if not -1 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above -1 and at most 1")
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
        help=f"folder of their sample pictures (default: {AppSettings.faces})",
    )
    add(
        "--threshold",
        type=threshold,
        metavar="F",
        help="cosine similarity that accepts (default: the model's own, else 0.6)",
    )
    add(
        "--camera",
        metavar="SOURCE",
        help="a number, a video, a picture, a folder of pictures or a stream address "
        f"(default: {AppSettings.camera}, the first camera)",
    )
    add("--offline", action="store_true", help="open no connection")
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help=f"where to compute (default: {AppSettings.device})",
    )


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = cli.parser(__doc__)
    add_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    register = commands.add_parser("register", help="register a person")
    register.add_argument("name", metavar="NAME", help="the person's name")
    register.add_argument(
        "--images", nargs="+", type=Path, metavar="FILE", help="pictures of them; else the camera"
    )
    register.add_argument(
        "--replace", action="store_true", help="register anew who is registered already"
    )

    verify = commands.add_parser("verify", help="say who is in a picture or before the camera")
    verify.add_argument("--image", type=Path, metavar="FILE", help="a picture; else the camera")
    verify.add_argument("--name", help="accept this person only")
    verify.add_argument("--json", action="store_true", help="print the decision as JSON")

    listing = commands.add_parser("list", help="list who is registered")
    listing.add_argument("--json", action="store_true", help="print the list as JSON")

    delete = commands.add_parser("delete", help="forget a person: template and pictures")
    delete.add_argument("name", metavar="NAME", help="the person's name")
    delete.add_argument("--yes", action="store_true", help="do not ask")

    for command in (register, verify, listing, delete):
        add_options(command)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or the menu where none is given."""
    parser = build_parser()
    args = parser.parse_args(argv)
    known = {field.name for field in fields(AppSettings)}
    settings = AppSettings(**{k: v for k, v in vars(args).items() if k in known})

    from facesync.app import cameras, flows
    from facesync.app.recognizer import Recognizer
    from facesync.gallery.matching import refused
    from facesync.gallery.store import Gallery

    gallery = Gallery(settings.embeddings, settings.faces)
    recognizer = Recognizer(settings)
    camera = partial(cameras.open_camera, settings.camera, offline=settings.offline)

    if args.command == "register":
        if args.images:
            flows.register_images(gallery, recognizer, args.name, args.images, replace=args.replace)
        else:
            flows.register_camera(gallery, recognizer, args.name, camera, replace=args.replace)
        return cli.DONE

    if args.command == "verify":
        try:
            people = flows.candidates(gallery, recognizer, args.name)
            if args.image:
                decision = flows.verify_image(recognizer, people, args.image)
            else:
                decision = flows.verify_camera(recognizer, people, camera)
        except FaceSyncError as error:
            if not args.json:
                raise
            decision = refused(str(error), recognizer.threshold)
        if args.json:
            print(flows.decision_json(decision))
        else:
            flows.show_decision(decision)
        return cli.DONE if decision.accepted else cli.FAILED

    if args.command == "list":
        if args.json:
            print(flows.people_json(gallery))
        else:
            flows.list_people(gallery)
        return cli.DONE

    if args.command == "delete":
        if not args.yes:
            from facesync.app.menu import confirm_delete

            if not sys.stdin.isatty():
                parser.error("delete: no terminal to ask on; --yes deletes without asking")
            if not confirm_delete(gallery, args.name):
                return cli.FAILED
        flows.delete(gallery, args.name)
        return cli.DONE

    from facesync.app.menu import Menu

    return Menu(settings, gallery, recognizer).run()


if __name__ == "__main__":
    sys.exit(main())
