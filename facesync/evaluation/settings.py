"""Settings of `evaluate_model.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facesync.errors import UsageError
from facesync.options import device_option, option, positive_int, rate, seed

GROUPS = ("what it is evaluated on (one of the three)", "how", "what else it does")

_images, _how, _more = (partial(option, group=name) for name in GROUPS)


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of one evaluation.

    Raises:
        UsageError: some do not go together.
    """

    model: str = option(help="the model to evaluate", metavar="embedded|vggface2|FILE")
    report: Path = option(help="folder for the report", metavar="DIR")
    pairs: Path | None = _images(None, "LFW's pairs.txt; needs --images", metavar="FILE")
    images: Path | None = _images(None, "the images it lists", metavar="DIR")
    bin: tuple[Path, ...] = _images((), "InsightFace's .bin sets", metavar="FILE")
    data: Path | None = _images(
        None, "identity folders or a pack, to draw pairs from", metavar="DIR|FILE"
    )
    impostors: int = _images(
        100_000, "impostor pairs to draw from --data", parse=positive_int, metavar="N"
    )
    crops: bool = _how(False, "the images are ready crops: do not detect faces in them")
    mirror: bool = _how(False, "embed the mean of each face and its mirror image")
    cache: Path | None = _how(
        None, "folder for embeddings", metavar="DIR", shown_default="REPORT/cache"
    )
    seed: int = _how(42, "of all random draws", parse=seed)
    device: str = device_option(GROUPS[1])
    offline: bool = _how(False, "open no connection")
    by_group: Path | None = _more(
        None,
        "CSV with an image (as named in the report) and its group in each line: error rates by "
        "group",
        metavar="FILE",
    )
    calibrate: float | None = _more(
        None,
        "measure thresholds and store them with the model (beside an exported one; in the user's "
        "cache for one that ships with FaceSync); report the threshold for this false match rate, "
        "such as 1e-3",
        parse=rate,
        metavar="FMR",
    )

    def __post_init__(self) -> None:
        if sum(map(bool, (self.pairs, self.bin, self.data))) != 1:
            raise UsageError("give one of --pairs (with --images), --bin and --data")
        if bool(self.pairs) != bool(self.images):
            raise UsageError("--pairs and --images go together")
        for flag, value in (("--by-group", self.by_group), ("--calibrate", self.calibrate)):
            if self.bin and value:
                raise UsageError(f"{flag} needs the identities of the images; a .bin has none")
        if self.calibrate and self.mirror:
            raise UsageError("--calibrate measures what the app does, which is without --mirror")
        if self.mirror and (self.crops or self.bin):
            raise UsageError("--mirror needs whole photographs, not ready crops (--crops, --bin)")

    @property
    def cache_folder(self) -> Path:
        """Folder for embeddings and detected faces."""
        return self.cache or self.report / "cache"
