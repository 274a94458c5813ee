"""Measure how good a face model is, and calibrate the thresholds that the app uses.

    python evaluate_model.py --model vggface2 --pairs pairs.txt --images lfw --report report
    python evaluate_model.py --model vggface2 --bin eval/lfw.bin eval/cfp_fp.bin --report report
    python evaluate_model.py --model embedded --data images --crops --report report
    python evaluate_model.py --model FILE --data images --crops --calibrate 1e-3 --report report
    python evaluate_model.py --model edgeface-xs --images lfw --open-set --report report

Writes report.json and report.html (a self-contained page). The pairs come from a list in LFW's
format or from InsightFace's .bin files, or are drawn from identity folders or a pack. Faces in
whole photographs are detected and cropped as in the app; use --crops if the images are face crops
already. Embeddings are cached in the report's folder: run the command again to resume. With
--shard I/N it only fills the cache with one share; at the end run it once without.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.evaluation.settings import GROUPS, EvaluateSettings
from facesync.options import add_options, parse_settings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, EvaluateSettings, groups=GROUPS)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = parse_settings(build_parser(), EvaluateSettings, argv)
    from facesync.evaluation.evaluate import evaluate

    evaluate(settings)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
