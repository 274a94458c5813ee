"""Continue training a model that train_model.py wrote, gently and on harder images.

    python continue_training.py --model models/best_face_model.pth --data datasets/casia-webface
    python continue_training.py --model models/final_face_model.pth --data images --epochs 2

The split and the classes remain those of the model, so the data must be what it was trained on. The
learning rate is lower and is cut when the validation loss stalls; augmentation is stronger. The new
epochs are added to the history and its plot, and best_face_model.pth is replaced only by a better
model.
"""

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.options import add_options, parse_settings
from facesync.training.settings import GROUPS, ContinueSettings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, ContinueSettings, groups=GROUPS)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = parse_settings(build_parser(), ContinueSettings, argv)
    from facesync.training.start import continue_training

    return cli.DONE if continue_training(settings) else cli.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
