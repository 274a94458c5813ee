"""Distil a small face model from a large one, such as the embedded model of FaceSync.

    python distill_model.py --data photographs --output models/student
    python distill_model.py --data lfw faces --aligned datasets/casia-webface --epochs 20
    python distill_model.py --data photographs --resume
    python distill_model.py --data photographs --student vggface2-head --teacher edgeface-xs
    torchrun --nproc-per-node 2 distill_model.py --data photographs

Any images of faces will do, in folders or packs, without labels. The teacher embeds each face once
(cached in --cache), and the student learns to give the same embedding for a smaller crop with
changed light, blur or occlusion. Writes student.pth, distill_history.csv, and embedded.onnx with
embedded.json, which FaceSync runs without torch. With --student vggface2-head it learns, in one
step, a better last layer for the VGGFace2 weights, and writes vggface2.head.npy and the weights
with it, vggface2-head.pth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from facesync import cli
from facesync.distillation.settings import GROUPS, DistillSettings
from facesync.options import add_options, parse_settings


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    add_options(parser, DistillSettings, groups=GROUPS)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    settings = parse_settings(build_parser(), DistillSettings, argv)
    from facesync.distillation import distill, head

    if settings.student == "small":
        distill.run(settings)
    else:
        head.learn_head(settings)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
