"""The numbered menu: the same flows as the commands, with a camera window where one can open."""

from __future__ import annotations

from facesync.app import flows
from facesync.app.cameras import Camera, open_camera
from facesync.app.enrolment import Enrolment
from facesync.app.recognizer import Recognizer
from facesync.app.screens import RegisterScreen, Screen, VerifyScreen
from facesync.app.settings import AppSettings
from facesync.app.window import Window, run, why_no_window
from facesync.cli import DONE, describe_os_error
from facesync.errors import FaceSyncError
from facesync.gallery.store import Gallery, clean_name


class Menu:
    """Asks what to do, until the answer is to leave."""

    def __init__(self, settings: AppSettings, gallery: Gallery, recognizer: Recognizer) -> None:
        self._settings = settings
        self._gallery = gallery
        self._recognizer = recognizer
        self._choices = {
            "1": ("Register a person", self._register),
            "2": ("Verify", self._verify),
            "3": ("List people", self._list),
            "4": ("Delete a person", self._delete),
        }

    def run(self) -> int:
        """Show the menu until 5 or the end of input; errors lead back to it."""
        while True:
            self._header()
            try:
                choice = input("Choose 1-5: ").strip()
                if choice == "5":
                    return DONE
                if choice in self._choices:
                    _, flow = self._choices[choice]
                    flow()
                else:
                    print("Please type a number from 1 to 5.")
            except EOFError:
                print()
                return DONE
            except FaceSyncError as error:
                print(f"error: {error}")
            except OSError as error:
                print(f"error: {describe_os_error(error)}")

    def _header(self) -> None:
        try:
            people = flows.count(len(self._gallery.people()), "person", "people")
            people += f" in {self._gallery.path}"
        except FaceSyncError as error:
            people = str(error)
        print("\nFaceSync")
        print(f"  model      {self._recognizer.model_in_words}")
        print(f"  threshold  {self._recognizer.threshold_in_words}")
        print(f"  known      {people}\n")
        for number, (what, _) in self._choices.items():
            print(f"  {number}  {what}")
        print("  5  Exit\n")

    def _register(self) -> None:
        name = clean_name(input("Name (Enter goes back): "))
        if not name:
            return
        taken = self._gallery.find(name)
        if taken and not confirm(f"{taken.name} is already registered. Register anew?"):
            return
        replace = taken is not None

        def save(enrolment: Enrolment) -> None:
            flows.store(self._gallery, self._recognizer, name, enrolment, replace=replace)

        if self._has_window():
            flows.announce(self._gallery, self._recognizer)
            print("Press C in the window for each of 5 samples, Q to give up.")
            if not self._show(RegisterScreen(name, save)):
                print(f"Given up: {name} is not registered.")
        else:
            flows.register_camera(
                self._gallery, self._recognizer, name, self._open, replace=replace
            )

    def _verify(self) -> None:
        people = flows.candidates(self._gallery, self._recognizer)
        if self._has_window():
            print("Press V in the window to verify, Q to come back.")
            self._show(VerifyScreen(people, self._recognizer.threshold))
        else:
            flows.show_decision(flows.verify_camera(self._recognizer, people, self._open))

    def _list(self) -> None:
        recognizer = self._recognizer
        flows.list_people(self._gallery, recognizer.fingerprint if recognizer.loaded else None)

    def _delete(self) -> None:
        name = input("Name (Enter goes back): ")
        if clean_name(name) and confirm_delete(self._gallery, name):
            flows.delete(self._gallery, name)

    def _has_window(self) -> bool:
        reason = why_no_window()
        if reason:
            print(f"No window: {reason}. The camera is used without one.")
        return reason is None

    def _open(self, *, slideshow: bool = False) -> Camera:
        return open_camera(
            self._settings.camera, slideshow=slideshow, offline=self._settings.offline
        )

    def _show(self, screen: Screen) -> bool:
        return run(Window(), self._open(slideshow=True), self._recognizer, screen)


def confirm(question: str) -> bool:
    """Ask a question whose answer is no unless it is yes."""
    return input(f"{question} [y/N] ").strip().casefold() in ("y", "yes")


def confirm_delete(gallery: Gallery, name: str) -> bool:
    """Ask whether a person is to be forgotten; of somebody unknown there is nothing to ask."""
    person = gallery.find(name)
    return not person or confirm(f"Delete {person.name}, template and pictures, for good?")
