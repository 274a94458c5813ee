"""ROC, DET and histograms of an evaluation, as SVG for a page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from facesync.cli import decimals
from facesync.metrics.rates import Roc, roc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS = 400  # per curve, of up to millions


def roc_svg(scores: np.ndarray, same: np.ndarray) -> str:
    """Plot TAR over FAR on a logarithmic axis."""
    curve = _thinned(roc(scores, same), int((~same).sum()))
    figure, axes = _figure()
    axes.plot(curve.far, curve.tar, color="tab:blue")
    axes.set(xscale="log", xlabel="false accept rate (FAR)", ylabel="true accept rate (TAR)")
    axes.set_title("ROC")
    axes.set_ylim(max(0.0, min(0.95, float(curve.tar.min()) - 0.01)), 1.002)
    return _svg(figure)


def det_svg(scores: np.ndarray, same: np.ndarray) -> str:
    """Plot 1 - TAR over FAR, both on a normal deviate scale (Martin et al., 1997)."""
    from scipy.stats import norm

    genuine, impostor = int(same.sum()), int((~same).sum())
    curve = _thinned(roc(scores, same), impostor)
    far = np.clip(curve.far, 0.5 / impostor, 1 - 0.5 / impostor)
    miss = np.clip(1 - curve.tar, 0.5 / genuine, 1 - 0.5 / genuine)
    figure, axes = _figure()
    axes.plot(norm.ppf(far), norm.ppf(miss), color="tab:orange")
    ticks = np.array([1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5])
    for axis, least in ((axes.xaxis, far.min()), (axes.yaxis, miss.min())):
        shown = ticks[ticks >= least / 2]
        axis.set_ticks(norm.ppf(shown), [f"{100 * tick:g} %" for tick in shown])
    corner = norm.ppf(0.6)
    axes.set(xlim=(norm.ppf(far.min()), corner), ylim=(norm.ppf(miss.min()), corner))
    axes.set(xlabel="false accept rate (FAR)", ylabel="false reject rate (1 - TAR)")
    axes.set_title("DET")
    return _svg(figure)


def histogram_svg(scores: np.ndarray, same: np.ndarray, threshold: float) -> str:
    """Plot the similarities of genuine and impostor pairs, and the threshold in force."""
    figure, axes = _figure()
    finite = scores[np.isfinite(scores)]
    bins = np.linspace(min(-0.4, float(finite.min())), 1, 71)
    for kind, name, colour in ((False, "impostor", "tab:red"), (True, "genuine", "tab:green")):
        values = scores[np.isfinite(scores) & (same == kind)]
        label = f"{name} pairs ({len(values):,})"
        axes.hist(values, bins, density=True, alpha=0.6, color=colour, label=label)
    axes.axvline(
        threshold, color="black", linewidth=1, label=f"threshold in force {decimals(threshold)}"
    )
    axes.set(xlabel="cosine similarity", ylabel="density")
    axes.set_title("Similarities")
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
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "facesync"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
