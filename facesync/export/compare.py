"""Compare an exported model with the original in torch: similarity, accuracy, speed and size."""

from __future__ import annotations

from typing import Any

import numpy as np

from facesync.export.images import Trial
from facesync.export.timing import processor_ms
from facesync.faces.crops import CropSpec
from facesync.faces.onnx_runtime import Embedder
from facesync.metrics.rates import fold_accuracy

ROUNDS = 15
"""Timed runs of each model."""


def compare(ours: Embedder, theirs: Embedder, crop: CropSpec, trial: Trial) -> dict[str, Any]:
    """Compare two functions from one input, (1, 3, S, S), to one embedding, (1, 512).

    Returns:
        Plain data: `cosine_mean` and `cosine_min` between the two; `accuracy` and
        `torch_accuracy` on the pairs (mean over the folds, None if it cannot be measured);
        `cpu_ms` and `torch_cpu_ms`, CPU time for one face.
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
    ways = {"cpu_ms": lambda: ours(inputs[0]), "torch_cpu_ms": lambda: theirs(inputs[0])}
    return found | processor_ms(ways, ROUNDS)


def _accuracy(embeddings: np.ndarray, trial: Trial) -> float | None:
    """Return the mean accuracy over the folds; None unless there are pairs of both kinds."""
    pairs = trial.pairs
    if pairs.same.all() or not pairs.same.any():
        return None
    return fold_accuracy(pairs.scores(embeddings), pairs.same, pairs.fold).mean


def table(name: str, found: dict[str, Any]) -> str:
    """Format the results of `compare` and the export for a terminal."""

    def percent(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.2%}"

    rows = [
        ("", name, "torch"),
        ("cosine to torch, mean", f"{found['cosine_mean']:.5f}", ""),
        ("cosine to torch, lowest", f"{found['cosine_min']:.5f}", ""),
        ("accuracy", percent(found["accuracy"]), percent(found["torch_accuracy"])),
        ("CPU ms per face", f"{found['cpu_ms']:.1f}", f"{found['torch_cpu_ms']:.1f}"),
        ("MB", f"{found['megabytes']:.1f}", f"{found['torch_megabytes']:.1f}"),
    ]
    lines = [f"{what:<24}{ours:>14}{theirs:>14}" for what, ours, theirs in rows]
    faster = found["torch_cpu_ms"] / found["cpu_ms"]
    return "\n".join([*lines, f"{faster:.1f} times as fast; on {found['pairs']}"])
