"""Run the project's scripts from a cell; imports nothing that is not there before the installation.

IPython's own `!` kills a command half a second after *Interrupt*, and a failure of it does not stop
*Run all*.
"""

from __future__ import annotations

import codecs
import os
import shlex
import signal
import subprocess
import sys
from typing import Any

from facesync.errors import FaceSyncError

GO_ON = "Run this cell again to go on."


def run(*command: object, if_stopped: str = GO_ON) -> None:
    """Run `python` with a command, and show what it prints.

    *Interrupt* is passed on as Ctrl-C, and what the command still says and saves is waited for.

    Args:
        command: a script and its options, or `-m` and a module.
        if_stopped: what to do next where it was interrupted.

    Raises:
        FaceSyncError: it failed, or was interrupted.
    """
    words = [str(word) for word in command]
    print(f"$ python {shlex.join(words)}", flush=True)
    # In a session of its own it gets Ctrl-C once, from here; a notebook's server may send it too.
    with subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    ) as process:
        interrupted = _follow(process)
    if interrupted and process.returncode:
        raise FaceSyncError(f"You stopped {words[0]}. {if_stopped}")
    if process.returncode:
        raise FaceSyncError(
            f"{words[0]} did not succeed; the line above says why. Then run this cell again"
        )


def _follow(process: subprocess.Popen[bytes]) -> bool:
    """Print what a process prints, to its end; return whether the cell was interrupted."""
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    interrupted = False
    while True:
        try:
            some = os.read(process.stdout.fileno(), 1 << 16)
            if not some:
                process.wait()
                return interrupted
            print(decoder.decode(some), end="", flush=True)
        except KeyboardInterrupt:
            interrupted = True
            process.send_signal(signal.SIGINT)


def errors_in_one_line() -> None:
    """In this notebook, let an error that a user can cause be one line, not a traceback.

    A name that is missing is one: the cell was run before those above it.
    """
    from IPython import get_ipython

    def show(shell: Any, kind: type, error: Exception, *_: object, **__: object) -> None:
        first = "; run the cells above first (Runtime > Run before)"
        advice = first if isinstance(error, NameError) else ""
        print(f"STOPPED: {error}{advice}", file=sys.stderr, flush=True)

    get_ipython().set_custom_exc((FaceSyncError, NameError), show)


def machine() -> str:
    """Say what this machine trains on."""
    import torch

    if not torch.cuda.is_available():
        return (
            "There is no GPU here. The sample pack needs none; for a whole dataset choose one "
            "(Runtime > Change runtime type > T4 GPU), then run all cells again."
        )
    card = torch.cuda.get_device_properties(0)
    return f"GPU: {card.name}, {card.total_memory / 1e9:.0f} GB of memory."
