"""Settings of a conversion. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.options import option, positive_int

GROUP = "converting"


@dataclass(frozen=True)
class ConvertSettings:
    """Settings of one conversion of a pack to a folder of images."""

    input: Path = option(
        help="a .rec file, or a folder with train.rec in it or up to two levels down",
        metavar="PATH",
    )
    output: Path = option(help="folder for the images", metavar="DIR")
    workers: int | None = option(
        None,
        "number of processes",
        parse=positive_int,
        metavar="N",
        group=GROUP,
        shown_default="one per processor, at most 8",
    )
    decode_check: bool = option(
        False, "decode each image instead of only checking its start and end (slower)", group=GROUP
    )
