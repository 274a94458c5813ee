from __future__ import annotations

import os
import signal
import threading

import pytest

from facesync.training.stopping import Stopped, StopRequest
from tests.training.stand_ins import posix

pytestmark = posix


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_is_noted_and_raised_where_it_is_safe(number, capfd):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        stop.check()
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
        with pytest.raises(Stopped):
            stop.check()
    assert signal.getsignal(number) is before
    assert "Stopping after this batch" in capfd.readouterr().err


def test_the_third_signal_ends_at_once():
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)


def test_works_in_a_thread_where_no_handler_can_be_set():
    asked = []

    def work() -> None:
        with StopRequest() as stop:
            asked.append(stop.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked == [False]
