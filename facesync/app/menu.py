"""The numbered menu: does what the commands do, in a camera window if one can be opened."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from glob import glob
from pathlib import Path
from typing import TypeAlias

from facesync import cli
from facesync.app import console, flows, people_commands, registering, store_commands
from facesync.app.cameras import KINDS, open_camera
from facesync.app.console import confirm
from facesync.app.doctor import shown_source
from facesync.app.session import Session
from facesync.app.settings import (
    DeleteOptions,
    ExportOptions,
    MergeOptions,
    RenameOptions,
    WatchOptions,
    WebOptions,
)
from facesync.app.verify_screen import VerifyScreen
from facesync.app.watch import watch_camera, watch_window
from facesync.app.window import why_no_window
from facesync.errors import CameraError, FaceSyncError
from facesync.gallery.matching import comparable
from facesync.gallery.people import clean_name, name_key
from facesync.gallery.registration import Registration

Serve: TypeAlias = Callable[[Session, WebOptions], int]
"""Serves the page until it is stopped; returns an exit code."""


class Menu:
    """Asks what to do, until the answer is to leave."""

    def __init__(self, session: Session, serve: Serve) -> None:
        self._session = session
        self._serve = serve
        self._gallery = session.gallery
        self._recognizer = session.recognizer
        self._choices: dict[str, tuple[str, Callable[[], object]]] = {
            "1": ("Register a person with the camera", self._register),
            "2": ("Verify", self._verify),
            "3": ("List people", self._list),
            "4": ("Delete a person", self._delete),
            "5": ("Watch who is in view", self._watch),
            "6": ("Register a person from images", self._register_images),
            "7": ("Export what is stored about a person", self._export),
            "8": ("Rename or merge people", self._rename),
            "9": ("Choose the camera", self._choose_camera),
            "10": ("Open the page in the browser", self._open_page),
        }
        self._exit = str(len(self._choices) + 1)

    def run(self) -> int:
        """Show the menu until it is left: with the last number, q, Ctrl-C or the end of input.

        Errors, and Ctrl-C in what was chosen, lead back to it.
        """
        while True:
            try:
                self._header()
                choice = input(f"Choose 1-{self._exit}: ").strip()
            except (EOFError, KeyboardInterrupt):
                print()
                return cli.DONE
            if choice in (self._exit, "q", "Q"):
                return cli.DONE
            if choice not in self._choices:
                print(f"Please type a number from 1 to {self._exit}.")
                continue
            _, action = self._choices[choice]
            try:
                action()
            except EOFError:
                print()
                return cli.DONE
            except KeyboardInterrupt:
                print("\nInterrupted: back to the menu.")
            except FaceSyncError as error:
                print(f"error: {error}")
            except OSError as error:
                print(f"error: {cli.describe_os_error(error)}")

    def _header(self) -> None:
        recognizer = self._recognizer
        compared = 0
        try:
            people = self._gallery.people()
            known = f"{cli.count(len(people), 'person', 'people')} in {self._gallery.where}"
            if recognizer.loaded:
                compared = len(comparable(people, recognizer.fingerprint))
        except FaceSyncError as error:
            known = str(error)
        print("\nFaceSync")
        print(f"  model      {recognizer.model_in_words}")
        print(f"  threshold  {recognizer.threshold_in_words(compared)}")
        print(f"  camera     {shown_source(self._session.settings.camera)}")
        print(f"  known      {known}\n")
        for number, (what, _) in self._choices.items():
            print(f"  {number:>2}  {what}")
        print(f"  {self._exit:>2}  Exit\n")

    def _register(self) -> None:
        request = self._ask_who()
        if request is None:
            return
        if self._has_window():
            flows.register(self._session, request, confirm)
        else:
            common = self._gallery, self._recognizer, request
            watch = partial(flows.presence, self._session)
            registering.register_camera(*common, self._session.open_camera, confirm, watch)

    def _register_images(self) -> None:
        request = self._ask_who()
        if request is None:
            return
        line = input(
            "Images of this person, three or more; you can drag them here (Enter to go back): "
        )
        images = [Path(path) for path in _paths(line)]
        if images:
            common = self._gallery, self._recognizer, request
            registering.register_images(*common, images, confirm)

    def _ask_who(self) -> Registration | None:
        """Ask for a name, and if it is taken, what to do; None to go back."""
        name = clean_name(input("Name (Enter to go back): "))
        if not name:
            return None
        request = Registration(name)
        taken = self._gallery.find(name)
        if taken is None:
            return request
        answer = input(
            f"{taken.name} is already registered: [a]dd samples, [r]eplace the old ones, or "
            "Enter to go back? "
        )
        what = answer.strip().casefold()[:1]
        if what not in ("a", "r"):
            return None
        return replace(request, add=what == "a", replace=what == "r")

    def _verify(self) -> None:
        verification = self._session.verification()
        if self._has_window():
            verification.begin()
            print("Press V in the window to verify, Q to go back to the menu.")
            flows.show(self._session, VerifyScreen(verification))
        else:
            print(console.in_words(verification.camera(self._session.open_camera)))
        flows.offer_sample(self._session)

    def _watch(self) -> None:
        watcher = self._session.watcher()
        if self._has_window():
            print("Press Q in the window to go back to the menu.")
            watch_window(watcher, self._session.open_slideshow, WatchOptions())
        else:
            print("Press Ctrl-C to go back to the menu.")
            watch_camera(watcher, self._session.open_camera, WatchOptions())

    def _list(self) -> None:
        console.list_people(self._gallery, self._recognizer)

    def _delete(self) -> None:
        name = self._ask_whom()
        if name:
            store_commands.delete(self._gallery, DeleteOptions(name))

    def _export(self) -> None:
        name = self._ask_whom()
        if name:
            line = input("Zip file (Enter for one in this folder, named after the person): ")
            file = " ".join(_paths(line))
            options = ExportOptions(name, Path(file) if file else None)
            store_commands.COMMANDS["export"](self._gallery, options)

    def _rename(self) -> None:
        name = self._ask_whom()
        if not name:
            return
        new = clean_name(input("New name, or that of the same person (Enter to go back): "))
        if not new:
            return
        other = self._gallery.find(new)
        if other is None or name_key(new) == name_key(name):
            people_commands.rename(self._session, RenameOptions(name, new))
        elif confirm(f"Are {name} and {other.name} one person, to be called {other.name}?"):
            people_commands.merge(self._session, MergeOptions(other.name, name))

    def _ask_whom(self) -> str:
        """Show everybody in a numbered list and ask for one; empty to go back."""
        people = self._gallery.people()
        if not people:
            print(f"Nobody is registered in {self._gallery.where}.")
            return ""
        names = {str(number): person.name for number, person in enumerate(people, 1)}
        for number, name in names.items():
            print(f"  {number:>3}  {name}")
        answer = clean_name(input("Number or name (Enter to go back): "))
        return names.get(answer, answer)

    def _choose_camera(self) -> None:
        settings = self._session.settings
        source = " ".join(_paths(input(f"The camera: {KINDS} (Enter to go back): ")))
        if not source:
            return
        print("Trying it …")
        with open_camera(source, offline=settings.offline) as camera:
            if camera.read() is None:
                raise CameraError(f"{shown_source(source)} delivers no frames")
        self._session.settings = replace(settings, camera=source)

    def _open_page(self) -> None:
        self._serve(self._session, WebOptions())

    def _has_window(self) -> bool:
        reason = why_no_window()
        if reason:
            print(f"No window: {reason}. Using the camera without one.")
        return reason is None


def _paths(line: str) -> tuple[str, ...]:
    """Split a line into paths, as typed or as a terminal writes files that are dragged into it."""
    line = line.replace("\0", "").strip()
    whole = os.path.expanduser(line)
    if not line or os.path.exists(whole):
        return (whole,) if line else ()
    try:
        words = shlex.split(line, posix=os.name != "nt")
    except ValueError:  # a single quote, as in O'Brien.jpg
        words = [line]
    paths = [os.path.expanduser(word.strip('"')) for word in words]
    # Patterns, which a shell would have expanded; names may have brackets, too.
    return tuple(
        one
        for path in paths
        for one in ([path] if os.path.exists(path) else sorted(glob(path)) or [path])
    )
