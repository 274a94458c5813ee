"""Train the passive liveness model: living faces against prints and screens.

    python train_liveness.py --data sets/replay_attack sets/nuaa --live lfw --unseen sets/others
    python train_liveness.py --data sets/a sets/b sets/c --leave-out 1000

Each dataset is a folder of live/ and of one folder for each kind of attack (print/, replay/, …), of
images or videos, the person before the first _ of a name. Besides those attacks it learns from
simulated ones, made from live faces. Writes liveness.onnx and liveness.json with the thresholds;
an interrupted training goes on where it was. Measure the model with evaluate_liveness.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.liveness.training_settings import TrainLivenessSettings
from facesync.options import add_options, parse_settings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, TrainLivenessSettings)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = parse_settings(build_parser(), TrainLivenessSettings, argv)
    from facesync.liveness import training

    print(f"model: {training.train(settings)}")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
