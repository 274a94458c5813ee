"""The commands of the app, by name: each takes its options and returns an exit code.

What only one of them needs is imported there: the window, the menu and the camera would cost a
command without them a third of its start.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from facesync import cli
from facesync.app import (
    console,
    key_commands,
    model_commands,
    people_commands,
    store_commands,
)
from facesync.app.results import compare, of_decision, of_images, of_outage
from facesync.app.session import Session
from facesync.app.settings import (
    AppSettings,
    CompareOptions,
    DeleteOptions,
    JsonOptions,
    MoveOptions,
    RegisterOptions,
    VerifyOptions,
    WatchOptions,
)
from facesync.app.verification import ImageDecision, Verification
from facesync.errors import FaceSyncError, ImageError, UsageError
from facesync.gallery import moving
from facesync.gallery.registration import Registration
from facesync.gallery.store import Gallery

if TYPE_CHECKING:
    from facesync.app.menu import Serve

log = logging.getLogger(__name__)


def run(settings: AppSettings, command: str | None, options: Any, *, serve: Serve) -> int:
    """Run the given command, or the menu if there is none; `serve` serves the page."""
    session = Session(settings)
    with closing(session.gallery):
        return _run(session, command, options, serve)


def _run(session: Session, command: str | None, options: Any, serve: Serve) -> int:
    if command is None:
        from facesync.app.menu import Menu

        return Menu(session, serve).run()
    if command == "web":
        return serve(session, options)
    if command in key_commands.COMMANDS:
        return key_commands.COMMANDS[command](session.gallery, options)
    if command in store_commands.COMMANDS:
        return store_commands.COMMANDS[command](session.gallery, options)
    if command in model_commands.COMMANDS:
        return model_commands.COMMANDS[command](session.settings, options)
    return COMMANDS[command](session, options)


def _push(session: Session, options: MoveOptions) -> int:
    _copy(session, session.gallery_in_files(), session.gallery, options)
    return cli.DONE


def _pull(session: Session, options: MoveOptions) -> int:
    _copy(session, session.gallery, session.gallery_in_files(), options)
    return cli.DONE


def _copy(session: Session, source: Gallery, target: Gallery, options: MoveOptions) -> None:
    if session.settings.gallery is None:
        raise UsageError("store push, store pull: name the server with --gallery postgresql://…")
    people = cli.count(
        len(moving.copy(source, target, overwrite=options.replace)), "person", "people"
    )
    print(f"{people} copied from {source.where} to {target.where}")
    print(f"{source.where} still has them; `delete --all` there removes everybody")


def _register(session: Session, options: RegisterOptions) -> int:
    from facesync.app import flows, registering

    request = Registration(
        options.name, options.replace, options.add, options.same_person, options.similar_name
    )
    ask = console.confirm if sys.stdin.isatty() else None
    common = session.gallery, session.recognizer, request
    if options.images:
        registering.register_images(*common, options.images, ask)
    elif _has_window(session, options.no_window):
        return cli.DONE if flows.register(session, request, ask) else cli.FAILED
    else:
        watch = partial(flows.presence, session)
        registering.register_camera(*common, session.open_camera, ask, watch)
    return cli.DONE


def _verify(session: Session, options: VerifyOptions) -> int:
    verification = session.verification(options.name)
    try:
        if options.image:
            code = _verify_images(session, verification, options)
            if not options.json and console.terminal():
                from facesync.app.flows import offer_sample

                offer_sample(session)
            return code
        # A program that reads JSON asks on behalf of nobody who looks at a window.
        if _has_window(session, options.no_window or options.json):
            from facesync.app import flows

            accepted = flows.verify(session, verification, verification.looks(options.frames))
            return cli.DONE if accepted else cli.FAILED
        prompts = sys.stderr if options.json else sys.stdout
        say = partial(print, file=prompts, flush=True)
        decision = verification.camera(session.open_camera, options.frames, say)
    except FaceSyncError as error:
        if not options.json:
            raise
        decision = verification.refused(str(error))
        if options.image:
            results = [ImageDecision(path, decision) for path in options.image]
            return _print_images(session, results)
    if options.json:
        console.print_json(of_decision(decision, session.recognizer) | of_outage(session.gallery))
    else:
        print(console.in_words(decision))
    return cli.DONE if decision.accepted else cli.FAILED


def _verify_images(session: Session, verification: Verification, options: VerifyOptions) -> int:
    results = []
    for path in options.image:
        try:
            results.append(verification.image(path, main_face=options.main_face))
        except FaceSyncError as error:
            # What goes wrong before any image is compared, such as an empty store, ends it all.
            if len(options.image) == 1 or not (results or isinstance(error, ImageError)):
                raise
            results.append(ImageDecision(path, verification.refused(str(error))))
        if not options.json:
            prefix = f"{path}: " if len(options.image) > 1 else ""
            decision = results[-1].decision
            # An image that cannot be read is named in the reason already.
            shown = replace(decision, reason=decision.reason.removeprefix(prefix))
            print(f"{prefix}{console.in_words(shown)}")
            _show_faces(results[-1])
    if options.json:
        return _print_images(session, results)
    return cli.DONE if all(result.decision.accepted for result in results) else cli.FAILED


def _show_faces(result: ImageDecision) -> None:
    """Print a line for each face, if there are several."""
    if len(result.faces) > 1:
        for face, decision in result.faces:
            left, top, right, bottom = (round(float(value)) for value in face.box_xyxy)
            who = decision.name or "unknown"
            print(f"  {who} at ({left}, {top})-({right}, {bottom}): {decision.reason}")


def _print_images(session: Session, results: Sequence[ImageDecision]) -> int:
    """Print the decisions of one or several images as one line of JSON."""
    data = of_images(results, session.recognizer) | of_outage(session.gallery)
    console.print_json(data)
    return cli.DONE if data["accepted"] else cli.FAILED


def _compare(session: Session, options: CompareOptions) -> int:
    recognizer = session.recognizer
    try:
        found = compare(recognizer, options.first, options.second)
    except FaceSyncError as error:
        if not options.json:
            raise
        nothing = dict.fromkeys(("similarity", "probability"))
        nothing["threshold"] = recognizer.threshold_if_any()
        found = {**nothing, "same_person": False, "reason": str(error), **recognizer.trust()}
    if options.json:
        console.print_json(found)
    else:
        print(found["reason"])
    return cli.DONE if found["same_person"] else cli.FAILED


def _list(session: Session, options: JsonOptions) -> int:
    if options.json:
        console.print_json(console.people_data(session.gallery, session.recognizer))
    else:
        console.list_people(session.gallery, session.recognizer)
    return cli.DONE


def _delete(session: Session, options: DeleteOptions) -> int:
    if not options.yes and not sys.stdin.isatty():
        raise UsageError(
            "delete: there is no terminal to ask on; use --yes to delete without asking"
        )
    return store_commands.delete(session.gallery, options)


def _watch(session: Session, options: WatchOptions) -> int:
    from facesync.app.watch import watch_camera, watch_window
    from facesync.app.window import why_no_window

    watcher = session.watcher()
    reason = "--no-window" if options.no_window else why_no_window()
    if reason:
        log.info("No window: %s. Printing who appears; press Ctrl-C to stop", reason)
        watch_camera(watcher, session.open_camera, options, session.settings.camera)
    else:
        watch_window(watcher, session.open_camera, options, session.settings.camera)
    return cli.DONE


def _has_window(session: Session, no_window: bool) -> bool:
    """Whether to open a window for the camera: not for images, which are used as photographs."""
    if no_window or session.has_images():
        return False
    from facesync.app.window import why_no_window

    reason = why_no_window()
    if reason:
        log.info("No window: %s. Using the camera without one.", reason)
    return reason is None


def _doctor(session: Session, options: JsonOptions) -> int:
    from facesync.app import doctor

    facts = doctor.examine(session.settings, session.gallery, session.recognizer)
    if options.json:
        console.print_json(facts)
    else:
        print(doctor.in_words(facts))
    return cli.FAILED if facts["faults"] else cli.DONE


COMMANDS: dict[str, Callable[[Session, Any], int]] = {
    "register": _register,
    "verify": _verify,
    "compare": _compare,
    "list": _list,
    "rename": people_commands.rename,
    "merge": people_commands.merge,
    "delete": _delete,
    "watch": _watch,
    "doctor": _doctor,
    "store push": _push,
    "store pull": _pull,
}
