r"""Export a model for other programs, and say how it compares with torch's.

  python export_model.py --model models/best_face_model.pth --format onnx --output exported
  python export_model.py --model vggface2 --format onnx-int8 --output exported \
      --pairs lfw/pairs.txt --images lfw --calibration-images images

Formats: onnx; onnx-int8 (four times smaller, calibrated on images); litert and executorch, which
need packages of their own. Each is opened again and compared on real faces: similarity to torch's
embeddings, accuracy, processor time, size. The app takes the ONNX ones: --model exported/x.onnx
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from facesync import cli
from facesync.errors import UsageError

FORMATS = ("onnx", "onnx-int8", "litert", "executorch")


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", required=True, metavar="FILE|vggface2|embedded")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--allow-loss", action="store_true", help="keep it although it loses over 0.5 points"
    )
    parser.add_argument(
        "--calibration-images",
        type=Path,
        metavar="DIR",
        help="images for onnx-int8 (default: varied photographs at hand)",
    )
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="FILE",
        help="pairs to compare on, in LFW's form (default: of the same photographs)",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the images of --pairs")
    parser.add_argument("--offline", action="store_true", help="open no connection")
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Export a model."""
    args = build_parser().parse_args(argv)
    if (args.pairs is None) != (args.images is None):
        raise UsageError("--pairs and --images go together")
    from facesync.export.runs import ExportSettings, export

    export(ExportSettings(**vars(args)))
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
