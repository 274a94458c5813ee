"""What an audit finds, and the CSV of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facesync.files import write_csv

UNDECODABLE = "undecodable"
EXACT_COPY = "exact copy"
NEAR_COPY = "near copy"
NO_FACE = "no face"
WRONG_IDENTITY = "wrong identity"
TWO_PEOPLE = "two people"
SAME_PERSON = "same person"
KINDS = (UNDECODABLE, EXACT_COPY, NEAR_COPY, NO_FACE, TWO_PEOPLE, SAME_PERSON, WRONG_IDENTITY)

_COLUMNS = ("picture", "identity", "finding", "evidence", "other", "action")


@dataclass(frozen=True)
class Finding:
    """One image that should be left out, and why.

    Attributes:
        image: its index in the dataset.
        kind: one of `KINDS`.
        evidence: what was measured, as text.
        other: the image it copies (`identity/key`), the identity it looks like, or "".
        action: what can be done about it.
        strength: how far the measurement exceeds its threshold; orders findings of one kind.
        compare: indices of the images to show with it, in groups: of its identity, of the other.
    """

    image: int
    kind: str
    evidence: str
    other: str
    action: str
    strength: float
    compare: tuple[tuple[int, ...], ...] = ()

    def reason(self) -> str:
        """Return why the image is left out, for the list."""
        about = f" ({self.other})" if self.other else ""
        return f"{self.kind}{about}: {self.evidence}"


def write_findings(path: Path, findings: Iterable[Finding], names: Sequence[str]) -> None:
    """Write the CSV, UTF-8; `names` has the `identity/key` of each image of the dataset.

    Raises:
        FileError: it cannot be written.
    """
    rows = []
    for found in findings:
        name = names[found.image]
        identity = name.rpartition("/")[0]
        rows.append((name, identity, found.kind, found.evidence, found.other, found.action))
    write_csv(path, _COLUMNS, rows)
