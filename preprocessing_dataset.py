"""Convert a RecordIO pack (CASIA-WebFace and its like) to a folder of pictures.

    python preprocessing_dataset.py --input datasets/casia-webface --output datasets/casia
    python preprocessing_dataset.py --input train.rec --output pictures --workers 4 --decode-check

Writes OUTPUT/<identity>/<key>.jpg, the bytes as they are in the pack, and
OUTPUT/conversion_report.json. Run it again after an interruption: it goes on where it stopped.
Training also reads a pack directly, so this step is for those who want the files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from facesync import cli


def __getattr__(name: str) -> object:
    """`from preprocessing_dataset import FaceDataset, process_casia_webface`, loaded on demand."""
    if name == "FaceDataset":
        from facesync.data.datasets import FaceDataset

        return FaceDataset
    if name == "process_casia_webface":
        from facesync.data.conversion import process_casia_webface

        return process_casia_webface
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="PACK",
        help="folder that holds train.rec (itself or up to two levels down), or a .rec file",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the pictures"
    )
    parser.add_argument(
        "--workers",
        type=cli.positive_int,
        metavar="N",
        help="processes that write (default: one for each processor, at most 8)",
    )
    parser.add_argument(
        "--decode-check",
        action="store_true",
        help="decode each picture, too, not only look at its start and end (slower)",
    )
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Convert, print the summary, return the exit code."""
    args = build_parser().parse_args(argv)
    from facesync.data.conversion import REPORT_NAME, convert_pack

    report = convert_pack(
        args.input, args.output, workers=args.workers, decode_check=args.decode_check
    )
    print(report.summary())
    print(f"Report: {args.output / REPORT_NAME}")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
