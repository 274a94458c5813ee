"""Compare an exported model with the original: likeness, accuracy, speed and size."""

from __future__ import annotations

from typing import Any

import numpy as np

from facesync.export.images import Trial
from facesync.export.timing import processor_ms
from facesync.faces.onnx_runtime import Embedder

ROUNDS = 15
"""Timed runs of each model."""


def compare(ours: Embedder, theirs: Embedder, trial: Trial) -> dict[str, Any]:
    """Compare an exported model and the original on the inputs of a trial.

    Returns:
        Plain data: `cosine_mean` and `cosine_min` between the outputs of the two (of a liveness
        model `score_mean` and `score_min`: one minus the difference of the scores); the figures of
        `trial.measure` for the exported model and, as `original_…`, for the original, None where
        they cannot be measured; `cpu_ms` and `original_cpu_ms`, CPU time for one face.
    """
    exported = np.concatenate([ours(batch) for batch in trial.inputs])
    original = np.concatenate([theirs(batch) for batch in trial.inputs])
    alike = trial.alike(exported, original)
    found: dict[str, Any] = {
        f"{trial.likeness}_mean": float(alike.mean()),
        f"{trial.likeness}_min": float(alike.min()),
        "compared_on": trial.source,
        "images": len(trial.inputs),
        **trial.measure(exported),
        **{f"original_{name}": value for name, value in trial.measure(original).items()},
    }
    first = trial.inputs[0]
    ways = {"cpu_ms": lambda: ours(first), "original_cpu_ms": lambda: theirs(first)}
    return found | processor_ms(ways, ROUNDS)


def table(name: str, runtime: str, found: dict[str, Any]) -> str:
    """Format the results of `compare` and the sizes for a terminal."""
    rows = [("", name, runtime)]
    for key, (title, form) in _ROWS.items():
        if key in found:
            of_original = f"original_{key}"
            theirs = _cell(found[of_original], form) if of_original in found else ""
            rows.append((title, _cell(found[key], form), theirs))
    lines = [f"{what:<28}{ours:>14}{theirs:>14}" for what, ours, theirs in rows]
    faster = found["original_cpu_ms"] / found["cpu_ms"]
    return "\n".join([*lines, f"{faster:.1f} times as fast; on {found['compared_on']}"])


_ROWS = {
    "cosine_mean": ("cosine to original, mean", ".5f"),
    "cosine_min": ("cosine to original, lowest", ".5f"),
    "score_mean": ("likeness of scores, mean", ".5f"),
    "score_min": ("likeness of scores, lowest", ".5f"),
    "accuracy": ("accuracy", ".2%"),
    "tar": ("TAR at a FAR of 1e-5", ".2%"),
    "auc": ("AUC", ".4f"),
    "cpu_ms": ("CPU ms per face", ".1f"),
    "megabytes": ("MB", ".1f"),
}


def _cell(value: float | None, form: str) -> str:
    return "not measured" if value is None else f"{value:{form}}"
