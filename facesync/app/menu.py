"""The numbered menu: does what the commands do, in a camera window if one can be opened."""

from __future__ import annotations

from dataclasses import replace

from facesync import cli
from facesync.app import console, registering, store_commands
from facesync.app.console import confirm
from facesync.app.screens import RegisterScreen, Screen, VerifyScreen
from facesync.app.session import Session
from facesync.app.settings import DeleteOptions, WatchOptions
from facesync.app.watch import watch_camera, watch_window
from facesync.app.window import Window, run, why_no_window
from facesync.errors import FaceSyncError
from facesync.gallery.enrolment import SAMPLES, Enrolment
from facesync.gallery.matching import comparable
from facesync.gallery.people import clean_name
from facesync.gallery.registration import Doubt, Registration


class Menu:
    """Asks what to do, until the answer is to leave."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._gallery = session.gallery
        self._recognizer = session.recognizer
        self._choices = {
            "1": ("Register a person", self._register),
            "2": ("Verify", self._verify),
            "3": ("List people", self._list),
            "4": ("Delete a person", self._delete),
            "5": ("Watch who is in view", self._watch),
        }

    def run(self) -> int:
        """Show the menu until 6, q or the end of input; errors lead back to it."""
        while True:
            self._header()
            try:
                choice = input("Choose 1-6: ").strip()
                if choice in ("6", "q", "Q"):
                    return cli.DONE
                if choice in self._choices:
                    _, action = self._choices[choice]
                    action()
                else:
                    print("Please type a number from 1 to 6.")
            except EOFError:
                print()
                return cli.DONE
            except FaceSyncError as error:
                print(f"error: {error}")
            except OSError as error:
                print(f"error: {cli.describe_os_error(error)}")

    def _header(self) -> None:
        recognizer = self._recognizer
        compared = 0
        try:
            people = self._gallery.people()
            known = f"{cli.count(len(people), 'person', 'people')} in {self._gallery.path}"
            if recognizer.loaded:
                compared = len(comparable(people, recognizer.fingerprint))
        except FaceSyncError as error:
            known = str(error)
        print("\nFaceSync")
        print(f"  model      {recognizer.model_in_words}")
        print(f"  threshold  {recognizer.threshold_in_words(compared)}")
        print(f"  known      {known}\n")
        for number, (what, _) in self._choices.items():
            print(f"  {number}  {what}")
        print("  6  Exit\n")

    def _register(self) -> None:
        name = clean_name(input("Name (Enter to go back): "))
        if not name:
            return
        request = Registration(name)
        taken = self._gallery.find(name)
        if taken:
            answer = input(
                f"{taken.name} is already registered: [a]dd samples, [r]eplace the old ones, or "
                "Enter to go back? "
            )
            what = answer.strip().casefold()[:1]
            if what not in ("a", "r"):
                return
            request = replace(request, add=what == "a", replace=what == "r")
        common = self._gallery, self._recognizer, request
        if not self._has_window():
            registering.register_camera(*common, self._session.open_camera, confirm)
            return
        request = registering.begin(*common, confirm)
        print("Samples are taken automatically; press C to take one at once, or Q to cancel.")
        enrolment = Enrolment(self._recognizer.threshold)
        try:
            shown = self._register_in_window(request, enrolment)
        except Doubt as doubt:  # asked here, where there is a keyboard to answer with
            request = registering.settled(request, doubt, confirm)
            if len(enrolment) == SAMPLES:
                registering.store(self._gallery, self._recognizer, request, enrolment, confirm)
                return
            shown = self._register_in_window(request, enrolment)  # from the second sample on
        if not shown:
            print(f"Cancelled: {name} is not registered.")

    def _register_in_window(self, request: Registration, enrolment: Enrolment) -> bool:
        common = self._gallery, self._recognizer, request
        return self._show(
            RegisterScreen(
                clean_name(request.name),
                enrolment,
                save=lambda samples: registering.store(*common, samples),
                first=lambda sample: registering.first_sample(*common, sample),
            )
        )

    def _verify(self) -> None:
        verification = self._session.verification()
        if self._has_window():
            verification.begin()
            print("Press V in the window to verify, Q to go back to the menu.")
            self._show(VerifyScreen(verification))
        else:
            print(console.in_words(verification.camera(self._session.open_camera)))

    def _watch(self) -> None:
        watcher = self._session.watcher()
        if self._has_window():
            print("Press Q in the window to go back to the menu.")
            watch_window(watcher, self._session.open_slideshow, WatchOptions())
        else:
            watch_camera(watcher, self._session.open_camera, WatchOptions())

    def _list(self) -> None:
        console.list_people(self._gallery, self._recognizer)

    def _delete(self) -> None:
        name = input("Name (Enter to go back): ")
        if clean_name(name):
            store_commands.delete(self._gallery, DeleteOptions(name))

    def _has_window(self) -> bool:
        reason = why_no_window()
        if reason:
            print(f"No window: {reason}. Using the camera without one.")
        return reason is None

    def _show(self, screen: Screen) -> bool:
        return run(
            Window(),
            self._session.open_slideshow,
            lambda frame: self._recognizer.look(frame.image_rgb),
            screen,
        )
