"""The curves of a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from facesync.files import replacing
from facesync.training.history import History
from facesync.training.settings import TAR_FAR

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES_NAME = "training_history.png"


def save_curves(history: History, path: Path) -> None:
    """Draw a history of at least one epoch as a PNG, whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    with replacing(path) as file:
        draw_curves(history).savefig(file, format="png")


def draw_curves(history: History) -> Figure:
    """Draw loss and accuracy over the epochs; a dashed line marks the start of a later run."""
    # A figure of its own, drawn by Agg: pyplot's global state belongs to the caller.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = history.column("epoch")
    runs = history.column("run")
    starts = [
        epoch - 0.5
        for epoch, run, before in zip(epochs[1:], runs[1:], runs, strict=False)
        if run != before
    ]
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    for axes, measure, title in zip(
        figure.subplots(1, 2), ("loss", "acc"), ("Loss (cross-entropy)", "Accuracy"), strict=True
    ):
        for part, name, colour in (
            ("train", "training", "tab:blue"),
            ("val", "validation", "tab:orange"),
        ):
            values = history.column(f"{part}_{measure}")
            axes.plot(epochs, values, marker="o", color=colour, label=f"{name} {values[-1]:.4f}")
        if measure == "acc" and any(value is not None for value in history.column("val_tar")):
            # matplotlib leaves a gap where a value is not a number.
            tars = [math.nan if value is None else value for value in history.column("val_tar")]
            named = f"TAR at FAR {TAR_FAR:g} on unseen identities: {tars[-1]:.4f}"
            axes.plot(epochs, tars, marker="s", color="tab:green", label=named)
            before = [math.nan if x is None else x for x in history.column("start_tar")]
            if not math.isnan(before[-1]):
                named = f"the same before training: {before[-1]:.4f}"
                axes.plot(epochs, before, linestyle=":", color="tab:green", label=named)
        for number, start in enumerate(starts):
            label = "continued" if number == 0 else None
            axes.axvline(start, linestyle="--", color="grey", linewidth=1, label=label)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs[0] - 0.6, epochs[-1] + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_ylim(0, 1.03 if measure == "acc" else max(1.05 * axes.dataLim.y1, 0.01))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
