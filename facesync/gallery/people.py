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
from facesync.faces.embedding import EMBEDDING_SIZE, are_embeddings, unit
from facesync.files import same_name_key

FORMAT = 2

# Characters without a glyph of their own could disguise a name: Unicode's default-ignorable code
# points (DerivedCoreProperties.txt), interlinear annotation and the blank Braille pattern.
_INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
        (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800),
        (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB),
        (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    )
    for code in range(first, last + 1)
)  # fmt: skip
# Of these, emoji and several scripts need joiners and selectors: they are kept, but do not make
# another name.
_JOINING = frozenset("\u180b\u180c\u180d\u200c\u200d\ufe0e\ufe0f")
# What must not even be printed, in a store as in a new name: it reorders the text around it.
_REORDERING = frozenset(chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))


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

    What is left is a valid name, in any script and of any length; it is empty if nothing in it can
    be seen. It cannot move the cursor of a terminal, nor disguise another name: see `name_key`.
    """
    text = _one_line(text, _INVISIBLE - _JOINING)
    return text if name_key(text) else ""


def _one_line(text: str, without: frozenset[str]) -> str:
    text = "".join(
        c
        for c in text
        if c not in without and (c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    )
    return " ".join(unicodedata.normalize("NFC", text).split())


def now() -> datetime:
    """Return the current time with its zone, to the second."""
    return datetime.now().astimezone().replace(microsecond=0)


def name_key(name: str) -> str:
    """Return a key that all spellings of one name share; what is invisible does not matter."""
    return same_name_key(_one_line(name, _INVISIBLE))


def encode(people: Sequence[Person], created: datetime) -> dict[str, Any]:
    """Make the plain data of a store, which `decode` reads."""
    return {
        "format": FORMAT,
        "created": created.isoformat(),
        "changed": now().isoformat(),
        "people": {person.name: encode_person(person) for person in people},
    }


def encode_person(person: Person) -> dict[str, Any]:
    """Make the plain data of a person, all but the name."""
    return {
        "embedding": person.embedding.astype(np.float32),
        "model": person.fingerprint,
        "registered": person.registered and person.registered.isoformat(),
        "changed": person.changed and person.changed.isoformat(),
        "samples": person.samples,
        "sample_embeddings": person.sample_embeddings.astype(np.float32),
        "sample_qualities": person.sample_qualities.astype(np.float32),
    }


def decode(data: Any, path: Path) -> tuple[datetime, list[Person]]:
    """Check and read the data of a store; StoreError for anything that does not belong there."""
    if not isinstance(data, dict):
        raise StoreError(f"{path} is not a store of registered people")
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
    return created, [decode_person(name, entry, path) for name, entry in people.items()]


def decode_person(name: Any, entry: Any, path: Path | str) -> Person:
    """Check and read the data of a person; StoreError, which names `path`, for anything else."""
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
        raise StoreError(
            f"{path} is not a store of registered people: {name} is not {EMBEDDING_SIZE} numbers"
        )
    if value.dtype.kind != "f" or not np.isfinite(value).all() or not value.any():
        raise StoreError(f"{path} is damaged: the template of {name} is not a face embedding")
    vector = value.reshape(-1).astype(np.float64)
    # Numbers so large or small that their squares are not numbers have a direction all the same.
    template = unit(vector / np.abs(vector).max()).astype(np.float32)
    return Person(name, template, fingerprint=None, registered=None, samples=0)


def _decode_name(name: Any, path: Path | str) -> str:
    if not isinstance(name, str):
        raise StoreError(f"{path} is damaged: a name in it is not text")
    # Not `clean_name`: the folder of the images has the name that was stored.
    return _one_line(name, _REORDERING) or "(no name)"


def _decode_time(text: Any, path: Path | str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged: a time in it cannot be read") from error
    if time.tzinfo is None or not 1970 <= time.year < 9999:  # their ends have no local time
        raise StoreError(f"{path} is damaged: a time in it has no time zone or is impossible")
    return time


def is_template(value: Any) -> TypeGuard[np.ndarray]:
    """Whether a value is one embedding: (512,), floating point, of unit length."""
    return isinstance(value, np.ndarray) and value.ndim == 1 and are_embeddings(value[None])


def are_samples(rows: Any, qualities: Any) -> bool:
    """Whether values are n embeddings, (n, 512), and n qualities, each 0 to 1."""
    if not isinstance(rows, np.ndarray) or not are_embeddings(rows):
        return False
    if not isinstance(qualities, np.ndarray) or qualities.shape != (len(rows),):
        return False
    return qualities.dtype.kind == "f" and bool(((qualities >= 0) & (qualities <= 1)).all())


def from_samples(
    name: str, fingerprint: str, embeddings: np.ndarray, qualities: np.ndarray
) -> Person:
    """Make the person of samples, (n, 512) and (n,), n at least 1, registered now.

    The template is their unit mean, and no embedding (`is_template`) if they have none.
    """
    return Person(
        name=name,
        embedding=unit(embeddings.mean(axis=0)).astype(np.float32),
        fingerprint=fingerprint,
        registered=now(),
        samples=len(embeddings),
        sample_embeddings=embeddings.astype(np.float32),
        sample_qualities=qualities,
    )


def merged(person: Person, other: Person) -> Person:
    """Add the samples of another to a person; the template becomes the mean of all.

    Raises:
        StoreError: the samples point in opposite directions and have no mean.
    """
    rows = np.concatenate([person.sample_embeddings, other.sample_embeddings])
    qualities = np.concatenate([person.sample_qualities, other.sample_qualities])
    return with_samples(person, rows, qualities, [person, other])


def with_samples(
    person: Person, rows: np.ndarray, qualities: np.ndarray, unkept: Sequence[Person] = ()
) -> Person:
    """Give a person samples, (n, 512) and (n,), in place of theirs.

    The template becomes the mean of these and of those of `unkept` that were not kept
    (`unkept_samples`), of which only the direction of the mean is known: its length is taken to
    be 1.

    Raises:
        StoreError: the samples point in opposite directions and have no mean.
    """
    total = rows.sum(axis=0, dtype=np.float64)
    for each in unkept:
        if number := unkept_samples(each):
            total += number * each.embedding
    template = unit(total).astype(np.float32)
    if not is_template(template):
        raise StoreError(f"the samples of {person.name} have nothing in common; use --replace")
    return replace(
        person,
        embedding=template,
        samples=len(rows) + sum(map(unkept_samples, unkept)),
        changed=now(),
        sample_embeddings=rows.astype(np.float32),
        sample_qualities=qualities.astype(np.float32),
    )


def unkept_samples(person: Person) -> int:
    """Return of how many samples, besides those that are kept, a template is the mean.

    Format 1 kept none; the older form does not say how many there were, and counts as one.
    """
    if person.samples == 0 and not len(person.sample_embeddings):
        return 1
    return max(0, person.samples - len(person.sample_embeddings))


def with_name(people: Sequence[Person], name: str) -> tuple[list[Person], list[Person]]:
    """Split people into those who have a name, however spelled, and the others."""
    key = name_key(name)
    same = [person for person in people if name_key(person.name) == key]
    return same, [person for person in people if name_key(person.name) != key]


def one_with_name(people: Sequence[Person], name: str) -> tuple[Person, list[Person]]:
    """Return who has a name, and everybody else.

    Older versions told spellings of a name apart: then it is who is spelled just so, or the first.

    Raises:
        StoreError: nobody has it.
    """
    same, _ = with_name(people, name)
    if not same:
        raise StoreError(f"nobody is registered as {clean_name(name)}; `list` shows who is")
    one = next((person for person in same if person.name == clean_name(name)), same[0])
    return one, [person for person in people if person is not one]
