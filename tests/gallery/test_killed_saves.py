"""A process killed at any moment of a save leaves the old or the new state.

`tests/faults` does the same at every call, without a kill.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from facesync.files import temporary_beside
from facesync.gallery.on_files import FileGallery
from facesync.images import encode_jpeg
from tests.gallery.conftest import enrolled, images

pytestmark = pytest.mark.skipif(os.name != "posix", reason="fork and SIGKILL are POSIX")

OLD, NEW, BOB = enrolled("Ada", 1), enrolled("Ada", 2), enrolled("Bob", 3)
STATES = {100: OLD, 30: NEW}
"""What Ada's images look like in each state."""


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


def check(gallery: FileGallery) -> None:
    """The store opens with the old or the new state; at the next lock, the images are of it too."""
    with gallery.locked():
        people = {person.name: person for person in gallery.people()}
    np.testing.assert_array_equal(people["Bob"].embedding, BOB.embedding)
    rows = people["Ada"].sample_embeddings
    (shade,) = [s for s, state in STATES.items() if np.array_equal(rows, state.sample_embeddings)]
    assert [round(float(image.mean())) for image in gallery.images("Ada")] == [shade]
    if gallery.backup.exists():
        gallery.read(gallery.backup)


def test_killed_200_times_at_random(either):
    chance = random.Random(1)
    either.register(BOB, images(1))
    started = time.perf_counter()
    either.register(OLD, images(1))
    seconds = time.perf_counter() - started

    def save_for_ever() -> None:
        while True:
            for shade, state in STATES.items():
                either.register(state, images(1, shade), replace=True)

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


def test_what_a_killed_save_left_is_finished_or_undone(gallery):
    """Staged images of a save that was written, of one that was not, and of an older version."""
    for name in ("Ada", "Bob", "Cid"):
        gallery.register(enrolled(name), images(1))
    written = gallery.content().saves
    for name, stage in (
        ("Ada", f".new-replace-{written}"),
        ("Ada", ".new-replace-1-copy"),  # not ours
        ("Bob", f".new-replace-{written + 1}"),
        ("Cid", ".new"),
    ):
        staged = gallery.folder(name) / stage
        staged.mkdir()
        (staged / "sample_1.jpg").write_bytes(encode_jpeg(images(1, shade=30)[0]))
    for temporary in (gallery.path, gallery.backup, gallery.folder("Dan") / "sample_1.jpg"):
        temporary.parent.mkdir(exist_ok=True)
        temporary_beside(temporary).write_bytes(b"half")
    with gallery.locked():
        pass
    shades = {p.name: round(float(gallery.images(p.name)[0].mean())) for p in gallery.people()}
    assert shades == {"Ada": 30, "Bob": 100, "Cid": 100}
    assert [p.name for p in gallery.faces.parent.rglob(".*")] == [".new-replace-1-copy"]
    assert not gallery.folder("Dan").exists()
