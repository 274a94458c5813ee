"""The commands that change who is registered as whom: `rename` and `merge`."""

from __future__ import annotations

import sys
from collections.abc import Callable

from facesync import cli
from facesync.app import console
from facesync.app.session import Session
from facesync.app.settings import MergeOptions, RenameOptions
from facesync.errors import StoreError
from facesync.gallery import registration
from facesync.gallery.people import Person, one_with_name
from facesync.gallery.registration import Doubt


def rename(session: Session, options: RenameOptions) -> int:
    """Give a person another name; a doubt is asked about on a terminal.

    Raises:
        Doubt: there is nobody to ask.
        StoreError: the names or the store do not allow it, or the answer was no.
    """
    before, _ = one_with_name(session.gallery.people(), options.name)
    renamed = _asking(
        options.similar_name,
        lambda sure: registration.rename(
            session.gallery, options.name, options.new, similar_name=sure
        ),
    )
    print(f"{before.name} is {renamed.name} from now on: template, images and failed attempts")
    return cli.DONE


def merge(session: Session, options: MergeOptions) -> int:
    """Let the samples of B join those of A; a doubt is asked about on a terminal.

    Raises:
        Doubt: there is nobody to ask.
        StoreError: the names, the models or the store do not allow it, or the answer was no.
    """
    other, _ = one_with_name(session.gallery.people(), options.other)
    both = _asking(
        options.same_person,
        lambda sure: registration.merge(
            session.gallery, session.recognizer, options.name, options.other, same_person=sure
        ),
    )
    samples = cli.count(both.samples, "sample", "samples")
    print(f"{both.name} has {samples} now, those of {other.name} among them; {other.name} is gone")
    return cli.DONE


def _asking(sure: bool, step: Callable[[bool], Person]) -> Person:
    """Do a step; where there is doubt, ask whether to do it all the same."""
    try:
        return step(sure)
    except Doubt as doubt:
        if not sys.stdin.isatty():
            raise
        if not console.confirm(f"{doubt.what}. {doubt.question}"):
            raise StoreError(f"{doubt.what}; nothing is changed") from doubt
        return step(True)
