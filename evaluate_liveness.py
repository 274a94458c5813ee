"""Measure how well a liveness model tells living faces from prints and screens.

    python evaluate_liveness.py --data samples --report report
    python evaluate_liveness.py --data samples --report report --model liveness.onnx
    python evaluate_liveness.py --flatness videos

`samples` holds live/ and a folder for each kind of attack, of images or videos. Writes report.json
and report.html (a self-contained page): APCER for each kind of attack and BPCER (ISO/IEC 30107-3).
With --flatness no model is used: it measures whether a head that turns has depth, as a challenge
does; no photograph should pass. Detected faces are cached in the report's folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.evaluation.liveness_settings import LivenessSettings
from facesync.options import add_options, parse_settings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, LivenessSettings)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = parse_settings(build_parser(), LivenessSettings, argv)
    if settings.flatness:
        from facesync.evaluation.liveness_flatness import evaluate_flatness

        evaluate_flatness(settings)
    else:
        from facesync.evaluation.liveness import evaluate_liveness

        evaluate_liveness(settings)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
