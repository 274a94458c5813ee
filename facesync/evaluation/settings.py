"""Settings of `evaluate_model.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.errors import UsageError
from facesync.options import device_option, option, positive_int, rate

_IMAGES = "what it is evaluated on (one of the three)"
_HOW = "how"
_MORE = "what else it does"
GROUPS = (_IMAGES, _HOW, _MORE)


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of one evaluation.

    Raises:
        UsageError: some do not go together.
    """

    model: str = option(help="the model to evaluate", metavar="embedded|vggface2|FILE")
    report: Path = option(help="folder for the report", metavar="DIR")
    pairs: Path | None = option(
        None, "LFW's pairs.txt; needs --images", metavar="FILE", group=_IMAGES
    )
    images: Path | None = option(None, "the images it lists", metavar="DIR", group=_IMAGES)
    bin: tuple[Path, ...] = option((), "InsightFace's .bin sets", metavar="FILE", group=_IMAGES)
    data: Path | None = option(
        None, "identity folders or a pack, to draw pairs from", metavar="DIR|FILE", group=_IMAGES
    )
    impostors: int = option(
        100_000,
        "impostor pairs to draw from --data",
        parse=positive_int,
        metavar="N",
        group=_IMAGES,
    )
    crops: bool = option(
        False, "the images are ready crops: do not detect faces in them", group=_HOW
    )
    mirror: bool = option(False, "embed the mean of each face and its mirror image", group=_HOW)
    cache: Path | None = option(
        None, "folder for embeddings", metavar="DIR", group=_HOW, shown_default="REPORT/cache"
    )
    seed: int = option(42, "of all random draws", group=_HOW)
    device: str = device_option(_HOW)
    offline: bool = option(False, "open no connection", group=_HOW)
    by_group: Path | None = option(
        None,
        "CSV with an image (as named in the report) and its group in each line: error rates by "
        "group",
        metavar="FILE",
        group=_MORE,
    )
    calibrate: float | None = option(
        None,
        "measure thresholds and store them with the model (beside an exported one; in the user's "
        "cache for one that ships with FaceSync); report the threshold for this false match rate, "
        "such as 1e-3",
        parse=rate,
        metavar="FMR",
        group=_MORE,
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
