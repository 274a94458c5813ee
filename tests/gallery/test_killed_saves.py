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

from facesync.gallery.store import Gallery
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


def check(gallery: Gallery) -> None:
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
