"""Go on training a model that train_model.py wrote, gently and on harder images.

    python continue_training.py --model models/best_face_model.pth --data datasets/casia-webface
    python continue_training.py --model models/final_face_model.pth --data images --epochs 2

The split and the classes stay those of the model, so the data must be what it was trained on. The
learning rate is lower and falls when the validation loss no longer does; the images are also
turned, cut and recoloured. History and plot go on where they ended, and best_face_model.pth is
replaced only by a better one.
"""

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.training.options import add_continue_options, continue_settings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_continue_options(parser)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = continue_settings(build_parser(), argv)
    from facesync.training.runs import continue_training

    return cli.DONE if continue_training(settings) else cli.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
