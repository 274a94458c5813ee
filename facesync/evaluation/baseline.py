"""The figures that those of an evaluation are shown beside.

They are those of another evaluation (`--baseline report.json`) or, by default, of the best known
model on people that none of the known models was trained on: `assets/baseline.json`, which
`benchmarks/baseline.py` takes from a report, and the model's card.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facesync.cli import one_line
from facesync.errors import DataError
from facesync.faces.models import ASSETS, EDGEFACE
from facesync.files import read_text

SHIPPED = ASSETS / "baseline.json"


@dataclass(frozen=True)
class Baseline:
    """The content of a `report.json`, nothing in which is trusted."""

    data: Mapping[str, Any]

    def number(self, *keys: str) -> float | None:
        """Return a figure by its keys from the outside in; None if there is no such number."""
        found: Any = self.data
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return float(found) if type(found) in (int, float) and abs(found) < 1e12 else None

    def fnir(self, enrolled: int, fpir: float) -> float | None:
        """Return the share of enrolled people that are refused; None if it was not measured."""
        rows = self.data.get("open_set")
        for row in map(Baseline, rows if isinstance(rows, list) else []):
            if isinstance(row.data, dict) and row.number("enrolled") == enrolled:
                if row.number("fpir") == fpir:
                    return row.number("fnir")
        return None

    def in_words(self, source: str, pairs: int) -> str:
        """Say what it is, and whether it was measured on these pairs."""
        model = self.data.get("model")
        name = model.get("source") if isinstance(model, dict) else None
        same = self.data.get("set") == source and self.number("pairs") == pairs
        kind = "the same pairs" if same else "not surely the same pairs, so compare with care"
        return one_line(f"Baseline: {name} on {self.data.get('set')}: {kind}.")


def read_baseline(path: Path | None, source: str) -> Baseline:
    """Read the baseline for a set of pairs.

    Args:
        path: a `report.json`; None for the known model that ships.
        source: the set's name in it, if it has several.

    Raises:
        FileError: it cannot be read.
        DataError: it is not a report.
    """
    try:
        data = json.loads(read_text(path or SHIPPED))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a report of evaluate_model.py: it is not JSON") from error
    sets = data.get("sets") if isinstance(data, dict) else None
    if isinstance(sets, dict):
        each = [one for one in sets.values() if isinstance(one, dict)]
        data = next((one for one in each if one.get("set") == source), None)
    if not isinstance(data, dict) or Baseline(data).number("pairs") is None:
        raise DataError(f"{path} is not a report of evaluate_model.py on {source}")
    if path is None:
        data["open_set"] = EDGEFACE.card()["open_set"]
    return Baseline(data)
