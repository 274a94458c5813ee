"""The keys that seal the store, and where they are kept.

A key has 256 bits. It is either random, and kept in the system's keyring or else in a file of mode
0600 in the user's configuration folder; or derived from a passphrase by scrypt (RFC 7914), and
kept nowhere. A passphrase comes from the environment variable `FACESYNC_PASSPHRASE` or from the
terminal, never from the command line, where other users could read it. The header of a key, stored
beside what it seals, says how to find it again:

    {"kind": "stored", "id": text}
    {"kind": "passphrase", "id": text, "salt": text, "n": int, "r": int, "p": int}

The id is a hash of the key, which tells a wrong key from a file that was tampered with.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import logging
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from facesync.errors import StoreError
from facesync.files import config_folder, read_regular, replacing
from facesync.pickles import is_same

log = logging.getLogger(__name__)

PASSPHRASE_VARIABLE = "FACESYNC_PASSPHRASE"
SHORTEST_PASSPHRASE = 8
"""Characters that a passphrase needs, where others may try many."""

KEYRING_SECONDS = 20.0
"""How long to wait for a keyring, which may have to ask for its own password."""

_SERVICE = "FaceSync"
_SECRET_BYTES = 32
_SCRYPT = {"n": 2**15, "r": 8, "p": 1}
_SCRYPT_OF_FILES = {"n": 2**17, "r": 8, "p": 1}  # 128 MB: a file may be lost on its way
_SCRYPT_MOST_BYTES = 256 << 20  # no file may make its reader allocate more


@dataclass(frozen=True)
class Key:
    """A key of 32 bytes, and the header that finds it again."""

    header: dict[str, Any]
    secret: bytes = field(repr=False)


def key_file(key_id: str) -> Path:
    """Where a key is kept that is not in a keyring."""
    return config_folder() / "keys" / f"{key_id}.key"


def in_groups(key_id: str) -> str:
    """Return the id of a key so that two people can compare it: `0123 4567 89ab cdef`."""
    return " ".join(key_id[at : at + 4] for at in range(0, len(key_id), 4))


def typed_twice(question: str, ask: Callable[[str], str] = getpass.getpass) -> str | None:
    """Ask for a new passphrase on the terminal, without echo; None if the second is another."""
    text = ask(question)
    return text if ask("Repeat it: ") == text else None


def place_in_words(header: dict[str, Any]) -> str:
    """Say where the key of a header is kept."""
    if header["kind"] == "passphrase":
        return "a passphrase"
    file = key_file(header["id"])
    return f"a key in {file}" if file.exists() else "a key in the system's keyring"


class Finder(Protocol):
    """Finds the key for a header that was read from a file; raises StoreError."""

    def find(self, header: Any) -> Key:
        """See `KeyChain.find`."""
        ...


class KeyChain:
    """Finds and makes keys; asks for each passphrase once.

    Args:
        ask: asks a question on the terminal and returns the passphrase.
    """

    def __init__(self, ask: Callable[[str], str] = getpass.getpass) -> None:
        self._ask = ask
        self._known: dict[str, Key] = {}
        self._passphrases: list[str] = []

    def find(self, header: Any) -> Key:
        """Find the key for a header that was read from a file.

        Raises:
            StoreError: the header is damaged, or the key is missing or wrong.
        """
        header = _checked(header)
        known = self._known.get(header["id"])
        if known is not None and known.header == header:
            return known
        secret = _stored(header) if header["kind"] == "stored" else self._of_passphrase(header)
        key = Key(header, secret)
        self._known[header["id"]] = key
        return key

    def new(self, *, passphrase: bool = False) -> Key:
        """Make a new key and keep it.

        Args:
            passphrase: derive it from a passphrase that is asked for; otherwise from the one in
                the environment, or at random if there is none.

        Raises:
            StoreError: there is no terminal to ask for a passphrase, or it was not given.
            FileError: the key cannot be written.
        """
        if passphrase or os.environ.get(PASSPHRASE_VARIABLE):
            key = _from_passphrase(self._new_passphrase(passphrase), _SCRYPT)
        else:
            secret = secrets.token_bytes(_SECRET_BYTES)
            key = stored_key(secret)
            keep(key)
        self._known[key.header["id"]] = key
        return key

    def _new_passphrase(self, asked: bool) -> str:
        """Return a new passphrase; on a terminal it is typed twice."""
        if not asked or not sys.stdin.isatty():
            text = os.environ.get(PASSPHRASE_VARIABLE)
            if not text:
                raise StoreError(f"no terminal to ask for a passphrase: set {PASSPHRASE_VARIABLE}")
        else:
            text = typed_twice("New passphrase: ", self._ask)
            if text is None:
                raise StoreError("the two passphrases differ; nothing was changed")
            if not text:
                raise StoreError("the passphrase is empty; nothing was changed")
        self._passphrases.append(text)
        return text

    def _of_passphrase(self, header: dict[str, Any]) -> bytes:
        given = os.environ.get(PASSPHRASE_VARIABLE)
        tried = [*self._passphrases, *([given] if given else [])]
        for text in tried:
            secret = _scrypt(text, header)
            if _id_of(secret) == header["id"]:
                return secret
        if not sys.stdin.isatty():
            missing = f"it needs a passphrase: set {PASSPHRASE_VARIABLE}"
            raise StoreError("the passphrase is wrong" if tried else missing)
        text = self._ask("Passphrase of the store: ")
        secret = _scrypt(text, header)
        if _id_of(secret) != header["id"]:
            raise StoreError("the passphrase is wrong")
        self._passphrases.append(text)
        return secret


class OnePassphrase:
    """Makes and finds the key of one passphrase, which seals a file that leaves the machine."""

    def __init__(self, text: str) -> None:
        self._text = text

    def find(self, header: Any) -> Key:
        """Find the key for the header of the file; StoreError: it is damaged, or not of this."""
        header = _checked(header)
        if header["kind"] != "passphrase":
            raise StoreError("it is not sealed with a passphrase")
        secret = _scrypt(self._text, header)
        if _id_of(secret) != header["id"]:
            raise StoreError("the passphrase is wrong")
        return Key(header, secret)

    def new(self) -> Key:
        """Make the key that seals a new file."""
        return _from_passphrase(self._text, _SCRYPT_OF_FILES)


def stored_key(secret: bytes) -> Key:
    """Return the key of 32 random bytes, which is kept and not derived.

    Raises:
        StoreError: there are more or fewer.
    """
    if len(secret) != _SECRET_BYTES:
        raise StoreError(f"a key has {_SECRET_BYTES} bytes, not {len(secret)}")
    return Key({"kind": "stored", "id": _id_of(secret)}, secret)


def keep(key: Key) -> None:
    """Keep a stored key in the keyring, else in a file; raises FileError."""
    if not _put_in_keyring(key):
        _put_in_file(key)


def _id_of(secret: bytes) -> str:
    return hashlib.sha256(b"FaceSync key\0" + secret).hexdigest()[:16]


def _checked(header: Any) -> dict[str, Any]:
    """Check a header; its numbers must not cost endless time or memory."""
    damaged = StoreError("it is damaged: the description of its key cannot be read")
    if not isinstance(header, dict) or not isinstance(header.get("id"), str):
        raise damaged
    if not re.fullmatch("[0-9a-f]{16}", header["id"]):  # it becomes a file's name
        raise damaged
    if is_same(header.get("kind"), "stored") and set(header) == {"kind", "id"}:
        return header
    if not is_same(header.get("kind"), "passphrase") or set(header) != {
        "kind",
        "id",
        "salt",
        *_SCRYPT,
    }:
        raise damaged
    n, r, p = (header[name] for name in _SCRYPT)
    if not all(type(number) is int for number in (n, r, p)):
        raise damaged
    if not (2**14 <= n <= 2**18 and n & (n - 1) == 0 and 1 <= r <= 16 and 1 <= p <= 4):
        raise damaged
    salt = header["salt"]
    if not isinstance(salt, str) or not re.fullmatch("[0-9a-f]{32}", salt):
        raise damaged
    if 128 * n * r > _SCRYPT_MOST_BYTES:
        raise damaged
    return header


def _scrypt(passphrase: str, header: dict[str, Any]) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    salt = bytes.fromhex(header["salt"])
    function = Scrypt(salt, _SECRET_BYTES, n=header["n"], r=header["r"], p=header["p"])
    return function.derive(passphrase.encode("utf-8", "surrogateescape"))


def _from_passphrase(text: str, cost: Mapping[str, int]) -> Key:
    header = {"kind": "passphrase", "salt": secrets.token_hex(16), **cost}
    secret = _scrypt(text, header)
    return Key({**header, "id": _id_of(secret)}, secret)


def _stored(header: dict[str, Any]) -> bytes:
    key_id = header["id"]
    file = key_file(key_id)
    text: str | None
    try:
        text = read_regular(file).decode("ascii") if file.exists() else None
    except (OSError, ValueError) as error:
        raise StoreError(f"its key in {file} cannot be read") from error
    place = str(file)
    if text is None:
        text, place = _ask_keyring("get_password", key_id), "the system's keyring"
    if text is None:
        raise StoreError(f"its key {key_id} is missing: it is neither in the keyring nor in {file}")
    try:
        secret = base64.b64decode(text, validate=True)
    except ValueError:
        secret = b""
    if len(secret) != _SECRET_BYTES or _id_of(secret) != key_id:
        raise StoreError(f"the key in {place} is wrong")
    return secret


def _put_in_file(key: Key) -> None:
    with replacing(key_file(key.header["id"]), private=True) as file:
        file.write(base64.b64encode(key.secret))


def _put_in_keyring(key: Key) -> bool:
    """Keep a key in the system's keyring, if there is one and it returns the key."""
    key_id, text = key.header["id"], base64.b64encode(key.secret).decode()
    try:
        if not _ask_keyring("recommended"):
            return False
        _ask_keyring("set_password", key_id, text)
        return _ask_keyring("get_password", key_id) == text
    except StoreError as error:
        log.warning("%s; using a key file instead", error)
        return False


def _ask_keyring(action: str, *arguments: str) -> Any:
    """Ask the keyring, which may hang or wait for somebody, for at most `KEYRING_SECONDS`.

    Returns:
        Its answer; None if there is no keyring or it has no such key.
    """
    answer: list[Any] = []

    def ask() -> None:
        try:
            import keyring
            from keyring.core import recommended

            if action == "recommended":  # excludes those that keep keys in plain files
                answer.append(recommended(keyring.get_keyring()))
            else:
                answer.append(getattr(keyring, action)(_SERVICE, *arguments))
        except Exception as error:  # backends raise whatever they like
            log.debug("keyring: %s", error)
            answer.append(None)

    asking = threading.Thread(target=ask, daemon=True, name="keyring")
    asking.start()
    asking.join(KEYRING_SECONDS)
    if not answer:
        raise StoreError(
            f"the system's keyring did not answer within {KEYRING_SECONDS:.0f} seconds"
        )
    return answer[0]
