"""A process killed at any moment of a save leaves the old or the new state."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from facesync.gallery import store_file
from facesync.gallery.keys import config_folder
from facesync.gallery.resealing import reseal
from facesync.gallery.store import Gallery
from tests.gallery.conftest import enrolled, images

pytestmark = pytest.mark.skipif(os.name != "posix", reason="fork and SIGKILL are POSIX")

OLD, NEW, BOB = enrolled("Ada", 1), enrolled("Ada", 2), enrolled("Bob", 3)
STAGES = {"open", "os.remove", "os.rename", "os.mkdir", "os.rmdir"}


def forked(action: Callable[[], None]) -> int:
    """Run something in a forked child, which has everything imported already."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return child


def killed_at(stage: int, action: Callable[[], None]) -> bool:
    """Run a save that kills itself before its n-th step on disk; return whether it got there."""

    def run() -> None:
        steps = iter(range(1, 10_000))

        def step(event: str, _: object) -> None:
            if event in STAGES and next(steps) == stage:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(step)
        action()

    _, status = os.waitpid(forked(run), 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def check(gallery: Gallery, *, may_be_gone: bool = False) -> None:
    """The store opens with the old or the new state, and the next saves and deletions work."""
    people = {person.name: person for person in Gallery(gallery.path, gallery.faces).people()}
    np.testing.assert_array_equal(people["Bob"].embedding, BOB.embedding)
    if "Ada" in people:
        rows = people["Ada"].sample_embeddings
        assert any(np.array_equal(rows, state.sample_embeddings) for state in (OLD, NEW))
    else:
        assert may_be_gone
    if gallery.backup.exists():
        store_file.read(gallery.backup, gallery.keys)


@pytest.mark.parametrize("what", ["replace", "add nobody", "delete", "encrypt"])
def test_killed_at_every_step(gallery, sealed, what, tmp_path):
    first = gallery if what == "encrypt" else sealed
    first.register(BOB, images())
    first.register(OLD, images())
    actions: dict[str, Callable[[], object]] = {
        "replace": lambda: sealed.register(NEW, images(shade=30), replace=True),
        "add nobody": lambda: sealed.register(enrolled("Cid", 4), images()),
        "delete": lambda: sealed.delete("Ada"),
        "encrypt": lambda: reseal(sealed, sealed.keys.new),
    }
    saved = tmp_path / "saved"
    folders = (gallery.path.parent, gallery.faces, config_folder())
    for folder in folders:
        if folder.exists():
            shutil.copytree(folder, saved / folder.name)
    stage = 1
    while killed_at(stage, actions[what]):
        check(sealed, may_be_gone=what == "delete")
        sealed.register(NEW, images(), replace=True)
        assert len(sealed.images("Ada")) == 2
        assert sealed.delete("Ada") == "Ada"
        for folder in folders:
            shutil.rmtree(folder)
            if (saved / folder.name).exists():
                shutil.copytree(saved / folder.name, folder)
        stage += 1
    assert stage > 10


def test_killed_200_times_at_random(either):
    chance = random.Random(1)
    either.register(BOB, images(1))
    started = time.perf_counter()
    either.register(OLD, images(1))
    seconds = time.perf_counter() - started

    def save_for_ever() -> None:
        while True:
            for state in (NEW, OLD):
                either.register(state, images(1), replace=True)

    killed = 0
    for _ in range(200):
        child = forked(save_for_ever)
        time.sleep(chance.uniform(0, min(3 * seconds, 0.06)))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        check(either)
    assert killed == 200
    either.register(NEW, images(), replace=True)
    assert either.delete("Ada") == "Ada"
