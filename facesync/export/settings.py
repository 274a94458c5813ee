"""Settings of `export_model.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.errors import UsageError
from facesync.options import option

FORMAT_NAMES = ("onnx", "onnx-int8", "litert", "executorch")


@dataclass(frozen=True)
class ExportSettings:
    """Settings of one export."""

    model: str = option(
        help="the model to export: edgeface-xs, vggface2, embedded, liveness, or a file",
        metavar="NAME|FILE",
    )
    format: str = option(help="format to export to", choices=FORMAT_NAMES)
    output: Path = option(help="folder for the exported model and its .json", metavar="DIR")
    allow_loss: bool = option(
        False, "keep the export even if it loses more than 0.5 points of accuracy"
    )
    calibration_images: Path | None = option(
        None,
        "images with faces to calibrate onnx-int8 on",
        metavar="DIR",
        shown_default="varied copies of sample photographs",
    )
    pairs: Path | None = option(
        None,
        "pairs to compare on, in LFW's format",
        metavar="FILE",
        shown_default="pairs of the same copies",
    )
    images: Path | None = option(None, "folder of the images that --pairs lists", metavar="DIR")
    data: Path | None = option(
        None,
        "of a liveness model: folder of live/ and of others, one for each kind of attack, to "
        "compare on",
        metavar="DIR",
        shown_default="the same copies",
    )
    offline: bool = option(False, "make no network connection")

    def __post_init__(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            UsageError: the message names them.
        """
        if (self.pairs is None) != (self.images is None):
            raise UsageError("--pairs and --images go together")
