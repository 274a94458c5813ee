"""The commands of the app, by name: each takes what was typed and returns an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

from facesync import cli
from facesync.app import cameras, flows
from facesync.app.menu import Menu, confirm_delete
from facesync.app.recognizer import Recognizer
from facesync.app.settings import AppSettings
from facesync.errors import FaceSyncError, UsageError
from facesync.gallery.matching import refused
from facesync.gallery.store import Gallery


class Session:
    """What every command works on.

    Attributes:
        settings: of this run.
        gallery: who is registered.
        recognizer: the models, loaded when first needed.
        open_camera: opens the camera that the settings name.
    """

    def __init__(self, settings: AppSettings) -> None:
        self.settings = settings
        self.gallery = Gallery(settings.embeddings, settings.faces)
        self.recognizer = Recognizer(settings)
        self.open_camera = partial(cameras.open_camera, settings.camera, offline=settings.offline)


def run(settings: AppSettings, args: argparse.Namespace) -> int:
    """Run the command that was typed, or the menu where none was."""
    session = Session(settings)
    if args.command is None:
        return Menu(settings, session.gallery, session.recognizer).run()
    return COMMANDS[args.command](session, args)


def _register(session: Session, args: argparse.Namespace) -> int:
    common = session.gallery, session.recognizer, args.name
    if args.images:
        flows.register_images(*common, args.images, replace=args.replace)
    else:
        flows.register_camera(*common, session.open_camera, replace=args.replace)
    return cli.DONE


def _verify(session: Session, args: argparse.Namespace) -> int:
    recognizer = session.recognizer
    try:
        people = flows.candidates(session.gallery, recognizer, args.name)
        if args.image:
            decision = flows.verify_image(recognizer, people, args.image)
        else:
            decision = flows.verify_camera(recognizer, people, session.open_camera)
    except FaceSyncError as error:
        if not args.json:
            raise
        decision = refused(str(error), recognizer.threshold)
    if args.json:
        print(flows.decision_json(decision))
    else:
        flows.show_decision(decision)
    return cli.DONE if decision.accepted else cli.FAILED


def _list(session: Session, args: argparse.Namespace) -> int:
    if args.json:
        print(flows.people_json(session.gallery))
    else:
        flows.list_people(session.gallery)
    return cli.DONE


def _delete(session: Session, args: argparse.Namespace) -> int:
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError("delete: no terminal to ask on; --yes deletes without asking")
        if not confirm_delete(session.gallery, args.name):
            return cli.FAILED
    flows.delete(session.gallery, args.name)
    return cli.DONE


COMMANDS: dict[str, Callable[[Session, argparse.Namespace], int]] = {
    "register": _register,
    "verify": _verify,
    "list": _list,
    "delete": _delete,
}
