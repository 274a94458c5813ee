from __future__ import annotations

import os
import signal
import threading

import pytest
import torch

from facesync.processes import Ranks
from facesync.training.stopping import Stopped, StopRequest
from tests.training.stand_ins import posix

pytestmark = posix
CPU = torch.device("cpu")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_is_noted_and_raised_where_it_is_safe(number, capfd):
    before = signal.getsignal(number)
    with StopRequest(Ranks(), CPU) as stop:
        stop.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped):
            stop.check()
    assert signal.getsignal(number) is before
    assert "Stopping after this batch" in capfd.readouterr().err


def test_all_stop_when_one_is_told_to():
    class Others(Ranks):
        def sum(self, values):
            return values + 1

    with StopRequest(Others(0, 2), CPU) as stop, pytest.raises(Stopped):
        stop.check()


def test_the_third_signal_ends_at_once():
    with StopRequest(Ranks(), CPU), pytest.raises(KeyboardInterrupt):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)


def test_works_in_a_thread_where_no_handler_can_be_set():
    checked = []

    def work() -> None:
        with StopRequest(Ranks(), CPU) as stop:
            checked.append(stop.check())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert checked == [None]
