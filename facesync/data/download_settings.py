"""Settings of `download_dataset.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

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
