"""Settings of the models. Imports nothing heavy."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from facesync.faces.calibration import (
    DEFAULT_FMR,
    DEFAULT_FMR_OF_ALL,
    HIGHEST_DEFAULT_FMR,
)
from facesync.options import device_option, option, rate


def threshold(text: str) -> float:
    """Argparse type: a cosine similarity above -1 and up to 1."""
    value = float(text)
    if not -1 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above -1 and at most 1")
    return value


@dataclass(frozen=True)
class RecognizerSettings:
    """Which models are loaded, and when a face is accepted."""

    model: str | None = option(
        None,
        "model that embeds faces: one that `faceid_app.py models` lists, a file, or auto",
        metavar="NAME|FILE|auto",
        shown_default="auto: the one chosen with `models use`, else models/best_face_model.pth if "
        "it is trusted, else the best listed one that is here or can be downloaded",
    )
    threshold: float | None = option(
        None,
        "lowest cosine similarity that is accepted",
        parse=threshold,
        metavar="F",
        shown_default="from --fmr if the model is calibrated, else the model's own, else 0.6",
    )
    fmr: float | None = option(
        None,
        "false match rate: how often a stranger may be mistaken for a registered person; it gives "
        "the threshold of a calibrated model. The default serves a laptop's owner: registered with "
        "two images, EdgeFace-XS refuses them about once in sixty times; of the group of people "
        "from 13 years whom it confuses most one stranger in fifty passes (in twenty, where three "
        "or more people are registered), of most groups far fewer",
        parse=rate,
        metavar="F",
        shown_default=f"{DEFAULT_FMR:g} within the worst group for each person registered, at most "
        f"{HIGHEST_DEFAULT_FMR:g}; or {DEFAULT_FMR_OF_ALL:g} among "
        "all people for a model that was not calibrated by group",
    )
    offline: bool = option(False, "make no network connection")
    device: str = device_option()
