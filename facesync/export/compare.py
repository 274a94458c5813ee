"""An exported model beside torch's: how alike, how accurate, how fast, how large."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from facesync.export.images import Trial
from facesync.faces.crops import CropSpec
from facesync.metrics.rates import fold_accuracy

Run = Callable[[np.ndarray], np.ndarray]

ROUNDS = 15


def compare(ours: Run, theirs: Run, crop: CropSpec, trial: Trial) -> dict[str, Any]:
    """Compare two functions from one input, (1, 3, S, S), to one embedding, (1, 512).

    Returns:
        Plain data: `cosine_mean` and `cosine_min` between the two; of the pairs, `accuracy` and
        `torch_accuracy` (the mean over the folds) and whether there are strangers in them to
        measure it on; `cpu_ms`, `torch_cpu_ms` (processor time for one face, in one run).
    """
    inputs = [crop.array(image)[None] for image in trial.crops_rgb]
    exported = np.concatenate([ours(batch) for batch in inputs])
    original = np.concatenate([theirs(batch) for batch in inputs])
    cosines = np.einsum("ij,ij->i", exported, original)
    found: dict[str, Any] = {
        "cosine_mean": float(cosines.mean()),
        "cosine_min": float(cosines.min()),
        "pairs": trial.source,
        "pictures": len(inputs),
        "accuracy": _accuracy(exported, trial),
        "torch_accuracy": _accuracy(original, trial),
    }
    found["cpu_ms"], found["torch_cpu_ms"] = _processor_ms([ours, theirs], inputs[0])
    return found


def _accuracy(embeddings: np.ndarray, trial: Trial) -> float | None:
    """Mean accuracy over the folds; None where all pairs show one person, or none does."""
    if trial.same.all() or not trial.same.any():
        return None
    scores = np.einsum(
        "ij,ij->i", embeddings[trial.left], embeddings[trial.right], dtype=np.float64
    )
    return fold_accuracy(scores, trial.same, trial.fold).mean


def _processor_ms(runs: Sequence[Run], batch: np.ndarray) -> list[float]:
    """Median processor time of each, taken in turns, so that both see the same machine."""
    times: list[list[float]] = [[] for _ in runs]
    for number in range(ROUNDS + 1):
        for taken, run in zip(times, runs, strict=True):
            started = time.process_time()
            run(batch)
            if number:  # the first round warms up
                taken.append(1000 * (time.process_time() - started))
    return [statistics.median(taken) for taken in times]


def table(name: str, found: dict[str, Any]) -> str:
    """Set what `compare` and the export found in lines for a terminal."""

    def percent(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.2%}"

    rows = [
        ("", name, "torch"),
        ("cosine to torch, mean", f"{found['cosine_mean']:.5f}", ""),
        ("cosine to torch, least", f"{found['cosine_min']:.5f}", ""),
        ("accuracy", percent(found["accuracy"]), percent(found["torch_accuracy"])),
        ("processor ms a face", f"{found['cpu_ms']:.1f}", f"{found['torch_cpu_ms']:.1f}"),
        ("MB", f"{found['megabytes']:.1f}", f"{found['torch_megabytes']:.1f}"),
    ]
    lines = [f"{what:<24}{ours:>14}{theirs:>14}" for what, ours, theirs in rows]
    faster = found["torch_cpu_ms"] / found["cpu_ms"]
    return "\n".join([*lines, f"{faster:.1f} times as fast; on {found['pairs']}"])
