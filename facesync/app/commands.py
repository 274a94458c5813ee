"""The commands of the app, by name: each takes what was typed and returns an exit code."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from functools import partial

from facesync import cli
from facesync.app import cameras, doctor, flows, registering, store_commands
from facesync.app.menu import Menu, confirm, confirm_delete
from facesync.app.settings import AppSettings
from facesync.app.watch import watch_camera, watch_window
from facesync.app.watching import Watcher
from facesync.app.window import why_no_window
from facesync.errors import FaceSyncError, UsageError
from facesync.faces.recognizer import Recognizer
from facesync.gallery import attempts, audit_log
from facesync.gallery.matching import Decision, refused
from facesync.gallery.registration import Registration
from facesync.gallery.store import Gallery

log = logging.getLogger(__name__)


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
        self.gallery = Gallery(settings.embeddings, settings.faces, encrypt=settings.encrypt)
        self.recognizer = Recognizer(settings)
        self.open_camera = partial(cameras.open_camera, settings.camera, offline=settings.offline)


def run(settings: AppSettings, args: argparse.Namespace) -> int:
    """Run the command that was typed, or the menu where none was."""
    session = Session(settings)
    if args.command is None:
        return Menu(settings, session.gallery, session.recognizer).run()
    return COMMANDS[args.command](session, args)


def _register(session: Session, args: argparse.Namespace) -> int:
    request = Registration(
        args.name,
        replace=args.replace,
        add=args.add,
        same_person=args.same_person,
    )
    ask = confirm if sys.stdin.isatty() else None
    common = session.gallery, session.recognizer, request
    if args.images:
        registering.register_images(*common, args.images, ask)
    else:
        registering.register_camera(*common, session.open_camera, ask)
    return cli.DONE


def _verify(session: Session, args: argparse.Namespace) -> int:
    recognizer, margin = session.recognizer, session.settings.margin
    try:
        people = flows.candidates(session.gallery, recognizer, args.name)
        if args.name is not None:
            attempts.check(session.gallery.path, args.name)
        if args.image:
            decision = flows.verify_image(recognizer, people, args.image, margin)
        else:
            decision = flows.verify_camera(
                recognizer, people, session.open_camera, margin, args.frames
            )
        if args.name is not None and decision.similarity is not None:
            attempts.record(session.gallery.path, args.name, decision.accepted)
    except FaceSyncError as error:
        decision = refused(str(error), recognizer.threshold)
        if not args.json:
            _note(session, decision, args.name)
            raise
    _note(session, decision, args.name)
    if args.json:
        print(flows.decision_json(decision))
    else:
        flows.show_decision(decision)
    return cli.DONE if decision.accepted else cli.FAILED


def _note(session: Session, decision: Decision, asked: str | None) -> None:
    if session.settings.audit_log is not None:
        audit_log.append(session.settings.audit_log, decision, asked)


def _list(session: Session, args: argparse.Namespace) -> int:
    if args.json:
        print(flows.people_json(session.gallery))
    else:
        flows.list_people(session.gallery)
    return cli.DONE


def _delete(session: Session, args: argparse.Namespace) -> int:
    if args.all:
        return store_commands.delete_all(session.gallery, args, confirm)
    if not args.yes:
        if not sys.stdin.isatty():
            raise UsageError("delete: no terminal to ask on; --yes deletes without asking")
        if not confirm_delete(session.gallery, args.name):
            return cli.FAILED
    flows.delete(session.gallery, args.name)
    return cli.DONE


def _watch(session: Session, args: argparse.Namespace) -> int:
    people = flows.known(session.gallery, session.recognizer)
    watcher = Watcher(session.recognizer, people, session.settings.margin)
    reason = "--no-window" if args.no_window else why_no_window()
    if reason:
        log.info("No window (%s): who appears is printed; Ctrl-C ends", reason)
        watch_camera(watcher, session.open_camera, args.record, args.events)
    else:
        watch_window(watcher, session.open_camera, args.record, args.events)
    return cli.DONE


def _doctor(session: Session, args: argparse.Namespace) -> int:
    facts = doctor.examine(session.settings, session.gallery, session.recognizer)
    print(json.dumps(facts) if args.json else doctor.in_words(facts))
    return cli.DONE


COMMANDS: dict[str, Callable[[Session, argparse.Namespace], int]] = {
    "register": _register,
    "verify": _verify,
    "list": _list,
    "delete": _delete,
    "watch": _watch,
    "doctor": _doctor,
    "store": lambda session, args: store_commands.store(session.gallery, args),
    "export": lambda session, args: store_commands.export(session.gallery, args),
}
