r"""Export a model for other programs, and compare it with the original.

  python export_model.py --model models/best_face_model.pth --format onnx --output exported
  python export_model.py --model vggface2 --format onnx-int8 --output exported \
      --pairs lfw/pairs.txt --images lfw --calibration-images images
  python export_model.py --model liveness --format litert --output exported --data liveness

Formats: onnx; onnx-int8 (a quarter of the size, calibrated on images); litert and executorch, which
need extra packages. Each export is loaded again and compared with the original on real faces:
likeness of what both say, accuracy, CPU time, size. The app can use the ONNX files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.export.settings import ExportSettings
from facesync.options import add_options, parse_settings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, ExportSettings)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = parse_settings(build_parser(), ExportSettings, argv)
    from facesync.export.export import export

    export(settings)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
