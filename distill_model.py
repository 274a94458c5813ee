"""Distil a compact face model from a large one: the model that ships inside FaceSync.

    python distill_model.py --data photographs --output models/student
    python distill_model.py --data lfw faces --aligned datasets/casia-webface --epochs 20
    python distill_model.py --data photographs --resume
    torchrun --nproc-per-node 2 distill_model.py --data photographs

Any images of faces will do, in folders or packs; nobody needs to say who is on them. The teacher
embeds each face once (kept in --cache), and the student learns to give the same embedding from a
smaller image, whatever light, blur or hand there is. The output folder gets student.pth,
distill_history.csv, and embedded.onnx with embedded.json, which FaceSync runs without torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from facesync import cli
from facesync.distillation.settings import DistillSettings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    default = DistillSettings()
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="DIR|PACK",
        help="photographs in which faces are found",
    )  # fmt: skip
    data.add_argument(
        "--aligned", type=Path, nargs="+", default=[], metavar="DIR|PACK",
        help="faces cut on five points already, as in CASIA-WebFace's pack",
    )  # fmt: skip
    data.add_argument(
        "--leave-out", type=Path, metavar="FILE",
        help="names of images that are not trained on, one a line, relative to their source",
    )  # fmt: skip
    data.add_argument(
        "--output", type=Path, default=default.output, metavar="DIR",
        help="folder for the student (default: %(default)s)",
    )  # fmt: skip
    data.add_argument(
        "--cache", type=Path, metavar="DIR",
        help="folder for faces and teacher's embeddings (default: OUTPUT/cache)",
    )  # fmt: skip
    model = parser.add_argument_group("models")
    model.add_argument(
        "--teacher", default=default.teacher, metavar="vggface2|FILE",
        help="whom the student learns from (default: %(default)s)",
    )  # fmt: skip
    model.add_argument(
        "--blocks", type=cli.positive_int, choices=range(1, 11), default=default.blocks,
        help="of the teacher's ten 17 x 17 blocks, how many the student keeps; each is 0.7 MB "
        "(default: %(default)s)",
    )  # fmt: skip
    model.add_argument("--offline", action="store_true", help="open no socket")
    training = parser.add_argument_group("training")
    training.add_argument(
        "--epochs", type=cli.positive_int, default=default.epochs, metavar="N",
        help="times the faces are gone through (default: %(default)s)",
    )  # fmt: skip
    training.add_argument(
        "--batch-size", type=cli.positive_int, default=default.batch_size, metavar="N",
        help="faces a step (default: %(default)s)",
    )  # fmt: skip
    training.add_argument(
        "--lr", type=cli.positive_float, default=default.lr, metavar="F",
        help="AdamW's highest learning rate (default: %(default)s)",
    )  # fmt: skip
    training.add_argument(
        "--validation", type=cli.rate, default=default.validation, metavar="F",
        help="share of the faces that is only measured (default: %(default)s)",
    )  # fmt: skip
    training.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in OUTPUT"
    )
    training.add_argument(
        "--seed", type=int, default=default.seed, metavar="N",
        help="of order and augmentation (default: %(default)s)",
    )  # fmt: skip
    training.add_argument(
        "--workers", type=int, default=default.workers, metavar="N",
        help="processes that augment; 0 does it in the main one (default: %(default)s)",
    )  # fmt: skip
    cli.add_device_option(training)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = vars(build_parser().parse_args(argv))
    args["cache"] = args["cache"] or args["output"] / "cache"
    args |= {name: tuple(args[name]) for name in ("data", "aligned")}
    settings = DistillSettings(**args)
    from facesync.distillation.runs import run

    run(settings)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
