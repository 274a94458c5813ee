"""Download a face dataset from Kaggle, unpack it and verify it.

    python download_dataset.py                                  # CASIA-WebFace, 2.8 GB
    python download_dataset.py --dataset owner/name --output /data
    python download_dataset.py --verify-only                    # no network; reads every file

A broken or interrupted transfer goes on when the same command is run again, and nothing is asked
of Kaggle when everything is already there. Kaggle wants an account: make a token at
https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN to it, or save it as
~/.kaggle/access_token. KAGGLE_USERNAME with KAGGLE_KEY, kaggle.json (also in KAGGLE_CONFIG_DIR)
and `kaggle auth login` work too. In Colab, keep the token as a secret and run this first:

    import os; from google.colab import userdata
    os.environ["KAGGLE_API_TOKEN"] = userdata.get("KAGGLE_API_TOKEN")

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from facesync import cli
from facesync.data import download, verification


def build_parser() -> argparse.ArgumentParser:
    """Options of this script."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--dataset",
        type=download.dataset_slug,
        default=download.DEFAULT_DATASET,
        metavar="OWNER/NAME",
        help="on Kaggle (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=download.default_output(),
        metavar="DIR",
        help="folder of datasets; this one comes to DIR/NAME (default: %(default)s)",
    )
    parser.add_argument(
        "--verify-only",
        action="store_true",
        help="only check what is there, every file against its checksum",
    )
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = build_parser().parse_args(argv)
    if args.verify_only:
        folder = download.dataset_folder(args.dataset, args.output)
        found = verification.verify_folder(folder, args.dataset, checksums=True)
    else:
        found = download.download(args.dataset, args.output)
    print(download.describe(found))
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
