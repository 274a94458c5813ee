"""What an evaluation can be told, with every default stated once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of one evaluation.

    Attributes:
        model: `vggface2`, `embedded` or a model's file.
        report: folder that gets `report.json` and `report.html`.
        pairs: pairs list of LFW's form; needs `images`.
        images: folder of the images that `pairs` lists.
        bin: InsightFace's verification sets.
        data: identity folders or a pack, to draw pairs from.
        impostors: how many impostor pairs are drawn from `data`.
        crops: the images are ready crops; nothing is looked for in them.
        mirror: embed each face as the mean of its image and its mirror image.
        conditions: also measure under bad conditions, with and without remedies.
        condition_pairs: how many pairs of each kind that takes.
        by_group: CSV of image and group; error rates for each group.
        calibrate: write the model's calibration, and show its thresholds for this false-match rate.
        cache: folder for embeddings and faces found; in `report` when None.
        seed: of every draw.
        device: auto, cpu or cuda.
        offline: open no connection.
    """

    model: str
    report: Path
    pairs: Path | None = None
    images: Path | None = None
    bin: tuple[Path, ...] = ()
    data: Path | None = None
    impostors: int = 100_000
    crops: bool = False
    mirror: bool = False
    conditions: bool = False
    condition_pairs: int = 150
    by_group: Path | None = None
    calibrate: float | None = None
    cache: Path | None = None
    seed: int = 42
    device: str = "auto"
    offline: bool = False
