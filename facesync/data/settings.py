"""Settings of downloads and conversions. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

from facesync.data.shards import Shard, shard_option, workers_option
from facesync.options import option


def dataset_slug(text: str) -> str:
    """Argparse type: a dataset's name on Kaggle, `owner/name`."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not owner/name, the end of the dataset's address on Kaggle"
        )
    return text


def default_output() -> Path:
    """Folder for datasets: `/content/datasets` in Colab, `datasets` elsewhere."""
    in_colab = "COLAB_RELEASE_TAG" in os.environ or "COLAB_BACKEND_VERSION" in os.environ
    return Path("/content/datasets" if in_colab else "datasets")


@dataclass(frozen=True)
class DownloadSettings:
    """Settings of a download."""

    dataset: str = option(
        "debarghamitraroy/casia-webface",
        "dataset on Kaggle",
        parse=dataset_slug,
        metavar="OWNER/NAME",
    )
    output: Path = option(
        factory=default_output,
        help="folder for datasets; this one is saved in DIR/NAME",
        metavar="DIR",
    )
    verify_only: bool = option(
        False, "download nothing; verify every file against its checksum", kept=False
    )


@dataclass(frozen=True)
class ConvertSettings:
    """Settings of one conversion of a pack to a folder of images."""

    input: Path = option(
        help="a .rec file, or a folder with train.rec in it or up to two levels down",
        metavar="PATH",
    )
    output: Path = option(help="folder for the images", metavar="DIR")
    workers: int | None = workers_option("converting")
    shard: Shard | None = shard_option(
        "converting",
        "convert only the I-th of N parts of the pack; the last one to finish joins the reports",
    )
    decode_check: bool = option(
        False,
        "decode each image instead of only checking its start and end (slower)",
        group="converting",
    )
