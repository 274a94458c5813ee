"""Download a face dataset from Kaggle, unpack it and verify it.

    python download_dataset.py                                  # CASIA-WebFace, 2.8 GB
    python download_dataset.py --dataset owner/name --output /data
    python download_dataset.py --verify-only                    # verify every file; no network

Run the same command again to resume an interrupted download; files that are already there are
verified, not downloaded again. You need a Kaggle account: create a token at
https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN to it, or save it as
~/.kaggle/access_token. KAGGLE_USERNAME with KAGGLE_KEY, kaggle.json (also in KAGGLE_CONFIG_DIR)
and `kaggle auth login` work too. In Colab, store the token as a secret and run this first:

    import os; from google.colab import userdata
    os.environ["KAGGLE_API_TOKEN"] = userdata.get("KAGGLE_API_TOKEN")

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.data.settings import DownloadSettings
from facesync.options import add_options, parse_settings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, DownloadSettings)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = parse_settings(build_parser(), DownloadSettings, argv)
    from facesync.data import download

    if settings.verify_only:
        found = download.verify(settings.dataset, settings.output)
    else:
        found = download.download(settings.dataset, settings.output)
    print(download.describe(found))
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
