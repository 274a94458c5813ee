"""Convert a RecordIO pack (CASIA-WebFace and its like) to a folder of images, or audit a set.

    python preprocessing_dataset.py --input datasets/casia-webface --output datasets/casia
    python preprocessing_dataset.py --input train.rec --output images --workers 4 --decode-check
    python preprocessing_dataset.py --audit --input images
    python preprocessing_dataset.py --audit --input images --apply

Writes OUTPUT/<identity>/<key>.jpg, the bytes as they are in the pack, and
OUTPUT/conversion_report.json. Run it again after an interruption: it goes on where it stopped.
Training also reads a pack directly, so this step is for those who want the files.

With --audit, a model looks through a folder of images or a pack for copies, images without a
face, and wrong identities. It writes findings.csv and pages of images to OUTPUT (by default
INPUT_audit, beside the set); run again, it goes on where it stopped. --apply puts what was found
on a list in INPUT (left_out.csv; beside a pack train.left_out.csv) that training heeds. Nothing is
deleted: remove a line of the list, or the list, to take images back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from facesync import cli, options
from facesync.errors import UsageError


def __getattr__(name: str) -> object:
    """`from preprocessing_dataset import FaceDataset, process_casia_webface`, loaded on demand."""
    if name == "FaceDataset":
        from facesync.data.datasets import FaceDataset

        return FaceDataset
    if name == "process_casia_webface":
        from facesync.data.conversion import process_casia_webface

        return process_casia_webface
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder that holds train.rec (itself or up to two levels down), or a .rec file; "
        "with --audit also a folder of identity folders",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for the images; with --audit for what was found (default: INPUT_audit)",
    )
    converting = parser.add_argument_group("converting")
    converting.add_argument(
        "--workers",
        type=options.positive_int,
        metavar="N",
        help="processes that write (default: one for each processor, at most 8)",
    )
    converting.add_argument(
        "--decode-check",
        action="store_true",
        help="decode each image, too, not only look at its start and end (slower)",
    )
    auditing = parser.add_argument_group("auditing")
    auditing.add_argument(
        "--audit", action="store_true", help="look for faults of a set instead of converting it"
    )
    auditing.add_argument(
        "--apply", action="store_true", help="leave out what is found, by a list beside the set"
    )
    auditing.add_argument(
        "--model",
        metavar="vggface2|FILE",
        help="what embeds the images (default: models/best_face_model.pth where it exists, "
        "else vggface2)",
    )
    auditing.add_argument("--offline", action="store_true", help="open no connection")
    options.add_device_option(auditing)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Convert or audit, print the summary, return the exit code."""
    args = build_parser().parse_args(argv)
    _refuse_what_does_not_go_together(args)
    return _audit(args) if args.audit else _convert(args)


def _refuse_what_does_not_go_together(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options of the other job, and for a missing --output."""
    if args.audit:
        others = {"--workers": args.workers, "--decode-check": args.decode_check}
    else:
        others = {"--apply": args.apply, "--model": args.model, "--offline": args.offline}
        others["--device"] = args.device != "auto"
    for option, given in others.items():
        if given:
            raise UsageError(f"{option} does not go {'with' if args.audit else 'without'} --audit")
    if not args.audit and args.output is None:
        raise UsageError("name the folder for the images with --output DIR")


def _convert(args: argparse.Namespace) -> int:
    from facesync.data.conversion import REPORT_NAME, convert_pack

    report = convert_pack(
        args.input, args.output, workers=args.workers, decode_check=args.decode_check
    )
    print(report.summary())
    print(f"Report: {args.output / REPORT_NAME}")
    return cli.DONE


def _audit(args: argparse.Namespace) -> int:
    from facesync.audit.report import audit, check_paths

    output = check_paths(args.input, args.output)
    from facesync.devices import pick_device

    device = pick_device(args.device)
    from facesync.faces.detection import FaceDetector
    from facesync.faces.weights import load_face_model

    model = load_face_model(args.model, device, offline=args.offline)
    print(f"Model: {model.source}")
    done = audit(args.input, output, model, FaceDetector(device), apply=args.apply)
    print(done.summary())
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
