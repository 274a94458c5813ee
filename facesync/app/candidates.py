"""Who a face is compared with: everybody who is registered, or one person."""

from __future__ import annotations

import logging

from facesync.app.console import announce
from facesync.errors import StoreError
from facesync.faces.recognizer import Recognizer
from facesync.gallery.matching import comparable
from facesync.gallery.people import Person, clean_name, name_key
from facesync.gallery.reembedding import renewed
from facesync.gallery.store import Gallery

log = logging.getLogger(__name__)


def candidates(gallery: Gallery, recognizer: Recognizer, name: str | None = None) -> list[Person]:
    """List the people a face is compared with: everybody, or one person; loads the models.

    Raises:
        StoreError: nobody is registered, or nobody can be compared with this model.
    """
    _chosen(gallery, gallery.people(), name)  # before seconds are spent on loading
    people = _chosen(gallery, renewed(gallery, recognizer), name)
    compared = comparable(people, recognizer.fingerprint)
    announce(gallery, recognizer, len(compared))
    if not compared:
        others = ", ".join(person.name for person in people)
        raise StoreError(f"made by another model and cannot be compared: {others}; register again")
    if any(person.fingerprint is None for person in compared):
        log.warning(
            "Some people come from an older store that does not say which model made them; "
            "if they are not recognised, register them again"
        )
    return compared


def _chosen(gallery: Gallery, people: list[Person], name: str | None) -> list[Person]:
    """Return all people, or those of a name; StoreError if there are none."""
    if not people:
        raise StoreError(f"nobody is registered in {gallery.where}; register somebody first")
    if name is None:
        return people
    named = [person for person in people if name_key(person.name) == name_key(name)]
    if not named:
        raise StoreError(f"nobody is registered as {clean_name(name)}")
    return named
