"""What every script shares: logging, exit codes for errors, plurals."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from facesync.errors import (
    TRAINING_PACKAGES,
    WEB_PACKAGES,
    FaceSyncError,
    UsageError,
    not_installed,
)
from facesync.version import __version__

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done, refused or failed, wrong usage (argparse's own), Ctrl-C (the shell's own)."""

Main = Callable[..., int]

# Control characters but tab and line feed, separators of lines, and marks that turn the direction
# of text: with them, text from a file can write over what the terminal shows.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


_MOST_SHOWN = 5000
"""The longest line of a message: a path has at most 4096 characters."""


def printable(text: object) -> str:
    """Take away what a terminal would obey rather than show; line breaks stay."""
    return _CONTROLS.sub("", str(text))


def one_line(text: object) -> str:
    """Make text, of a file perhaps, one line that a terminal shows as it is, not without end."""
    whole = str(text)
    line = printable(whole[:_MOST_SHOWN]).replace("\n", " ").replace("\t", " ")
    return line if len(whole) <= _MOST_SHOWN else f"{line} ..."


class _Shown:
    """Standard output, to which everything is `printable`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


class _TqdmHandler(logging.Handler):
    """Writes log lines to standard error without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:  # no bar was ever shown
            print(self.format(record), file=sys.stderr)
            return
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def setup_logging() -> None:
    """Send what the package has to say (logger `facesync`, level INFO) to standard error."""
    logger = logging.getLogger("facesync")
    if not logger.handlers:
        handler = _TqdmHandler()
        handler.setFormatter(_OneLine("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def guarded(main: Main) -> Main:
    """Wrap a script's `main(argv=None) -> int`: user errors become one line and exit code 1.

    What is printed is what a terminal shows, not what it obeys (`printable`): much of it is from
    files. A `FaceSyncError`, an `OSError` or the lack of a package that not every installation has
    prints `error: …` on standard error and returns 1 (a `UsageError` 2); Ctrl-C returns 130.
    Anything else is a bug and keeps its traceback.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:  # closed, or a program without a terminal (pythonw)
                setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A terminal that cannot show a name prints question marks, not a traceback.
                stream.reconfigure(errors="replace")
        if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors == "strict":
            # Nor does a name typed in another encoding end the menu.
            with contextlib.suppress(io.UnsupportedOperation):  # somebody has read from it
                sys.stdin.reconfigure(errors="replace")
        setup_logging()
        try:
            with contextlib.redirect_stdout(_Shown(sys.stdout) if sys.stdout else None):
                return main(argv)
        except FaceSyncError as error:
            print(f"error: {one_line(error)}", file=sys.stderr)
            return USAGE if isinstance(error, UsageError) else FAILED
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            if package not in TRAINING_PACKAGES + WEB_PACKAGES:
                raise
            print(f"error: {not_installed(package)}", file=sys.stderr)
            return FAILED
        except BrokenPipeError:
            # The reader of a pipe (`… | head`) is gone; nothing more can be printed.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except OSError as error:
            print(f"error: {one_line(describe_os_error(error))}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            print("\nInterrupted.", file=sys.stderr)
            return INTERRUPTED

    return run


def describe_os_error(error: OSError) -> str:
    """Return one line for an error of the operating system, with the file it is about."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Make a parser whose description is the script's docstring, line breaks kept."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"FaceSync {__version__}")
    return parser


def decimals(value: float, places: int = 3) -> str:
    """Return `0.123`; never `-0.000`."""
    return f"{round(float(value), places) + 0.0:.{places}f}"


def certainty(probability: float, *, accepted: bool) -> str:
    """Say how probable a match is, 0…1: `98 % sure`, or where it is refused what that means.

    A measurement is never certain: neither 0 % nor 100 % is said.
    """
    if not 0.001 <= probability <= 0.999:
        share = "under 0.1 %" if probability < 0.001 else "over 99.9 %"
    else:
        places = 0 if 0.01 <= probability < 0.99 else 1
        share = f"{100 * probability:.{places}f} %"
    return f"{share} sure" if accepted else f"of pairs so similar {share} match"


def masked(address: str) -> str:
    """Return an address without what may be a password: user and query are left out."""
    if "://" not in address:
        return re.sub(r"[^/\\]+:[^/\\]*@", "", address)  # perhaps an address that is mistyped
    kind, _, rest = address.partition("://")
    user, _, place = rest.rpartition("@")
    if "?" in user:  # what stands behind the `@` may be the end of a password
        return f"{kind}://…"
    place, asks, _ = place.partition("?")
    return f"{kind}://{place}{'?…' if asks else ''}"


def count(number: int, one: str, many: str) -> str:
    """Return `1 person`, `2 people`, `1,234 people`."""
    return f"{number:,} {one if number == 1 else many}"
