"""What the pages of reports are made of: self-contained HTML, nothing loaded, no scripts."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np

_THUMBNAIL = 96
_MOST_LISTED = 100
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


def document(title: str, verdict: str, glossary: Mapping[str, str], parts: Sequence[str]) -> str:
    """Compose a page: a title, the verdict in words, what the words mean, and HTML after that."""
    title = html.escape(title)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            f"<p class=verdict>{html.escape(verdict)}</p>",
            _glossary(glossary),
            *parts,
            "</body></html>",
        ]
    )


def paragraph(text: str) -> str:
    """Return text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def curves(drawings: Sequence[str]) -> str:
    """Return SVG elements under a heading."""
    return f'<h2>Curves</h2><div class="plots">{"".join(drawings)}</div>'


def table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first row is the heading."""
    lines = [f"<h2>{html.escape(title)}</h2><table>"]
    for number, row in enumerate(rows):
        tag = "th" if number == 0 else "td"
        lines.append("<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>")
    return "\n".join([*lines, "</table>"])


def figures(title: str, shown: Sequence[tuple[Sequence[np.ndarray | None], str]]) -> str:
    """Return images, uint8 RGB, small, with what is said below them; None is left out."""
    parts = [
        f"<figure>{''.join(map(_image, images))}<figcaption>{html.escape(caption)}</figcaption>"
        "</figure>"
        for images, caption in shown
    ]
    return f'<h2>{html.escape(title)}</h2><div class="pairs">{"".join(parts)}</div>'


def failures(title: str, failed: Sequence[tuple[str, str]]) -> str:
    """List names and reasons, the first hundred; nothing where there are none."""
    if not failed:
        return ""
    items = "".join(
        f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in failed[:_MOST_LISTED]
    )
    left = len(failed) - _MOST_LISTED
    more = f"<p>… and {left} more in report.json</p>" if left > 0 else ""
    return f"<h2>{html.escape(title)}</h2><ul>{items}</ul>{more}"


def _glossary(terms: Mapping[str, str]) -> str:
    lines = (
        f"<dt>{html.escape(term)}</dt><dd>{html.escape(meaning)}</dd>"
        for term, meaning in terms.items()
    )
    return (
        f"<details open><summary>What the words mean</summary><dl>{''.join(lines)}</dl></details>"
    )


def _image(image_rgb: np.ndarray | None) -> str:
    from PIL import Image

    if image_rgb is None:
        return ""
    buffer = io.BytesIO()
    image = Image.fromarray(image_rgb)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(buffer, format="JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'
