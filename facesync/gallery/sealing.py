"""Encryption at rest: AES-256-GCM (NIST SP 800-38D) around a pickle or an image.

A sealed file is a pickle of plain containers, read by the restricted reader like every other:

    {"format": 2, "encryption": {"cipher": "AES-256-GCM", "key": header of `facesync.gallery.keys`},
     "nonce": 12 bytes, "data": ciphertext and tag}

Format, encryption and what the data is (the store, or which image of whom) are authenticated with
it: none of them can be changed, and no file swapped for another, unnoticed.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from facesync.errors import FileError, StoreError
from facesync.gallery.keys import Finder, Key
from facesync.pickles import MOST_BYTES, dumps_plain, is_same, loads_plain, read_bytes

FORMAT = 2
CIPHER = "AES-256-GCM"
STORE, BACKUP, KEY = "store", "backup", "key"
"""What sealed data is, if not `image …`."""

_MOST_BYTES = {STORE: MOST_BYTES, KEY: 1 << 20}


def seal(plain: bytes, key: Key | None, what: str) -> bytes:
    """Seal bytes; without a key return them unchanged."""
    if key is None:
        return plain
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(12)
    encryption = {"cipher": CIPHER, "key": key.header}
    data = AESGCM(key.secret).encrypt(nonce, plain, _authenticated(encryption, what))
    return dumps_plain({"format": FORMAT, "encryption": encryption, "nonce": nonce, "data": data})


def read(path: Path, keys: Finder, what: str) -> tuple[bytes, Key | None]:
    """Read a file that may be sealed: its plain bytes, and the key if it was.

    Raises:
        StoreError: it cannot be read, is not a pickle, was changed since it was sealed, or its key
            is missing or wrong.
    """
    raw, data = _parse(path, what)
    return _unseal(data, keys, what, path) if _is_sealed(data) else (raw, None)


def is_sealed(path: Path) -> bool:
    """Whether a store is sealed, whoever has its key; False if it cannot be read."""
    try:
        return _is_sealed(_parse(path, STORE)[1])
    except StoreError:
        return False


def key_id(path: Path) -> str | None:
    """Return the id of the key that a store is sealed with, whoever has it; None if it is plain.

    Raises:
        StoreError: the store cannot be read.
    """
    data = _parse(path, STORE)[1]
    if not _is_sealed(data):
        return None
    key = data["encryption"].get("key")
    if not isinstance(key, dict) or not isinstance(key.get("id"), str):
        raise StoreError(f"{path} is damaged: the description of its key cannot be read")
    return str(key["id"])


def load(path: Path, keys: Finder, what: str) -> tuple[Any, bytes, Key | None]:
    """Read a pickle that may be sealed: its data, its plain bytes, and the key if it was.

    Raises:
        StoreError: as `read`, or what was sealed is not a pickle.
    """
    plain, key = read(path, keys, what)
    try:
        return loads_plain(plain, path), plain, key
    except FileError as error:
        raise StoreError(str(error)) from error


def _parse(path: Path, what: str) -> tuple[bytes, Any]:
    try:
        raw = read_bytes(path, _MOST_BYTES.get(what, 8 * MOST_BYTES))
        return raw, loads_plain(raw, path)
    except FileError as error:
        raise StoreError(str(error)) from error


def _is_sealed(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("encryption"), dict)


def _unseal(data: dict[str, Any], keys: Finder, what: str, path: Path) -> tuple[bytes, Key]:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    encryption, nonce, sealed = data["encryption"], data.get("nonce"), data.get("data")
    if not (is_same(data.get("format"), FORMAT) and is_same(encryption.get("cipher"), CIPHER)):
        raise StoreError(f"{path} is damaged, or was encrypted by a newer version: update FaceSync")
    if not isinstance(nonce, bytes) or len(nonce) != 12 or not isinstance(sealed, bytes):
        raise StoreError(f"{path} is damaged: its encrypted content cannot be read")
    try:
        key = keys.find(encryption.get("key"))
        plain = AESGCM(key.secret).decrypt(nonce, sealed, _authenticated(encryption, what))
    except StoreError as error:
        raise StoreError(f"cannot open {path}: {error}") from error
    except InvalidTag as error:
        raise StoreError(f"{path} has been changed or damaged since it was encrypted") from error
    return plain, key


def _authenticated(encryption: dict[str, Any], what: str) -> bytes:
    key = encryption["key"]
    text = json.dumps(["FaceSync", FORMAT, CIPHER, sorted(key.items()), what])
    return text.encode()
