"""Fine-tune a face model on folders of images or straight on a RecordIO pack.

    python train_model.py --data datasets/casia-webface
    python train_model.py --data images --output models --epochs 3 --batch-size 32
    python train_model.py --data images --weights none --device cpu

An InceptionResnetV1 with VGGFace2 weights learns to tell the identities apart: 80 % of the
images train it, 20 % measure it. The output folder gets best_face_model.pth (the best
validation accuracy), final_face_model.pth (the last epoch), label_map.pkl, training_history.pkl
with .csv and .png, and settings.json. Ctrl-C stops with a usable final_face_model.pth;
continue_training.py goes on from any of them.
"""

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.training.options import add_train_options, train_settings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_train_options(parser)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = train_settings(build_parser(), argv)
    from facesync.training.runs import train

    return cli.DONE if train(settings) else cli.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
