"""The report as one self-contained HTML page: no scripts, nothing loaded from the network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facesync.cli import decimals
from facesync.evaluation import plots, summary
from facesync.evaluation.markup import curves, document, failures, figures, paragraph, table
from facesync.evaluation.protocols import PairSet
from facesync.evaluation.report import Report

_WORST = 8

GLOSSARY = {
    "genuine pair, impostor pair": "two images of one person; of two people",
    "similarity, threshold": "the cosine of two faces' embeddings, -1 to 1; the app accepts a face "
    "from the threshold on",
    "FMR, FAR": "false match rate, false accept rate: share of impostor pairs that are accepted, "
    "so of strangers let in",
    "FNMR": "false non-match rate: share of genuine pairs that are rejected, so of owners refused; "
    "an image without a face counts as rejected",
    "TAR": "true accept rate: share of genuine pairs that are accepted, 1 - FNMR",
    "EER": "equal error rate: FMR and FNMR at the threshold where they are equal",
    "accuracy": "share of pairs decided rightly, each fold at the threshold best for the others",
    "AUC": "area under the ROC curve: 1 for a perfect model, 0.5 for guessing",
    "ROC, DET": "curves over all thresholds: TAR over FAR; FNMR over FAR",
    "FPIR": "false-positive identification rate: share of searches by strangers that give a name",
    "FNIR": "false-negative identification rate: share of searches by registered people that do "
    "not give their name",
    "DIR, rank 1": "share of searches by registered people that find them first, with a similarity "
    "above the threshold (detection and identification rate); whatever the similarity",
    "95 % interval": "where the figure would be in 95 of 100 repetitions with other pairs of such "
    "people",
    "baseline": "the same figure of another model, as the line above the tables says",
}

CropOf = Callable[[int], "np.ndarray | None"]
"""Returns the crop of an image by its index, uint8 RGB, or None."""


def page(report: Report, pairs: PairSet, scores: np.ndarray, crop_of: CropOf) -> str:
    """Compose the page; `scores` are the similarities of the pairs, NaN after failures."""
    compared = ~np.isnan(scores)
    shown, same = scores[compared], pairs.same[compared]
    drawings = [
        plots.roc_svg(shown, same),
        plots.det_svg({"pairs": (shown[same], shown[~same])}, plots.FAR, plots.FRR),
        plots.histogram_svg(
            {"impostor pairs": shown[~same], "genuine pairs": shown[same]},
            report.in_force.threshold,
            "Similarities",
            "cosine similarity",
        ),
    ]
    parts = [
        paragraph(summary.baseline(report)),
        *(table(name, rows) for name, rows in summary.tables(report)),
        *map(paragraph, summary.notes(report)),
        curves(drawings),
        _worst("Least similar genuine pairs", pairs, scores, crop_of, genuine=True),
        _worst("Most similar impostor pairs", pairs, scores, crop_of, genuine=False),
        failures("Failed to enrol", report.failures),
    ]
    return document(report.title, summary.verdict(report), GLOSSARY, parts)


def _worst(
    title: str, pairs: PairSet, scores: np.ndarray, crop_of: CropOf, *, genuine: bool
) -> str:
    members = np.flatnonzero(~np.isnan(scores) & (pairs.same == genuine))
    order = np.argsort(scores[members] if genuine else -scores[members], kind="stable")
    shown = []
    for pair in members[order[:_WORST]]:
        left, right = int(pairs.left[pair]), int(pairs.right[pair])
        names = f"{pairs.images[left].name}, {pairs.images[right].name}"
        crops = [crop_of(left), crop_of(right)]
        shown.append((crops, f"{decimals(scores[pair])}: {names}"))
    return figures(title, shown)
