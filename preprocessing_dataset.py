"""Convert a RecordIO pack such as CASIA-WebFace to a folder of images, or audit a dataset.

    python preprocessing_dataset.py --input datasets/casia-webface --output datasets/casia
    python preprocessing_dataset.py --input train.rec --output images --workers 4 --decode-check
    python preprocessing_dataset.py --input train.rec --output images --shard 1/4    # to 4/4
    python preprocessing_dataset.py --audit --input images        # like audit_dataset.py

Writes OUTPUT/<identity>/<key>.jpg, with the bytes exactly as they are in the pack, and
OUTPUT/conversion_report.json. Run the command again to resume. Training reads packs directly, so
convert one only if you want the image files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from facesync import cli
from facesync.audit.settings import AuditSettings
from facesync.data.settings import ConvertSettings
from facesync.errors import UsageError
from facesync.options import add_options, make_settings, option


def __getattr__(name: str) -> object:
    """`from preprocessing_dataset import FaceDataset, process_casia_webface`, loaded on demand."""
    if name == "FaceDataset":
        from facesync.data.datasets import FaceDataset

        return FaceDataset
    if name == "process_casia_webface":
        from facesync.data.conversion import process_casia_webface

        return process_casia_webface
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class PreprocessSettings(ConvertSettings, AuditSettings):
    """Settings of a conversion or, with `audit`, of an audit."""

    input: Path = option(
        help="a .rec file, or a folder with train.rec in it or up to two levels below; with "
        "--audit also a folder of identity folders",
        metavar="PATH",
    )
    output: Path | None = option(
        None,
        "folder for the images; with --audit, folder for the findings (default: INPUT_audit)",
        metavar="DIR",
    )
    audit: bool = option(False, "audit a dataset instead of converting a pack", group="auditing")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, PreprocessSettings, groups=("converting", "auditing"))
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    settings = make_settings(parser, PreprocessSettings, args)
    _refuse_options_of_the_other_job(settings, set(vars(args)))
    if settings.audit:
        from facesync.audit.report import audit

        audit(settings)
        return cli.DONE
    from facesync.data.conversion import REPORT_NAME, convert_pack
    from facesync.data.shards import shard_in_force

    output = settings.output
    report = convert_pack(
        settings.input,
        output,
        workers=settings.workers,
        decode_check=settings.decode_check,
        shard=shard_in_force(settings.shard),
    )
    print(report.summary())
    if (output / REPORT_NAME).exists():
        print(f"Report: {output / REPORT_NAME}")
    return cli.DONE


def _refuse_options_of_the_other_job(settings: PreprocessSettings, given: set[str]) -> None:
    """Raise `UsageError` for options of the other job, and for a missing --output."""
    other = ConvertSettings if settings.audit else AuditSettings
    for field in fields(other):
        if field.name in given - {"input", "output"}:
            flag = "--" + field.name.replace("_", "-")
            without = "with" if settings.audit else "without"
            raise UsageError(f"{flag} cannot be used {without} --audit")
    if not settings.audit and settings.output is None:
        raise UsageError("name the folder for the images with --output DIR")


if __name__ == "__main__":
    sys.exit(main())
