"""The report as one self-contained HTML page: no scripts, nothing loaded from the network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable

import numpy as np

from facesync.cli import decimals
from facesync.evaluation import plots, summary
from facesync.evaluation.protocols import PairSet
from facesync.evaluation.report import Report

_WORST = 8
_THUMBNAIL = 96
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
tr + tr > * { border-top: 1px solid #ddd }
.verdict { font-size: 1.1rem } summary { cursor: pointer }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: .85rem }
dt { font-weight: 600 } dd { margin: 0 }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } .plots svg { max-width: 30rem; height: auto }
.pairs { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; width: 200px }
figure img { width: 96px; height: 96px; object-fit: cover }
figcaption { font-size: .75rem; overflow-wrap: anywhere }
"""

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
    title = html.escape(report.title)
    compared = ~np.isnan(scores)
    shown, same = scores[compared], pairs.same[compared]
    drawings = [
        plots.roc_svg(shown, same),
        plots.det_svg(shown, same),
        plots.histogram_svg(shown, same, report.in_force.threshold),
    ]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        f"<p class=verdict>{html.escape(summary.verdict(report))}</p>",
        _glossary(),
        f"<p>{html.escape(summary.baseline(report))}</p>",
        *(_table(name, rows) for name, rows in summary.tables(report)),
        *(f"<p>{html.escape(note)}</p>" for note in summary.notes(report)),
        f'<h2>Curves</h2><div class="plots">{"".join(drawings)}</div>',
        _worst("Least similar genuine pairs", pairs, scores, crop_of, genuine=True),
        _worst("Most similar impostor pairs", pairs, scores, crop_of, genuine=False),
        _failures(report.failures),
        "</body></html>",
    ]
    return "\n".join(parts)


def _glossary() -> str:
    terms = (
        f"<dt>{html.escape(term)}</dt><dd>{html.escape(meaning)}</dd>"
        for term, meaning in GLOSSARY.items()
    )
    return (
        f"<details open><summary>What the words mean</summary><dl>{''.join(terms)}</dl></details>"
    )


def _table(title: str, rows: list[summary.Row]) -> str:
    lines = [f"<h2>{html.escape(title)}</h2><table>"]
    for number, row in enumerate(rows):
        tag = "th" if number == 0 else "td"
        lines.append("<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>")
    return "\n".join([*lines, "</table>"])


def _worst(
    title: str, pairs: PairSet, scores: np.ndarray, crop_of: CropOf, *, genuine: bool
) -> str:
    members = np.flatnonzero(~np.isnan(scores) & (pairs.same == genuine))
    order = np.argsort(scores[members] if genuine else -scores[members], kind="stable")
    figures = []
    for pair in members[order[:_WORST]]:
        left, right = int(pairs.left[pair]), int(pairs.right[pair])
        names = f"{pairs.images[left].name}, {pairs.images[right].name}"
        figures.append(
            f"<figure>{_image(crop_of(left))}{_image(crop_of(right))}"
            f"<figcaption>{decimals(scores[pair])}: {html.escape(names)}</figcaption>"
            "</figure>"
        )
    return f'<h2>{title}</h2><div class="pairs">{"".join(figures)}</div>'


def _image(crop_rgb: np.ndarray | None) -> str:
    from PIL import Image

    if crop_rgb is None:
        return ""
    buffer = io.BytesIO()
    image = Image.fromarray(crop_rgb)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(buffer, format="JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _failures(failures: list[tuple[str, str]]) -> str:
    if not failures:
        return ""
    items = "".join(
        f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in failures[:100]
    )
    more = f"<p>… and {len(failures) - 100} more in report.json</p>" if len(failures) > 100 else ""
    return f"<h2>Failed to enrol</h2><ul>{items}</ul>{more}"
