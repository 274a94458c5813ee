"""The passphrase that opens the page where other machines reach it."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import hmac
import math
import os
import secrets
import sys
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from facesync.errors import UsageError
from facesync.gallery.attempts import pause_seconds
from facesync.gallery.keys import SHORTEST_PASSPHRASE, typed_twice

VARIABLE = "FACESYNC_WEB_PASSPHRASE"
"""Where the passphrase is taken from if nobody is to be asked."""

MOST_BYTES = 4096
"""The longest form of a login."""

_SCRYPT = {"n": 2**14, "r": 8, "p": 1}  # 16 MB, about 50 ms


class WrongPassphrase(Exception):
    """It is wrong, or nobody may try now.

    Attributes:
        paused: it was not looked at.
    """

    def __init__(self, says: str, *, paused: bool) -> None:
        super().__init__(says)
        self.paused = paused


class Passphrase:
    """Checks what is typed; wrong ones pause everybody, for longer and longer.

    Args:
        text: the passphrase, of which only a hash is kept.
        clock: seconds that only grow.
    """

    def __init__(self, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._salt = secrets.token_bytes(16)
        self._hash = self._hashed(text)
        self._clock = clock
        self._wrong, self._again = 0, -math.inf
        self._one_by_one = asyncio.Lock()

    async def check(self, form: bytes) -> None:
        """Check the form of a login; return if it is right.

        Raises:
            WrongPassphrase: it is not, or there were too many wrong ones.
        """
        given = parse_qs(form.decode("utf-8", "replace")).get("passphrase", [""])[0]
        async with self._one_by_one:
            left = self._again - self._clock()
            if left > 0:
                says = f"Too many were wrong: try again in {math.ceil(left)} s."
                raise WrongPassphrase(says, paused=True)
            hashed = await asyncio.to_thread(self._hashed, given)
            if hmac.compare_digest(hashed, self._hash):
                self._wrong = 0
                return
            self._wrong += 1
            self._again = self._clock() + pause_seconds(self._wrong)
        raise WrongPassphrase("The passphrase is wrong.", paused=False)

    def _hashed(self, text: str) -> bytes:
        return hashlib.scrypt(text.encode("utf-8", "surrogateescape"), salt=self._salt, **_SCRYPT)


def ask(question: Callable[[str], str] = getpass.getpass) -> Passphrase:
    """Take the passphrase from the environment, or ask for a new one on the terminal.

    Raises:
        UsageError: there is none, it is too short, or it was typed differently twice.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        if not sys.stdin.isatty():
            raise UsageError(f"web: no terminal to ask for a passphrase: set {VARIABLE}")
        text = typed_twice("Passphrase for the page: ", question)
        if text is None:
            raise UsageError("web: the two passphrases differ")
    if len(text) < SHORTEST_PASSPHRASE:
        raise UsageError(f"web: a passphrase needs at least {SHORTEST_PASSPHRASE} characters")
    return Passphrase(text)
