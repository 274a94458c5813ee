"""Find what is wrong with a dataset: copies, images without a face, wrong identities.

    python audit_dataset.py --input images
    python audit_dataset.py --input images --apply

Examines a folder of identity folders, or a pack, with a face model. Writes findings.csv and contact
sheets to OUTPUT (by default INPUT_audit, next to the dataset). Run the command again to resume.
--apply adds the findings to the list of images that training leaves out (left_out.csv in the
folder, or train.left_out.csv next to the pack). Nothing is deleted: to bring images back, remove
their lines from the list.
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
