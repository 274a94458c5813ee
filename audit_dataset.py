"""Find what is wrong with a dataset: copies, images without a face, wrong identities.

    python audit_dataset.py --input images
    python audit_dataset.py --input images --apply

A model looks through a folder of identity folders or a pack and writes findings.csv and pages of
images to OUTPUT (by default INPUT_audit, beside the dataset). Run the command again to resume.
--apply adds the findings to a list in INPUT (left_out.csv; beside a pack train.left_out.csv) of
images that training leaves out. Nothing is deleted: remove a line of the list, or the whole list,
to take images back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.audit.settings import AuditSettings
from facesync.options import add_options, parse_settings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, AuditSettings)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = parse_settings(build_parser(), AuditSettings, argv)
    from facesync.audit.report import audit

    audit(settings)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
