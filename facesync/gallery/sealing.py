"""Sealed data: AES-256-GCM (NIST SP 800-38D) around a pickle or an image.

A sealed file is a pickle of plain containers, opened by the restricted reader like every other:

    {"format": 2, "encryption": {"cipher": "AES-256-GCM", "key": header of `facesync.gallery.keys`},
     "nonce": 12 bytes, "data": ciphertext and tag}

Format, encryption and what the data is (the store, or which image of whom) are authenticated
with it: neither can be changed, nor one file be put in the place of another, without being noticed.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from facesync.errors import FileError, StoreError
from facesync.gallery.keys import Key, KeyChain
from facesync.pickles import dumps_plain, loads_plain

FORMAT = 2
CIPHER = "AES-256-GCM"
STORE, BACKUP = "store", "backup"
"""What sealed data is, besides `image …`."""


def seal(plain: bytes, key: Key | None, what: str) -> bytes:
    """Seal bytes; without a key they stay as they are."""
    if key is None:
        return plain
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(12)
    encryption = {"cipher": CIPHER, "key": key.header}
    data = AESGCM(key.secret).encrypt(nonce, plain, _authenticated(encryption, what))
    return dumps_plain({"format": FORMAT, "encryption": encryption, "nonce": nonce, "data": data})


def is_sealed(data: Any) -> bool:
    """Whether what was read is sealed."""
    return isinstance(data, dict) and isinstance(data.get("encryption"), dict)


def unseal(data: dict[str, Any], keys: KeyChain, what: str, path: Path) -> tuple[bytes, Key]:
    """Open sealed data.

    Returns:
        The bytes that were sealed, and the key.

    Raises:
        StoreError: the key is missing or wrong, or the data is not what was sealed.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    encryption, nonce, sealed = data["encryption"], data.get("nonce"), data.get("data")
    if data.get("format") != FORMAT or encryption.get("cipher") != CIPHER:
        raise StoreError(f"{path} is damaged, or sealed by a newer version: update FaceSync")
    if not isinstance(nonce, bytes) or len(nonce) != 12 or not isinstance(sealed, bytes):
        raise StoreError(f"{path} is damaged: what is sealed in it is not readable")
    try:
        key = keys.find(encryption.get("key"))
    except FileError as error:
        raise StoreError(f"{path} was not opened: {error}") from error
    except StoreError as error:
        raise StoreError(f"{path} was not opened: {error}") from error
    try:
        plain = AESGCM(key.secret).decrypt(nonce, sealed, _authenticated(encryption, what))
    except InvalidTag as error:
        raise StoreError(f"{path} was changed or damaged since it was sealed") from error
    return plain, key


def read(path: Path, keys: KeyChain, what: str) -> tuple[bytes, Key | None]:
    """Read a file that may be sealed: its bytes, and the key where it was.

    Raises:
        FileError: it cannot be read, or is no pickle.
        StoreError: it is sealed and cannot be opened.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error
    data = loads_plain(raw, path)
    return unseal(data, keys, what, path) if is_sealed(data) else (raw, None)


def _authenticated(encryption: dict[str, Any], what: str) -> bytes:
    key = encryption["key"]
    text = json.dumps(["FaceSync", FORMAT, CIPHER, sorted(key.items()), what])
    return text.encode()
