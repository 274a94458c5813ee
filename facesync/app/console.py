"""What the app prints and asks on the terminal.

Results go to standard output, remarks to the log.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from facesync import cli
from facesync.faces.recognizer import Recognizer
from facesync.gallery.matching import Decision, comparable, too_alike
from facesync.gallery.people import Person
from facesync.gallery.reembedding import has_images
from facesync.gallery.store import Gallery

log = logging.getLogger(__name__)

WHAT_HELPS = (
    "what helps: more light, coming closer, one face in view; or another sample: register NAME "
    "--add"
)
"""After an attempt that was nearly accepted. Nobody's name: an intruder may be reading this."""


def print_json(data: Any) -> None:
    """Print one line of JSON for programs; ValueError for NaN and infinity, which it has not."""
    print(json.dumps(data, allow_nan=False))


def confirm(question: str) -> bool:
    """Ask a yes-or-no question; anything but yes means no, as does the end of input."""
    try:
        return input(f"{question} [y/N] ").strip().casefold() in ("y", "yes")
    except EOFError:
        print()
        return False


def terminal() -> bool:
    """Whether somebody sees what is printed and can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def announce(gallery: Gallery, recognizer: Recognizer, people: int | None = None) -> None:
    """Load the models and say which are in use, with which threshold for so many people.

    By default everybody in the gallery is compared.
    """
    recognizer.load()
    registered = len(gallery.people())
    log.info(
        "Model: %s; threshold %s; %s in %s",
        recognizer.trust()["model"]["name"],
        recognizer.threshold_in_words(registered if people is None else people),
        cli.count(registered, "person", "people"),
        gallery.where,
    )


def in_words(decision: Decision) -> str:
    """Say who it is, or that access is denied, and why; after a near miss also what helps."""
    if decision.accepted:
        alive = f"; {decision.liveness.reason}" if decision.liveness else ""
        return f"{decision.name}: accepted ({decision.reason}{alive})"
    if decision.nearly:
        return f"access denied, but nearly: {decision.reason}\n  {WHAT_HELPS}"
    return f"access denied: {decision.reason}"


def proof(gallery: Gallery) -> str:
    """Say what was searched after a deletion, which raises an error if anything is left."""
    return f"searched: {gallery.searched()}; nothing about them is left in any"


def list_people(gallery: Gallery, recognizer: Recognizer) -> None:
    """Print who is registered, since when, from how many samples, and whom another model made.

    It loads no model: without one, the newest template says which is in use, and the default
    threshold who is too alike to be told apart.
    """
    people = gallery.people()
    if not people:
        print(f"Nobody is registered in {gallery.where}.")
        return
    fingerprint = _fingerprint(people, recognizer)
    width = min(30, max(len(person.name) for person in people))
    print(f"{cli.count(len(people), 'person', 'people')} in {gallery.where}")
    for person in people:
        if person.registered is None:
            facts = "from an older store"
        else:
            when = person.registered.astimezone().strftime("%Y-%m-%d %H:%M")
            facts = f"{when}  {cli.count(person.samples, 'sample', 'samples')}"
            if person.fingerprint != fingerprint:
                again = "embedded again at the next use"
                advice = again if has_images(gallery, person) else "register again"
                facts += f"  made by another model: {advice}"
        print(f"  {person.name:<{width}}  {facts}")
    compared = comparable(people, fingerprint)
    for one, other in too_alike(compared, compared, recognizer.threshold_for(len(compared))):
        if one.name < other.name:
            print(_not_told_apart(one, other))


def alike_in_words(gallery: Gallery, recognizer: Recognizer, person: Person) -> list[str]:
    """Say whom the app cannot tell a person apart from; the models are loaded."""
    compared = comparable(gallery.people(), recognizer.fingerprint)
    alike = too_alike([person], compared, recognizer.threshold_for(len(compared)))
    return [_not_told_apart(one, other) for one, other in alike]


def _not_told_apart(one: Person, other: Person) -> str:
    similarity = cli.decimals(float(one.embedding @ other.embedding))
    return (
        f"note: {one.name} and {other.name} look so alike (similarity {similarity}) that the app "
        "cannot tell them apart reliably"
    )


def _fingerprint(people: Sequence[Person], recognizer: Recognizer) -> str | None:
    if recognizer.loaded:
        return recognizer.fingerprint
    dated = [(p.registered, p.fingerprint) for p in people if p.registered]
    return max(dated, default=(None, None), key=lambda pair: pair[0])[1]


def people_data(gallery: Gallery, recognizer: Recognizer) -> list[dict[str, Any]]:
    """Name, time of registration, samples and model of everybody, as plain data.

    `alike` names whom the app cannot tell them apart from reliably.
    """
    people = gallery.people()
    alike: dict[str, list[str]] = {person.name: [] for person in people}
    compared = comparable(people, _fingerprint(people, recognizer))
    for one, other in too_alike(compared, compared, recognizer.threshold_for(len(compared))):
        alike[one.name].append(other.name)
    return [
        {
            "name": person.name,
            "registered": person.registered and person.registered.isoformat(),
            "samples": person.samples,
            "model": person.fingerprint,
            "alike": alike[person.name],
        }
        for person in people
    ]
