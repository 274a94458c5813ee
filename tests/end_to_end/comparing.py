"""What two trainings wrote, compared value by value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from facesync.pickles import load_plain

BY_CHANCE = {"seconds", "waited", "images_per_second", "input_share"}
"""Measured times."""

BY_COMMAND = {"output", "model", "workers", "resume", "device", "keep", "save_every"}
"""Settings that may change when a run is resumed."""


def content(path: Path) -> Any:
    """Return the content of a file of a training."""
    if path.suffix == ".pth":
        return torch.load(path, weights_only=True)
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return load_plain(path)


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Yield each place at which two values differ in any bit, except times and commands."""
    if isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other):
            yield f"{where}: {list(one)} and {list(other)}"
            return
        for key in one:
            if key not in BY_CHANCE | BY_COMMAND:
                yield from differences(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            yield f"{where}: of length {len(one)} and {len(other)}"
            return
        for number, values in enumerate(zip(one, other, strict=True)):
            yield from differences(*values, f"{where}/{number}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or not torch.equal(one, other):
            apart = (one.double() - other.double()).abs().max() if one.shape == other.shape else "?"
            yield f"{where}: {apart} apart"
    elif one != other or type(one) is not type(other):
        yield f"{where}: {one!r} and {other!r}"


COMPARED = (
    "final_face_model.pth",
    "best_face_model.pth",
    "training_history.pkl",
    "label_map.pkl",
    "settings.json",
)


def files(folder: Path) -> list[str]:
    """Return the names of all files below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_same(folder: Path, other: Path) -> None:
    """Compare everything that two trainings wrote."""
    assert files(folder) == files(other)
    checkpoints = [name for name in files(folder) if name.startswith("checkpoints")]
    assert checkpoints
    found = [
        difference
        for name in (*COMPARED, *checkpoints)
        for difference in differences(content(folder / name), content(other / name), name)
    ]
    assert not found, "\n".join(found)


def furthest(one: Any, other: Any, leave_out: tuple[str, ...] = ()) -> float:
    """Return the largest difference between two states' weights and buffers."""
    assert one.keys() == other.keys()
    return max(
        float((one[name].double() - other[name].double()).abs().max())
        for name in one
        if name not in leave_out
    )
