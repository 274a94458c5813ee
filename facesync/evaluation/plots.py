"""ROC, DET and histograms of an evaluation, as SVG for a page."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from facesync.cli import decimals
from facesync.metrics.rates import Roc, roc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAR, FRR = "false accept rate (FAR)", "false reject rate (1 - TAR)"

_POINTS = 400  # per curve, of up to millions
_COLOURS = ("red", "orange", "purple", "blue", "brown", "pink", "gray", "olive")


def roc_svg(scores: np.ndarray, same: np.ndarray) -> str:
    """Plot TAR over FAR on a logarithmic axis."""
    curve = _thinned(roc(scores, same), int((~same).sum()))
    figure, axes = _figure()
    axes.plot(curve.far, curve.tar, color="tab:blue")
    axes.set(xscale="log", xlabel=FAR, ylabel="true accept rate (TAR)")
    axes.set_title("ROC")
    axes.set_ylim(max(0.0, min(0.95, float(curve.tar.min()) - 0.01)), 1.002)
    return _svg(figure)


def det_svg(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], x: str, y: str) -> str:
    """Plot misses over false accepts, both on a normal deviate scale (Martin et al., 1997).

    Args:
        curves: by name: scores that should be accepted, and those that should not.
        x: what the horizontal axis shows.
        y: what the vertical one shows.
    """
    from scipy.stats import norm

    figure, axes = _figure()
    least = [0.5, 0.5]
    for number, (name, (genuine, impostor)) in enumerate(curves.items()):
        scores = np.concatenate([genuine, impostor])
        curve = _thinned(roc(scores, np.arange(len(scores)) < len(genuine)), len(impostor))
        far = np.clip(curve.far, 0.5 / len(impostor), 1 - 0.5 / len(impostor))
        miss = np.clip(1 - curve.tar, 0.5 / len(genuine), 1 - 0.5 / len(genuine))
        axes.plot(norm.ppf(far), norm.ppf(miss), color=_colour(number), label=_label(name))
        least = [min(least[0], far.min()), min(least[1], miss.min())]
    ticks = np.array([1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5])
    for axis, lowest in zip((axes.xaxis, axes.yaxis), least, strict=True):
        shown = ticks[ticks >= lowest / 2]
        axis.set_ticks(norm.ppf(shown), [f"{100 * tick:g} %" for tick in shown])
    corner = norm.ppf(0.6)
    axes.set(xlim=(norm.ppf(least[0]), corner), ylim=(norm.ppf(least[1]), corner))
    axes.set(xlabel=x, ylabel=y)
    axes.set_title("DET")
    if len(curves) > 1:
        axes.legend()
    return _svg(figure)


def histogram_svg(
    groups: Mapping[str, np.ndarray], threshold: float, title: str, x: str, low: float = -0.4
) -> str:
    """Plot the scores of each group, the last one in green, and the threshold in force.

    Args:
        groups: scores by name, up to 1; those that are not finite are left out.
        threshold: the one in force.
        title: above the plot.
        x: what the horizontal axis shows.
        low: where it starts, if no score is lower.
    """
    figure, axes = _figure()
    finite = {name: scores[np.isfinite(scores)] for name, scores in groups.items()}
    bins = np.linspace(min(low, float(np.concatenate(list(finite.values())).min())), 1, 71)
    for number, (name, scores) in enumerate(finite.items()):
        colour = "tab:green" if number == len(finite) - 1 else _colour(number)
        label = _label(f"{name} ({len(scores):,})")
        axes.hist(scores, bins, density=True, alpha=0.6, color=colour, label=label)
    axes.axvline(
        threshold, color="black", linewidth=1, label=f"threshold in force {decimals(threshold)}"
    )
    axes.set(xlabel=x, ylabel="density")
    axes.set_title(title)
    axes.legend()
    return _svg(figure)


def _thinned(curve: Roc, impostors: int) -> Roc:
    """Keep points evenly spread over the logarithm of FAR, down to one impostor pair."""
    least = 1 / impostors
    wanted = np.concatenate([[0.0], np.geomspace(least, 1, _POINTS)])
    places = np.unique(np.searchsorted(curve.far, wanted, side="right") - 1)
    return Roc(
        curve.thresholds[places], np.maximum(curve.far[places], least / 2), curve.tar[places]
    )


def _label(name: str) -> str:
    """Take from a name, of a folder perhaps, what Matplotlib would obey or cannot draw."""
    text = name.encode("utf-8", "replace").decode().replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _colour(number: int) -> str:
    return f"tab:{_COLOURS[number % len(_COLOURS)]}"


def _figure() -> tuple[Figure, Any]:
    # Not pyplot, whose state belongs to the caller.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _svg(figure: Figure) -> str:
    """Return a figure as an `<svg>` element with selectable text."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    # Without a date and with fixed ids: the same each time.
    fixed = rc_context({"svg.fonttype": "none", "svg.hashsalt": "facesync"})
    with fixed, warnings.catch_warnings():
        # The text is drawn by whoever shows the page, in a font of theirs.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
