"""What a server is given to keep: bytes that say nothing, and that cannot be swapped unnoticed.

AES-256-GCM seals them, as the files (`facesync.gallery.sealing`): 12 bytes of nonce, ciphertext and
tag. Authenticated with them is what they are: of which gallery, of which row and, where rows
change, of which revision. So a server can neither read nor make a row, nor put one in another's
place, nor an older one in its own.

It could still leave rows out. So each change seals, in the head of the gallery, how many people
there are and the sum of a keyed hash of every row's id, revision and tag (MSet-Add-Hash: Clarke et
al. 2003, "Incremental multiset hash functions and their application to memory integrity checking").
The tag tells a row from one that a change which was undone left at the same revision. An older
state of the whole gallery is consistent in itself: a door that has seen a newer one says so.

A person is a length, JSON and an array, not a pickle: 50,000 of them are read at the start, and
the restricted reader would take several times as long. Images are not in it but their digests are,
so that an image is one of those stored last, or refused.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from facesync.errors import StoreError
from facesync.faces.embedding import EMBEDDING_SIZE
from facesync.gallery import attempts, samples
from facesync.gallery.keys import Key
from facesync.gallery.people import Person, decode_person, encode_person

DAMAGED = "something there has been changed or damaged since it was encrypted"

_ARRAYS = ("embedding", "sample_embeddings", "sample_qualities")
_MODULUS = 1 << 256
_NONCE = 12
TAG = 16
"""How many bytes at the end of what is sealed are its tag."""


@dataclass(frozen=True)
class Row:
    """A person as the server keeps them.

    Attributes:
        person: who.
        revision: of the gallery, when they last changed.
        images: SHA-256 of each image as it is kept, sealed, by its name.
        tag: of the sealed row; nothing before it is sealed.
    """

    person: Person
    revision: int
    images: Mapping[str, bytes]
    tag: bytes = b""


@dataclass(frozen=True)
class Head:
    """What a gallery is as a whole: its revision, how many people, and the sum over their rows."""

    revision: int
    people: int
    total: str
    created: str


class Seal:
    """Seals and opens what one gallery keeps on a server.

    Args:
        key: of the gallery.
        gallery: its random id, which tells it from others with the same key.
    """

    def __init__(self, key: Key, gallery: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.key, self.gallery = key, gallery
        self.header = json.dumps(key.header)
        self.salt = hashlib.sha256(f"FaceSync attempts {gallery}".encode()).hexdigest()[:32]
        self._cipher = AESGCM(key.secret)
        self._hashes = hmac.digest(key.secret, b"FaceSync rows of a server", "sha256")

    def seal(self, plain: bytes, what: str) -> bytes:
        """Seal bytes, of which `what` says what they are."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, self._bound(what))

    def open(self, sealed: object, what: str) -> bytes:
        """Open sealed bytes; StoreError if they are not just what they should be."""
        from cryptography.exceptions import InvalidTag

        if not isinstance(sealed, bytes):
            raise StoreError(DAMAGED)
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._bound(what))
        except (InvalidTag, ValueError) as error:
            raise StoreError(DAMAGED) from error

    def total(self, rows: Mapping[str, Row]) -> str:
        """Return the sum over rows, by their ids, in hexadecimal."""
        texts = (
            f"{self.gallery}/{row_id}/{row.revision}/{row.tag.hex()}".encode()
            for row_id, row in rows.items()
        )
        digests = (hmac.digest(self._hashes, text, "sha256") for text in texts)
        return f"{sum(int.from_bytes(digest, 'big') for digest in digests) % _MODULUS:064x}"

    def person(self, row_id: str, row: Row) -> bytes:
        """Seal a person."""
        facts = encode_person(row.person)
        arrays = [facts.pop(name) for name in _ARRAYS]
        facts["name"] = row.person.name
        facts["images"] = {name: digest.hex() for name, digest in row.images.items()}
        text = json.dumps(facts).encode("ascii")
        numbers = b"".join(array.astype("<f4").tobytes() for array in arrays)
        plain = struct.pack("<I", len(text)) + text + numbers
        return self.seal(plain, f"person {row_id} {row.revision}")

    def open_person(self, row_id: str, revision: int, sealed: object) -> Row:
        """Open a person; StoreError if it is not who was sealed in this row at this revision."""
        plain = self.open(sealed, f"person {row_id} {revision}")
        try:
            (size,) = struct.unpack_from("<I", plain)
            facts: dict[str, Any] = json.loads(plain[4 : 4 + size])
            numbers = np.frombuffer(plain, "<f4", offset=4 + size).astype(np.float32)
            rows = (len(numbers) - EMBEDDING_SIZE) // (EMBEDDING_SIZE + 1)
            template, *parts = np.split(numbers, [EMBEDDING_SIZE, EMBEDDING_SIZE * (1 + rows)])
            arrays = (template, parts[0].reshape(rows, EMBEDDING_SIZE), parts[1])
            facts |= dict(zip(_ARRAYS, arrays, strict=True))
            images = {name: bytes.fromhex(digest) for name, digest in facts["images"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
            raise StoreError(DAMAGED) from error
        if not all(map(samples.is_name, images)):
            raise StoreError(DAMAGED)
        assert isinstance(sealed, bytes)  # or it had not opened
        person = decode_person(facts.get("name"), facts, "the gallery")
        return Row(person, revision, images, sealed[-TAG:])

    def head(self, head: Head) -> bytes:
        """Seal the head."""
        return self.seal(json.dumps(vars(head)).encode(), "head")

    def open_head(self, sealed: object) -> Head:
        """Open the head."""
        return Head(**json.loads(self.open(sealed, "head")))

    def image(self, row_id: str, image: str, data: bytes) -> bytes:
        """Seal an encoded image."""
        return self.seal(data, f"image {row_id} {image}")

    def open_image(self, row_id: str, image: str, sealed: object, digest: bytes) -> bytes:
        """Open an image; StoreError if it is not the one that was stored last."""
        if not isinstance(sealed, bytes) or not hmac.compare_digest(
            hashlib.sha256(sealed).digest(), digest
        ):
            raise StoreError(DAMAGED)
        return self.open(sealed, f"image {row_id} {image}")

    def counts(self, state: attempts.State, saves: int) -> bytes:
        """Seal the counts of failed attempts."""
        return self.seal(attempts.encoded(state), f"attempts {saves}")

    def open_counts(self, sealed: object, saves: int) -> attempts.State:
        """Open the counts of failed attempts."""
        return attempts.decode(json.loads(self.open(sealed, f"attempts {saves}")))

    def _bound(self, what: str) -> bytes:
        return json.dumps(["FaceSync", 1, self.gallery, what]).encode()
