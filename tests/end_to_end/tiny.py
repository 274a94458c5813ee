"""A training script on a network that trains in a moment, in processes of its own.

    python -m tests.end_to_end.tiny train_model --data ...

is what the tests start, alone or with torchrun. `TINY_TRAP` is `WHAT NUMBER` and says where the
script is to fail: before that step, in the validation of that epoch and so on; see `TRAPS`.
Without a script's name it runs one script after the other, each in a process of its own: see
`Server`.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

TORCHRUN = "torch.distributed.run"

SECONDS = 240
"""How long a process may take before it counts as hung; an idle machine needs about 10."""


# In the process that is started


def _kill() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _counting(owner: Any, name: str, number: int, act: Callable[[], None]) -> None:
    """Act before a function's call with that number."""
    original, calls = getattr(owner, name), []

    def counted(*values: Any, **others: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            act()
        return original(*values, **others)

    setattr(owner, name, counted)


def _within(name: str, number: int, act: Callable[[], None]) -> None:
    """Act between two batches of a pass, in the call with that number."""
    from facesync.training import validation

    original, calls = getattr(validation, name), []

    def within(*values: Any, check_stop: Callable[[], None], **others: Any) -> Any:
        calls.append(1)
        checks = []

        def check() -> None:
            checks.append(1)
            if len(calls) == number and len(checks) == 2:
                act()
            check_stop()

        return original(*values, check_stop=check, **others)

    setattr(validation, name, within)


def _step(number: int, act: Callable[[], None]) -> None:
    from facesync.training import epoch

    _counting(epoch, "take_step", number, act)


TRAPS: dict[str, Callable[[int], None]] = {
    "step": lambda number: _step(number, _kill),
    "validation": lambda number: _within("measure", number, _kill),
    "unseen": lambda number: _within("embed", number, _kill),
    "batchnorm": lambda number: _within("renew_batchnorm", number, _kill),
    "rename": lambda number: _counting(os, "replace", number, _kill),
    "flush": lambda number: _counting(os, "fsync", number, _kill),
    "remove": lambda number: _counting(Path, "unlink", number, _kill),
    "stop": lambda number: _step(number, lambda: os.killpg(os.getpgid(0), signal.SIGINT)),
    "stop_validation": lambda number: _within(
        "measure", number, lambda: os.killpg(os.getpgid(0), signal.SIGINT)
    ),
    "stop_batchnorm": lambda number: _within(
        "renew_batchnorm", number, lambda: os.killpg(os.getpgid(0), signal.SIGINT)
    ),
    "pause": lambda number: _pause(number),
    "full": lambda number: _counting(os, "fsync", number, _full),
}


def _pause(number: int) -> None:
    """Say `paused` at a step, and wait there until a stop is asked for."""
    from facesync.training.stopping import StopRequest

    asked = threading.Event()
    note = StopRequest._note

    def noted(*values: Any) -> None:
        note(*values)
        asked.set()

    StopRequest._note = noted  # type: ignore[method-assign]

    def wait() -> None:
        print("paused", flush=True)
        asked.wait(SECONDS / 2)

    _step(number, wait)


def _prepare() -> None:
    """Replace what takes long, the network and the drawing of curves, by stand-ins."""
    from facesync.files import replacing
    from facesync.training import model, saving
    from tests.training.stand_ins import TinyNetwork

    def save_curves(history: Any, path: Path) -> None:
        with replacing(path) as file:
            file.write(f"{len(history)} epochs".encode())

    model.new_network = TinyNetwork  # type: ignore[assignment]
    saving.save_curves = save_curves


def main(arguments: list[str]) -> int:
    """Run a script, with the trap set, or torchrun."""
    faulthandler.register(signal.SIGUSR1)  # to say where it hangs
    if arguments[0] == TORCHRUN:
        from torch.distributed.run import main as torchrun

        torchrun(arguments[1:])
        return 0
    _prepare()
    script = importlib.import_module(arguments[0])
    trap = os.environ.get("TINY_TRAP")
    rank, wanted = os.environ.get("RANK", "0"), os.environ.get("TINY_TRAP_RANK", "0")
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if trap and rank == wanted and first:
        what, number = trap.split()
        TRAPS[what](int(number))
    return int(script.main(arguments[1:]))


def serve() -> int:
    """Fork a process for each line of input, and print how it ended; see `Server`."""
    import torch

    import facesync.training.start  # noqa: F401

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # What is imported now need not be imported in each process: the optimizer imports a lot.
    _prepare()
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)], fused=True)
    gc.collect()
    gc.freeze()  # so that the processes share this memory
    for line in sys.stdin:
        wanted = json.loads(line)
        process = os.fork()
        if not process:
            os.setsid()
            for number, path in ((0, os.devnull), (1, wanted["out"]), (2, wanted["err"])):
                handle = os.open(path, os.O_RDWR | os.O_CREAT)
                os.dup2(handle, number)
            os.environ.update(wanted["environment"])
            return main(wanted["arguments"])
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return 0


# In the test


def _command(script: str, arguments: tuple, processes: int, torchrun: tuple) -> list[str]:
    """Return what follows `python -m`: a script alone, or under torchrun."""
    tiny = ["tests.end_to_end.tiny", script, *map(str, arguments)]
    if not processes:
        return tiny
    several = ["--standalone", "--nproc-per-node", str(processes), *torchrun, "-m"]
    return [TORCHRUN, *several, *tiny]


@contextmanager
def started(
    script: str, *arguments: object, processes: int = 0, trap: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Start a script in a process group of its own, as a terminal does, and leave nothing running.

    Args:
        script: its name.
        arguments: its command line.
        processes: how many torchrun starts; 0 does without it.
        trap: see `TRAPS`.
    """
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", *_command(script, arguments, processes, ())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TINY_TRAP": trap, "TINY_MARK": mark},
    )
    try:
        yield process
    finally:
        _end(process, mark)
        process.communicate(timeout=60)


def _end(process: subprocess.Popen[str], mark: str) -> None:
    """Kill what still runs."""
    if process.poll() is None:
        process.kill()
    _signal(mark, signal.SIGKILL)


def _signal(mark: str, number: signal.Signals) -> None:
    """Signal every process with the mark: torchrun's are in groups of their own."""
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # ended by now, or another user's
            if mark.encode() in environ.read_bytes():
                os.kill(int(environ.parent.name), number)


class Server:
    """Runs scripts, each in a process of its own, without the seconds that imports take.

    Args:
        folder: for what they print.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.tiny"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TINY_MARK": self.mark},
        )

    def run(
        self,
        script: str,
        *arguments: object,
        processes: int = 0,
        torchrun: tuple[str, ...] = (),
        trap: str = "",
        rank: int = 0,
    ) -> tuple[int, str, str]:
        """Run a script to its end: exit code, output, errors.

        Args:
            script: see `started`, as for `arguments`, `processes` and `trap`.
            torchrun: more options of it.
            rank: the process that the trap is for.
        """
        name = uuid.uuid4().hex
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        command = _command(script, arguments, processes, torchrun)
        wanted = {
            "arguments": command if processes else command[1:],
            "environment": {"TINY_TRAP": trap, "TINY_TRAP_RANK": str(rank)},
            "out": str(out), "err": str(err),
        }  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        if not ready:
            _signal(self.mark, signal.SIGUSR1)
            time.sleep(2)
            self.close()
            raise AssertionError(f"hangs; stderr so far: {err.read_text()}")
        return int(self.process.stdout.readline()), out.read_text(), err.read_text()

    def close(self) -> None:
        """End it and everything it started."""
        _end(self.process, self.mark)
        self.process.communicate()


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read the output up to a line that contains some text."""
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"ended without {text!r}: {process.communicate()[1]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else serve())
