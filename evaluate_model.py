"""Measure how good a face model is, and give it the thresholds that the app uses.

    python evaluate_model.py --model vggface2 --pairs pairs.txt --images lfw --report report
    python evaluate_model.py --model vggface2 --bin eval/lfw.bin eval/cfp_fp.bin --report report
    python evaluate_model.py --model embedded --data images --crops --report report
    python evaluate_model.py --model FILE --data images --crops --calibrate 1e-3 --report report

Writes report.json and report.html (one page, opens anywhere). Pairs come from LFW's list, from
InsightFace's .bin sets, or are drawn from identity folders or a pack. Whole photographs are
searched for the face and cut as the app does; --crops takes ready crops as they are. Embeddings
are kept in the report's folder: an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.evaluation.options import add_evaluate_options, settings_from


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_evaluate_options(parser)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = settings_from(build_parser().parse_args(argv))
    from facesync.evaluation.runs import evaluate

    evaluate(settings)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
