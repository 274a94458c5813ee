"""Which crop suits a model: the same photographs, one detection, cut in many ways.

    python -m facesync.evaluation.crop_study --pairs pairs.txt --images lfw --folds 2 --report out

Prints one row for each crop: LFW's accuracy, and TAR at small FARs over all pairs among the
images, which tells crops apart that a few hundred pairs cannot. Writes `crops.md` and
`crops.json`; docs/crops.md says what was found. Embeddings are kept: a run that was interrupted, or
is asked for more folds, computes what is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from facesync import cli, options
from facesync.devices import pick_device
from facesync.evaluation import crop_variants as cuts
from facesync.evaluation.embeddings import Cut, Embedder, detector_label
from facesync.evaluation.protocols import PairSet, first_folds, read_lfw_pairs
from facesync.faces.crops import ALIGNED_112, BOX, SQUARE
from facesync.faces.detection import Detector, FaceDetector
from facesync.faces.embedding import FaceModel, unit
from facesync.faces.weights import load_face_model
from facesync.files import replacing
from facesync.metrics.pairs import all_pairs
from facesync.metrics.rates import Accuracy, best_threshold, fold_accuracy, tar_at_far

FARS = ("1e-3", "1e-4")


@dataclass(frozen=True)
class Row:
    """One crop's result; `tar_at_far` is over all pairs among the images with a face."""

    crop: str
    treatment: str
    pairs: int
    accuracy: float
    std: float
    tar_at_far: dict[str, float]
    failed: int


@dataclass(frozen=True)
class Way:
    """One way to cut; `name` for the table, `label` for the cache."""

    label: str
    name: str
    cut: Cut
    swapped_detection: bool = False
    mirror: bool = False


def ways(detector: Detector) -> list[Way]:
    """All that are compared, the most telling first."""
    box = cuts.box_facenet_pytorch
    return [
        Way("square-1.3", "square of 1.3 x the box's longer side (`SQUARE`)", SQUARE.cut,
            mirror=True),
        Way("facenet-32", "facenet's own: box, 16 px of the photograph around it, stretched",
            cuts.box_facenet(32), mirror=True),
        Way("box-0", "box, margin 0, stretched", box(0)),
        Way("box-14", "box, margin 14, stretched", box(14)),
        Way("box-32", "box, margin 32, stretched (`BOX`)", BOX.cut),
        Way("box-44", "box, margin 44, stretched", box(44)),
        Way("points-112", "five points, InsightFace's template at 112, enlarged (`ALIGNED_112`)",
            ALIGNED_112.cut),
        Way("points-1.0", "five points, the template at 160", cuts.five_points(1.0)),
        Way("points-1.2", "five points, 1.2 x wider view", cuts.five_points(1.2)),
        Way("points-1.35", "five points, 1.35 x wider view", cuts.five_points(1.35)),
        Way("square-1.2", "square, 1.2 x", cuts.square(1.2)),
        Way("square-1.4", "square, 1.4 x", cuts.square(1.4)),
        Way("bgr-model", "square, 1.3 x, detection and model handed BGR",
            cuts.swapped(cuts.square(1.3)), swapped_detection=True),
        Way("square-1.3", "square, 1.3 x, detection handed BGR", cuts.square(1.3),
            swapped_detection=True),
        Way("again", "crop of a crop: box, margin 0, found again in it and cut again",
            cuts.again(detector, box(0), box(0))),
        Way("square-1.3-cubic", "square, 1.3 x, cubic",
            cuts.square(1.3, cuts.opencv(cv2.INTER_CUBIC))),
        Way("square-1.3-lanczos", "square, 1.3 x, Lanczos",
            cuts.square(1.3, cuts.opencv(cv2.INTER_LANCZOS4))),
        Way("square-1.3-area", "square, 1.3 x, area", cuts.square(1.3, cuts.AREA)),
        Way("square-1.3-pil", "square, 1.3 x, Pillow's bicubic (antialias)",
            cuts.square(1.3, cuts.pillow("BICUBIC"))),
    ]  # fmt: skip


class Study:
    """Measures ways to cut with one model on one set of pairs."""

    def __init__(self, model: FaceModel, detector: FaceDetector, pairs: PairSet, cache: Path):
        self._model = model
        self._detector = detector
        self._pairs = pairs
        self._cache = cache
        self._identities = [str(image.identity) for image in pairs.images]

    def rows(self, way: Way) -> list[Row]:
        """Measure one way: as it is, and with mirror images and the mean where asked for."""
        plain = self._embed(way, way.label, way.cut)
        rows = [self._row(way, "", plain)]
        if way.mirror:
            other = self._embed(way, f"{way.label}-mirrored", cuts.mirrored(way.cut))
            rows.append(self._row(way, "mean of image and mirror", unit(plain + other)))
            both = np.concatenate([plain, other], axis=1)
            rows.append(self._row(way, "mirror appended, mean subtracted", both, subtract=True))
        return rows

    def _embed(self, way: Way, label: str, cut: Cut) -> np.ndarray:
        detector: Detector = self._detector
        found_by = detector_label(self._detector)
        if way.swapped_detection:
            detector, found_by = cuts.SwappedDetector(detector), f"{found_by}-bgr"
        embedder = Embedder(
            self._model, detector, self._cache, detection_label=found_by, label=label, cut=cut
        )
        return embedder.embed(self._pairs.images, f"{label:24}").vectors

    def _row(self, way: Way, how: str, vectors: np.ndarray, *, subtract: bool = False) -> Row:
        if subtract:
            accuracy = subtracted_accuracy(self._pairs, vectors)
            # For the rate over all pairs: the mean of all images, which labels no pair.
            vectors = unit(vectors - np.nanmean(vectors, axis=0))
        else:
            scores = np.nan_to_num(self._pairs.scores(vectors), nan=-np.inf)
            accuracy = fold_accuracy(scores, self._pairs.same, self._pairs.fold)
        every = all_pairs(vectors, self._identities)
        found = {far: tar_at_far(every.genuine, every.impostor, float(far)) for far in FARS}
        failed = int(np.isnan(vectors[:, 0]).sum())
        return Row(
            way.name,
            how,
            len(self._pairs.same),
            accuracy.mean,
            accuracy.std,
            {far: measured.tar for far, measured in found.items() if measured},
            failed,
        )


def subtracted_accuracy(pairs: PairSet, vectors: np.ndarray) -> Accuracy:
    """LFW's accuracy as facenet's `--subtract_mean` has it.

    The mean embedding of the other folds is taken from each embedding before it is compared.
    """
    by_fold, thresholds = [], []
    for number in range(pairs.folds):
        held_out = pairs.fold == number
        used = np.concatenate([pairs.left[~held_out], pairs.right[~held_out]])
        centred = unit(vectors - np.nanmean(vectors[used], axis=0))
        scores = np.nan_to_num(pairs.scores(centred), nan=-np.inf)
        threshold = best_threshold(scores[~held_out], pairs.same[~held_out])
        by_fold.append(float(((scores >= threshold) == pairs.same)[held_out].mean()))
        thresholds.append(threshold)
    return Accuracy(by_fold, thresholds)


def table(rows: Sequence[Row]) -> str:
    """Markdown table of the rows."""
    rates = " | ".join(f"TAR at FAR {far}, all pairs" for far in FARS)
    lines = [
        f"| crop to 160 x 160 | pairs | LFW accuracy | {rates} | no face |",
        "|---|---|---|" + "---|" * (len(FARS) + 1),
    ]
    for row in rows:
        name = row.crop + (f"; {row.treatment}" if row.treatment else "")
        tars = [f"{row.tar_at_far[far]:.4f}" if far in row.tar_at_far else "-" for far in FARS]
        cells = [name, f"{row.pairs:,}", f"{row.accuracy:.4f} ± {row.std:.4f}", *tars]
        lines.append(f"| {' | '.join(cells)} | {row.failed} |")
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--model", default="vggface2", help="default: %(default)s")
    parser.add_argument("--pairs", type=Path, required=True, help="LFW's pairs.txt")
    parser.add_argument("--images", type=Path, required=True, help="the images it lists")
    parser.add_argument("--report", type=Path, required=True, help="folder for table and cache")
    parser.add_argument("--cache", type=Path, help="where embeddings are kept (in --report)")
    parser.add_argument(
        "--folds", type=options.positive_int, help="the first so many (default: all)"
    )
    parser.add_argument("--only", nargs="+", help="ways by their label (default: all)")
    options.add_device_option(parser)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run the study and return an exit code."""
    args = build_parser().parse_args(argv)
    device = pick_device(args.device)
    model = load_face_model(args.model, device)
    run(model, FaceDetector(device), args)
    return cli.DONE


def run(model: FaceModel, detector: FaceDetector, args: argparse.Namespace) -> None:
    """Measure all ways, writing the table anew after each."""
    pairs = read_lfw_pairs(args.pairs, args.images)
    if args.folds:
        pairs = first_folds(pairs, args.folds)
    study = Study(model, detector, pairs, args.cache or args.report / "cache")
    rows: list[Row] = []
    for way in ways(detector):
        if args.only and way.label not in args.only:
            continue
        new = study.rows(way)
        rows += new
        print(table(new).split("\n", 2)[2], flush=True)
        with replacing(args.report / "crops.md") as file:
            file.write((table(rows) + "\n").encode())
        with replacing(args.report / "crops.json") as file:
            file.write(json.dumps([asdict(row) for row in rows], indent=1).encode())


if __name__ == "__main__":
    sys.exit(main())
