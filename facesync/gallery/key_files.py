"""The key of a gallery in a file that goes to another machine, sealed with a passphrase.

It is a sealed file like any other (`facesync.gallery.sealing`): 32 bytes, which seal the gallery,
under a key that scrypt derives from the passphrase. It names neither the gallery nor anybody in it.
"""

from __future__ import annotations

from pathlib import Path

from facesync.errors import StoreError
from facesync.files import replacing
from facesync.gallery import sealing
from facesync.gallery.keys import Key, OnePassphrase, stored_key


def write(file: Path, key: Key, passphrase: str) -> None:
    """Write a stored key into a file, mode 0600.

    Raises:
        StoreError: the key is derived from a passphrase.
        FileError: the file cannot be written.
    """
    if key.header["kind"] != "stored":
        raise StoreError(
            "the key comes from a passphrase, which opens the store on any machine: "
            "there is nothing to export"
        )
    sealed = sealing.seal(key.secret, OnePassphrase(passphrase).new(), sealing.KEY)
    with replacing(file, private=True) as opened:
        opened.write(sealed)


def read(file: Path, passphrase: str) -> Key:
    """Read the key in a file; it is kept nowhere yet.

    Raises:
        StoreError: the file cannot be read, is damaged or holds no key, or the passphrase is wrong.
    """
    secret, sealed_with = sealing.read(file, OnePassphrase(passphrase), sealing.KEY)
    if sealed_with is None:
        raise StoreError(f"{file} holds no key: `store key export` writes one")
    try:
        return stored_key(secret)
    except StoreError as error:
        raise StoreError(f"{file} is damaged: {error}") from error
