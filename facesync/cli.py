"""What every script shares: logging, errors to exit codes, types of options."""

from __future__ import annotations

import argparse
import functools
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from facesync.devices import DEVICES
from facesync.errors import FaceSyncError, UsageError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done, refused or failed, wrong usage (argparse's own), Ctrl-C (the shell's own)."""

Main = Callable[..., int]


class _TqdmHandler(logging.Handler):
    """Writes a log line to standard error without tearing a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def setup_logging() -> None:
    """Send what the package has to say (logger `facesync`, level INFO) to standard error."""
    logger = logging.getLogger("facesync")
    if not logger.handlers:
        handler = _TqdmHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def guarded(main: Main) -> Main:
    """Wrap a script's `main(argv=None) -> int`: user errors become one line and exit code 1.

    A `FaceSyncError` or `OSError` prints `error: …` on standard error and returns 1 (a
    `UsageError` 2); Ctrl-C returns 130. Anything else is a bug and keeps its traceback.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A terminal that cannot write a name shows question marks, not a traceback.
                stream.reconfigure(errors="replace")
        setup_logging()
        try:
            return main(argv)
        except FaceSyncError as error:
            print(f"error: {error}", file=sys.stderr)
            return USAGE if isinstance(error, UsageError) else FAILED
        except BrokenPipeError:
            # The reader of a pipe (`… | head`) has gone; nothing more can be printed.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except OSError as error:
            print(f"error: {describe_os_error(error)}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            print("\nInterrupted.", file=sys.stderr)
            return INTERRUPTED

    return run


def describe_os_error(error: OSError) -> str:
    """One line for an error of the operating system, with the file it is about."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Argument parser whose description is the script's docstring, run lines kept as written."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def positive_int(text: str) -> int:
    """Argparse type: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def positive_float(text: str) -> float:
    """Argparse type: a finite number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def rate(text: str) -> float:
    """Argparse type: a rate above 0 and below 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def add_device_option(target: Any) -> None:
    """Add `--device auto|cpu|cuda` to a parser or an argument group."""
    target.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="where to compute; auto takes CUDA when there is one (default: %(default)s)",
    )


def count(number: int, one: str, many: str) -> str:
    """`1 person`, `2 people`."""
    return f"{number} {one if number == 1 else many}"
