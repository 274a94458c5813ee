"""Settings of `evaluate_model.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.errors import UsageError
from facesync.options import device_option, option, positive_int, rate

_IMAGES = "images to evaluate on (--pairs, --bin or --data)"
_HOW = "method"
_MORE = "further results"
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
        None, "list of pairs in LFW's format; needs --images", metavar="FILE", group=_IMAGES
    )
    images: Path | None = option(
        None, "folder of the images that --pairs lists", metavar="DIR", group=_IMAGES
    )
    bin: tuple[Path, ...] = option((), "InsightFace's .bin files", metavar="FILE", group=_IMAGES)
    data: Path | None = option(
        None,
        "folder of identity folders, or a pack, to draw pairs from",
        metavar="DIR|FILE",
        group=_IMAGES,
    )
    impostors: int = option(
        100_000,
        "number of impostor pairs to draw from --data",
        parse=positive_int,
        metavar="N",
        group=_IMAGES,
    )
    crops: bool = option(
        False, "the images are face crops already: do not detect faces", group=_HOW
    )
    mirror: bool = option(
        False, "embed each face as the mean of the image and its mirror image", group=_HOW
    )
    cache: Path | None = option(
        None,
        "folder for cached embeddings",
        metavar="DIR",
        group=_HOW,
        shown_default="REPORT/cache",
    )
    seed: int = option(42, "random seed", metavar="N", group=_HOW)
    device: str = device_option(_HOW)
    offline: bool = option(False, "make no network connection", group=_HOW)
    by_group: Path | None = option(
        None,
        "report error rates by group; each line of this CSV file holds an image (as named in the "
        "report) or an identity, and its group",
        metavar="FILE",
        group=_MORE,
    )
    calibrate: float | None = option(
        None,
        "work out thresholds and save them with the model (in your cache folder for vggface2 and "
        "embedded); report the one for this false match rate, such as 1e-3",
        parse=rate,
        metavar="FMR",
        group=_MORE,
    )

    def __post_init__(self) -> None:
        if sum(map(bool, (self.pairs, self.bin, self.data))) != 1:
            raise UsageError("give exactly one of --pairs (with --images), --bin and --data")
        if bool(self.pairs) != bool(self.images):
            raise UsageError("--pairs and --images go together")
        for flag, value in (("--by-group", self.by_group), ("--calibrate", self.calibrate)):
            if self.bin and value:
                raise UsageError(f"{flag} needs the identities of the images; a .bin has none")
        if self.calibrate and self.mirror:
            raise UsageError(
                "--calibrate measures what the app does, and the app does not use --mirror"
            )

    @property
    def cache_folder(self) -> Path:
        """Folder for embeddings and detected faces."""
        return self.cache or self.report / "cache"
