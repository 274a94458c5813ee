"""Who is registered; and the format of the store, checked when it is read.

The store holds plain containers and arrays (see `facesync.pickles`), format 2:

    {"format": 2, "created": time, "changed": time,
     "people": {name: {"embedding": float32 (512,) of unit length, "model": fingerprint or None,
                       "registered": time or None, "changed": time or None,
                       "samples": number of images averaged,
                       "sample_embeddings": float32 (n, 512), each row of unit length,
                       "sample_qualities": float32 (n,), 0 to 1}}}

Times are ISO 8601 with their zone. Format 1, which has no single samples, and the older form
`{name: array(512)}` are read too; format 2 is what is written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from facesync.errors import StoreError
from facesync.files import same_name_key

FORMAT = 2
EMBEDDING_SIZE = 512

# Characters that are invisible or reverse the text around them: they could disguise a name.
# Joiners stay: emoji and several scripts need them.
_INVISIBLE = frozenset("\u00ad\u200b\u2060\ufeff") | {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


@dataclass(frozen=True)
class Person:
    """Somebody who is registered.

    Attributes:
        name: as given, cleaned by `clean_name`.
        embedding: float32 (512,), of unit length: the template.
        fingerprint: of the model and crop that made the template; None in the older form.
        registered: when, with the time zone; None in the older form.
        samples: number of images that the template is the mean of; 0 in the older form.
        changed: when samples were last added, with the time zone; None if never.
        sample_embeddings: float32 (n, 512), each row of unit length; n is 0 if none are kept.
        sample_qualities: float32 (n,), 0…1.
    """

    name: str
    embedding: np.ndarray
    fingerprint: str | None
    registered: datetime | None
    samples: int
    changed: datetime | None = None
    sample_embeddings: np.ndarray = field(
        default_factory=lambda: np.empty((0, EMBEDDING_SIZE), dtype=np.float32)
    )
    sample_qualities: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.float32))


def clean_name(text: str) -> str:
    """Make a name one printable line: white space becomes single spaces, control characters go.

    What is left is a valid name, in any script and of any length. It cannot move the cursor of a
    terminal or disguise another name.
    """
    text = unicodedata.normalize("NFC", text)
    kept = (c for c in " ".join(text.split()) if unicodedata.category(c) not in ("Cc", "Cs"))
    return "".join(c for c in kept if c not in _INVISIBLE).strip()


def now() -> datetime:
    """Return the current time with its zone, to the second."""
    return datetime.now().astimezone().replace(microsecond=0)


def name_key(name: str) -> str:
    """Return a key that all spellings of one name share."""
    return same_name_key(clean_name(name))


def encode(people: Sequence[Person], created: datetime) -> dict[str, Any]:
    """Make the plain data of a store, which `decode` reads."""
    return {
        "format": FORMAT,
        "created": created.isoformat(),
        "changed": now().isoformat(),
        "people": {
            person.name: {
                "embedding": person.embedding.astype(np.float32),
                "model": person.fingerprint,
                "registered": person.registered and person.registered.isoformat(),
                "changed": person.changed and person.changed.isoformat(),
                "samples": person.samples,
                "sample_embeddings": person.sample_embeddings.astype(np.float32),
                "sample_qualities": person.sample_qualities.astype(np.float32),
            }
            for person in people
        },
    }


def decode(data: Any, path: Path) -> tuple[datetime, list[Person]]:
    """Check and read the data of a store; StoreError for anything that does not belong there."""
    if not isinstance(data, dict):
        raise StoreError(f"{path} is not a store of faces")
    if not isinstance(data.get("format"), int):
        return now(), [_decode_older(name, value, path) for name, value in data.items()]
    if data["format"] not in (1, FORMAT):
        raise StoreError(
            f"{path} has format {data['format']:.20g}; this version reads up to {FORMAT}: "
            "update FaceSync"
        )
    people = data.get("people")
    if not isinstance(people, dict):
        raise StoreError(f"{path} is damaged: it holds no people")
    created = _decode_time(data.get("created"), path)
    return created, [_decode_person(name, entry, path) for name, entry in people.items()]


def _decode_person(name: Any, entry: Any, path: Path) -> Person:
    name = _decode_name(name, path)
    if not isinstance(entry, dict):
        raise StoreError(f"{path} is damaged: the entry of {name} cannot be read")
    embedding = entry.get("embedding")
    if not is_template(embedding):
        raise StoreError(f"{path} is damaged: the template of {name} is not a face embedding")
    model, registered = entry.get("model"), entry.get("registered")
    count = entry.get("samples")
    if not (model is None or isinstance(model, str)) or type(count) is not int or count < 0:
        raise StoreError(f"{path} is damaged: the entry of {name} cannot be read")
    changed = entry.get("changed")
    person = Person(
        name=name,
        embedding=embedding.astype(np.float32),
        fingerprint=model,
        registered=None if registered is None else _decode_time(registered, path),
        samples=count,
        changed=None if changed is None else _decode_time(changed, path),
    )
    rows, qualities = entry.get("sample_embeddings"), entry.get("sample_qualities")
    if rows is None and qualities is None:  # format 1
        return person
    if rows is None or qualities is None or not are_samples(rows, qualities):
        raise StoreError(f"{path} is damaged: the samples of {name} are not face embeddings")
    return replace(
        person,
        sample_embeddings=rows.astype(np.float32),
        sample_qualities=qualities.astype(np.float32),
    )


def _decode_older(name: Any, value: Any, path: Path) -> Person:
    """Read an entry of the older form: 512 numbers, perhaps as one row, of any length."""
    name = _decode_name(name, path)
    if not isinstance(value, np.ndarray) or value.shape not in ((512,), (1, 512)):
        raise StoreError(f"{path} is not a store of faces: {name} is not {EMBEDDING_SIZE} numbers")
    if value.dtype.kind != "f" or not np.isfinite(value).all() or not value.any():
        raise StoreError(f"{path} is damaged: the template of {name} is not a face embedding")
    vector = value.reshape(-1).astype(np.float64)
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    return Person(name, unit, fingerprint=None, registered=None, samples=0)


def _decode_name(name: Any, path: Path) -> str:
    if not isinstance(name, str):
        raise StoreError(f"{path} is damaged: a name in it is not text")
    return clean_name(name) or "(no name)"


def _decode_time(text: Any, path: Path) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged: a time in it cannot be read") from error
    if time.tzinfo is None or not 1970 <= time.year < 9999:  # their ends have no local time
        raise StoreError(f"{path} is damaged: a time in it has no time zone or is impossible")
    return time


def is_template(value: Any) -> TypeGuard[np.ndarray]:
    """Whether a value is one embedding: (512,), floating point, of unit length."""
    return isinstance(value, np.ndarray) and value.ndim == 1 and _are_units(value[None])


def are_samples(rows: Any, qualities: Any) -> bool:
    """Whether values are n embeddings, (n, 512), and n qualities, each 0 to 1."""
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or not _are_units(rows):
        return False
    if not isinstance(qualities, np.ndarray) or qualities.shape != (len(rows),):
        return False
    return qualities.dtype.kind == "f" and bool(((qualities >= 0) & (qualities <= 1)).all())


def _are_units(rows: np.ndarray) -> bool:
    if rows.shape[1] != EMBEDDING_SIZE or rows.dtype.kind != "f":
        return False
    if not (np.abs(rows) <= 1.001).all():  # NaN is not <= either
        return False
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    return bool((np.abs(lengths - 1) < 1e-3).all())


def with_samples(person: Person, rows: np.ndarray, qualities: np.ndarray) -> Person:
    """Add samples, (n, 512) and (n,), to a person; the template becomes the mean of all.

    Of samples that were not kept (format 1) only the direction of the mean is known: its length is
    taken to be 1.
    """
    lost = max(0, person.samples - len(person.sample_embeddings))
    if person.samples == 0 and not len(person.sample_embeddings):
        lost = 1  # the older form does not say how many its template is the mean of
    all_rows = np.concatenate([person.sample_embeddings, rows]).astype(np.float32)
    total = all_rows.sum(axis=0, dtype=np.float64) + lost * person.embedding
    return replace(
        person,
        embedding=(total / np.linalg.norm(total)).astype(np.float32),
        samples=len(all_rows) + lost,
        changed=now(),
        sample_embeddings=all_rows,
        sample_qualities=np.concatenate([person.sample_qualities, qualities]).astype(np.float32),
    )
