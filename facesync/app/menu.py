"""The numbered menu: the same flows as the commands, with a camera window where one can open."""

from __future__ import annotations

from dataclasses import replace

from facesync import cli
from facesync.app import flows, registering
from facesync.app.cameras import Camera, open_camera
from facesync.app.screens import RegisterScreen, Screen, VerifyScreen
from facesync.app.settings import AppSettings
from facesync.app.watch import watch_camera, watch_window
from facesync.app.watching import Watcher
from facesync.app.window import Window, run, why_no_window
from facesync.errors import FaceSyncError
from facesync.faces.recognizer import Recognizer
from facesync.gallery.enrolment import Enrolment
from facesync.gallery.registration import Doubt, Registration
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
                    _, flow = self._choices[choice]
                    flow()
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
        try:
            people = cli.count(len(self._gallery.people()), "person", "people")
            people += f" in {self._gallery.path}"
        except FaceSyncError as error:
            people = str(error)
        print("\nFaceSync")
        print(f"  model      {self._recognizer.model_in_words}")
        print(f"  threshold  {self._recognizer.threshold_in_words}")
        print(f"  known      {people}\n")
        for number, (what, _) in self._choices.items():
            print(f"  {number}  {what}")
        print("  6  Exit\n")

    def _register(self) -> None:
        name = clean_name(input("Name (Enter goes back): "))
        if not name:
            return
        request = Registration(name)
        taken = self._gallery.find(name)
        if taken:
            answer = input(
                f"{taken.name} is already registered: [a]dd samples, [r]egister anew, or Enter "
                "to go back? "
            )
            what = answer.strip().casefold()[:1]
            if what not in ("a", "r"):
                return
            request = replace(request, add=what == "a", replace=what == "r")
        if not self._has_window():
            registering.register_camera(
                self._gallery, self._recognizer, request, self._open, confirm
            )
            return
        flows.announce(self._gallery, self._recognizer)
        print("Samples are taken by themselves; C in the window takes one at once, Q gives up.")
        enrolment = Enrolment(self._recognizer.threshold)
        try:
            if not self._show(RegisterScreen(name, enrolment, lambda e: self._store(request, e))):
                print(f"Given up: {name} is not registered.")
        except Doubt as doubt:  # the question is asked here, where there is a keyboard for it
            if confirm(f"{doubt.what}. {doubt.question}"):
                self._store(replace(request, same_person=True), enrolment)
            else:
                print(f"Nothing is stored of {name}.")

    def _store(self, request: Registration, enrolment: Enrolment) -> None:
        registering.store(self._gallery, self._recognizer, request, enrolment)

    def _verify(self) -> None:
        people = flows.candidates(self._gallery, self._recognizer)
        margin = self._settings.margin
        if self._has_window():
            print("Press V in the window to verify, Q to come back.")
            threshold = self._recognizer.threshold_for(len(people))
            self._show(VerifyScreen(people, threshold, margin))
        else:
            decision = flows.verify_camera(self._recognizer, people, self._open, margin)
            flows.show_decision(decision)

    def _watch(self) -> None:
        people = flows.known(self._gallery, self._recognizer)
        watcher = Watcher(self._recognizer, people, self._settings.margin)
        if self._has_window():
            print("Press Q in the window to come back.")
            watch_window(watcher, self._open_slideshow, None, None)
        else:
            watch_camera(watcher, self._open, None, None)

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

    def _open(self) -> Camera:
        return open_camera(self._settings.camera, offline=self._settings.offline)

    def _open_slideshow(self) -> Camera:
        """Open the camera for a window: images in its place are shown round and round."""
        return open_camera(self._settings.camera, slideshow=True, offline=self._settings.offline)

    def _show(self, screen: Screen) -> bool:
        recognizer = self._recognizer
        return run(
            Window(), self._open_slideshow, lambda frame: recognizer.look(frame.image_rgb), screen
        )


def confirm(question: str) -> bool:
    """Ask a question whose answer is no unless it is yes."""
    return input(f"{question} [y/N] ").strip().casefold() in ("y", "yes")


def confirm_delete(gallery: Gallery, name: str) -> bool:
    """Ask whether a person is to be forgotten; of somebody unknown there is nothing to ask."""
    person = gallery.find(name)
    return not person or confirm(f"Delete {person.name}, template and images, for good?")
