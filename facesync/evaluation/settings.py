"""Settings of `evaluate_model.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facesync.data.shards import Shard, shard_option, workers_option
from facesync.errors import UsageError
from facesync.options import device_option, option, positive_int, rate, seed

GROUPS = (
    "images to evaluate on: --pairs, --bin, --data, or --images with --open-set or --protocol",
    "method",
    "further results",
)

_images, _how, _more = (partial(option, group=name) for name in GROUPS)


@dataclass(frozen=True)
class EvaluateSettings:
    """Settings of one evaluation.

    Raises:
        UsageError: some do not go together.
    """

    model: str = option(
        help="the model to evaluate: one that `faceid_app.py models` lists, or a file",
        metavar="NAME|FILE",
    )
    report: Path = option(help="folder for the report", metavar="DIR")
    pairs: Path | None = _images(
        None, "list of pairs in LFW's format; needs --images", metavar="FILE"
    )
    images: Path | None = _images(
        None,
        "folder of identity folders: for --pairs, --open-set or --protocol",
        metavar="DIR",
    )
    bin: tuple[Path, ...] = _images((), "InsightFace's .bin files", metavar="FILE")
    protocol: str | None = _images(
        None,
        "cfp: frontal-frontal and frontal-profile pairs of --images, whose files are called "
        "frontal-* and profile-*",
        choices=("cfp",),
    )
    data: Path | None = _images(
        None, "folder of identity folders, or a pack, to draw pairs from", metavar="DIR|FILE"
    )
    impostors: int = _images(
        100_000, "number of impostor pairs to draw from --data", parse=positive_int, metavar="N"
    )
    held_out: bool = _images(
        False,
        "of --data take only the people whom the training of --model held out, if it did",
    )
    crops: bool = _how(False, "the images are face crops already: do not detect faces")
    mirror: bool = _how(False, "embed each face as the mean of the image and its mirror image")
    cache: Path | None = _how(
        None, "folder for cached embeddings", metavar="DIR", shown_default="REPORT/cache"
    )
    workers: int | None = workers_option(GROUPS[1])
    shard: Shard | None = shard_option(
        GROUPS[1],
        "only embed the I-th of N shares of the images, into the cache; when all are done, the "
        "command without --shard finds them there",
    )
    seed: int = _how(42, "random seed", parse=seed)
    device: str = device_option(GROUPS[1])
    offline: bool = _how(False, "make no network connection")
    open_set: bool = _more(
        False,
        "enrol random people of --images or --data, search for the others, and report how many "
        "enrolled people are refused (FNIR) when 1 %% or 0.1 %% of the others get a name (FPIR)",
    )
    enrol: int = _more(
        2, "images of each person that --open-set enrols", parse=positive_int, metavar="N"
    )
    people: int = _more(
        100,
        "people that --open-set enrols, at most half of those with enough images",
        parse=positive_int,
        metavar="N",
    )
    all_pairs: int | None = _more(
        None,
        "count the similarities of all pairs among up to N images, in flat memory, for smaller "
        "false accept rates; the time grows with the square of N",
        parse=positive_int,
        metavar="N",
        shown_default="8000 images, compared exactly",
    )
    baseline: Path | None = _more(
        None,
        "report.json of another evaluation, whose figures are shown beside these",
        metavar="FILE",
        shown_default="EdgeFace-XS on LFW's fifth fold",
    )
    by_group: Path | None = _more(
        None,
        "report error rates by group; each line of this CSV file holds an image (as named in the "
        "report) or an identity, and its group",
        metavar="FILE",
    )
    calibrate: float | None = _more(
        None,
        "work out thresholds and save them with the model (for a listed model in "
        "your cache folder); report the one for this false match rate, such as 1e-3; "
        "with --by-group each threshold is that of the worst group",
        parse=rate,
        metavar="FMR",
    )

    def __post_init__(self) -> None:
        alone = self.images and not self.pairs and (self.open_set or self.protocol)
        if sum(map(bool, (self.pairs, self.bin, self.data, alone))) != 1:
            raise UsageError(
                "give exactly one of --pairs (with --images), --bin, --data, and --images with "
                "--open-set or --protocol"
            )
        if bool(self.pairs) != bool(self.images) and not alone:
            raise UsageError("--pairs and --images go together")
        if self.held_out and not self.data:
            raise UsageError("--held-out needs --data: the data that the model was trained on")
        if self.protocol and not alone:
            raise UsageError("--protocol draws its own pairs, from --images alone")
        if self.bin and self.open_set:
            raise UsageError("--open-set needs the identities of the images; a .bin has none")
        for flag, value in (
            ("--by-group", self.by_group),
            ("--calibrate", self.calibrate),
            ("--all-pairs", self.all_pairs),
        ):
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
