"""Fine-tune a face model on folders of images or directly on a RecordIO pack.

    python train_model.py --data datasets/casia-webface
    python train_model.py --data images --output models --epochs 3 --batch-size 32
    python train_model.py --data images --teacher edgeface-xs
    python train_model.py --data images --weights none --device cpu
    python train_model.py --config models/settings.json --output again

An InceptionResnetV1 with VGGFace2 weights learns to classify the identities: 80 % of the images
train it, 20 % validate it. Some identities are held out, to say at the end whether the model is
better or worse than those weights for people it has never seen. Writes best_face_model.pth (the
best epoch), final_face_model.pth (the last epoch), label_map.pkl, training_history.pkl with .csv
and .png, and settings.json. Ctrl-C stops the run with a usable final_face_model.pth; --resume
continues it exactly where it stopped, and continue_training.py trains a finished model further.
"""

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.options import add_options, parse_settings
from facesync.training.settings import GROUPS, PRESETS, TrainSettings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, TrainSettings, groups=GROUPS)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = parse_settings(build_parser(), TrainSettings, argv, PRESETS)
    from facesync.training.start import train

    return cli.DONE if train(settings) else cli.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
