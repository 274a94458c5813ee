"""Which crop suits a model: the same photographs, one detection, cropped in many ways.

    python -m benchmarks.long.crops --pairs lfw/pairs.txt --images lfw --folds 2 --report output

Prints a row for each crop: LFW's accuracy, and TAR at small FARs over all pairs among the images,
which tells apart crops that a few hundred pairs cannot. Writes `crops.md`; docs/crops.md says what
was found. Embeddings are cached in --report: a run with more folds computes only what is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.material import add_lfw_options, lfw_material
from facesync import cli, options
from facesync.evaluation.embeddings import CropFunction, Embedder, detector_label, mirrored
from facesync.evaluation.protocols import PairSet, assign_folds
from facesync.faces.crops import ALIGNED_112, BOX, SQUARE, TEMPLATE_112, cut_aligned, cut_square
from facesync.faces.detection import Detector, Face, FaceDetector, main_face
from facesync.faces.embedding import FaceModel, unit
from facesync.files import replacing
from facesync.metrics.pairs import all_pairs
from facesync.metrics.rates import Accuracy, best_threshold, fold_accuracy, tar_at_far

SIZE = 160
FARS = ("1e-3", "1e-4")
HEADING = (
    f"| crop to 160 x 160 | pairs | LFW accuracy | {' | '.join(f'TAR at FAR {f}' for f in FARS)} | "
    "no face |\n|---|---|---|---|---|---|\n"
)

Resize = Callable[[np.ndarray], np.ndarray]


def opencv(interpolation: int) -> Resize:
    return lambda crop: cv2.resize(crop, (SIZE, SIZE), interpolation=interpolation)


def pillow(name: str) -> Resize:
    """Resize with one of Pillow's filters, which antialias when they shrink."""
    from PIL import Image

    how = Image.Resampling[name]
    return lambda crop: np.asarray(Image.fromarray(crop).resize((SIZE, SIZE), how))


def stretched(box: Callable[[np.ndarray], np.ndarray], resize: Resize) -> CropFunction:
    """Stretch a box, derived from the face's own and clipped to the image, to a square."""

    def crop(image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
        height, width = image_rgb.shape[:2]
        xyxy = box(face.box_xyxy.astype(np.float64))
        left, top, right, bottom = np.clip(xyxy, 0, [width, height, width, height]).astype(int)
        if right - left < 2 or bottom - top < 2:
            return None
        return resize(np.ascontiguousarray(image_rgb[top:bottom, left:right]))

    return crop


def box_facenet_pytorch(margin: int, resize: Resize | None = None) -> CropFunction:
    """Crop as facenet-pytorch: the box with a margin in pixels of the result."""

    def box(xyxy: np.ndarray) -> np.ndarray:
        more = margin * (xyxy[2:] - xyxy[:2]) / (SIZE - margin) / 2
        return np.concatenate([xyxy[:2] - more, xyxy[2:] + more])

    return stretched(box, resize or opencv(cv2.INTER_AREA))


def box_facenet(margin: int, resize: Resize | None = None) -> CropFunction:
    """Crop as the original facenet (D. Sandberg, 0.9965): a margin in pixels of the photograph."""
    more = margin / 2 * np.array([-1, -1, 1, 1])
    return stretched(lambda xyxy: xyxy + more, resize or pillow("BILINEAR"))


def square(scale: float, resize: Resize | None = None) -> CropFunction:
    """Crop a square of `scale` times the box's longer side, resized as in the app by default."""
    if resize is None:
        return lambda image_rgb, face: cut_square(image_rgb, face.box_xyxy, scale, SIZE)
    return lambda image_rgb, face: resize(cut_square(image_rgb, face.box_xyxy, scale))


def five_points(wider: float) -> CropFunction:
    """Align on five landmarks: InsightFace's template at 160 px, with a wider view."""
    template = ((TEMPLATE_112 - 56) / wider + 56) * (SIZE / 112)
    return lambda image_rgb, face: cut_aligned(
        image_rgb, face.landmarks, template, SIZE, cv2.INTER_LINEAR
    )


def twice(detector: Detector, crop: CropFunction) -> CropFunction:
    """Crop of a crop: detect the face again in the crop and crop that."""

    def crop_again(image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
        crop_rgb = crop(image_rgb, face)
        faces = [] if crop_rgb is None else detector.detect(crop_rgb)
        return crop(crop_rgb, main_face(faces, crop_rgb)) if faces else None

    return crop_again


def bgr(crop: CropFunction) -> CropFunction:
    """Swap red and blue: what a model gets that is handed OpenCV's frames."""

    def swapped(image_rgb: np.ndarray, face: Face) -> np.ndarray | None:
        crop_rgb = crop(image_rgb, face)
        return None if crop_rgb is None else np.ascontiguousarray(crop_rgb[:, :, ::-1])

    return swapped


class BgrDetector:
    """A detector that is handed BGR by mistake."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Find all faces."""
        return self._detector.detect(np.ascontiguousarray(image_rgb[:, :, ::-1]))


@dataclass(frozen=True)
class CropMethod:
    """One crop; `label` for the cache, `name` for the table."""

    label: str
    name: str
    crop: CropFunction
    bgr_detection: bool = False
    mirror: bool = False


def crop_methods(detector: Detector) -> list[CropMethod]:
    """List all crops that are compared, the most informative first."""
    cubic, lanczos, area = map(opencv, (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_AREA))
    return [
        CropMethod("square-1.3", "square of 1.3 x the box's longer side (`SQUARE`)", SQUARE.cut,
                   mirror=True),
        CropMethod("facenet-32", "facenet's own: box, 16 px of the photograph around it, stretched",
                   box_facenet(32), mirror=True),
        CropMethod("box-0", "box, margin 0, stretched", box_facenet_pytorch(0)),
        CropMethod("box-14", "box, margin 14, stretched", box_facenet_pytorch(14)),
        CropMethod("box-32", "box, margin 32, stretched (`BOX`)", BOX.cut),
        CropMethod("box-44", "box, margin 44, stretched", box_facenet_pytorch(44)),
        CropMethod("points-112", "five points, InsightFace's template at 112, enlarged "
                   "(`ALIGNED_112`)", ALIGNED_112.cut),
        CropMethod("points-1.0", "five points, the template at 160", five_points(1.0)),
        CropMethod("points-1.2", "five points, 1.2 x wider view", five_points(1.2)),
        CropMethod("points-1.35", "five points, 1.35 x wider view", five_points(1.35)),
        CropMethod("square-1.2", "square, 1.2 x", square(1.2)),
        CropMethod("square-1.4", "square, 1.4 x", square(1.4)),
        CropMethod("bgr-model", "square, 1.3 x, detector and model handed BGR",
                   bgr(square(1.3)), bgr_detection=True),
        CropMethod("square-1.3", "square, 1.3 x, detector handed BGR", square(1.3),
                   bgr_detection=True),
        CropMethod("again", "crop of a crop: box, margin 0, detected and cropped again",
                   twice(detector, box_facenet_pytorch(0))),
        CropMethod("square-1.3-cubic", "square, 1.3 x, cubic", square(1.3, cubic)),
        CropMethod("square-1.3-lanczos", "square, 1.3 x, Lanczos", square(1.3, lanczos)),
        CropMethod("square-1.3-area", "square, 1.3 x, area", square(1.3, area)),
        CropMethod("square-1.3-pil", "square, 1.3 x, Pillow's bicubic (antialiased)",
                   square(1.3, pillow("BICUBIC"))),
    ]  # fmt: skip


def subtracted_accuracy(pairs: PairSet, vectors: np.ndarray) -> Accuracy:
    """LFW's accuracy as with facenet's `--subtract_mean`: minus the other folds' mean embedding."""
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


def row(pairs: PairSet, name: str, vectors: np.ndarray, *, subtract: bool = False) -> str:
    """Measure embeddings and return a row of the table."""
    if subtract:
        accuracy = subtracted_accuracy(pairs, vectors)
        vectors = unit(vectors - np.nanmean(vectors, axis=0))  # for all pairs: no label is used
    else:
        scores = np.nan_to_num(pairs.scores(vectors), nan=-np.inf)
        accuracy = fold_accuracy(scores, pairs.same, pairs.fold)
    every = all_pairs(vectors, [str(image.identity) for image in pairs.images])
    found = [tar_at_far(every.genuine, every.impostor, float(far)) for far in FARS]
    cells = [name, f"{len(pairs.same):,}", f"{accuracy.mean:.4f} ± {accuracy.std:.4f}"]
    cells += [f"{measured.tar:.4f}" if measured else "-" for measured in found]
    return f"| {' | '.join(cells)} | {np.isnan(vectors[:, 0]).sum()} |\n"


def measure(
    method: CropMethod, model: FaceModel, detector: FaceDetector, pairs: PairSet, cache: Path
) -> list[str]:
    """Measure one crop, with mirror images, too, if it asks for them."""
    bgr_label = "-bgr" if method.bgr_detection else ""

    def embed(label: str, crop: CropFunction) -> np.ndarray:
        embedder = Embedder(
            model,
            BgrDetector(detector) if method.bgr_detection else detector,
            cache,
            detection_label=detector_label(detector) + bgr_label,
            label=label,
            crop=crop,
        )
        return embedder.embed(pairs.images, f"{label:24}").vectors[:]

    plain = embed(method.label, method.crop)
    rows = [row(pairs, method.name, plain)]
    if method.mirror:
        mirror = embed(f"{method.label}-mirrored", mirrored(method.crop))
        rows.append(row(pairs, f"{method.name}; mean of image and mirror", unit(plain + mirror)))
        both = np.concatenate([plain, mirror], axis=1)
        name = f"{method.name}; mirror appended, mean subtracted"
        rows.append(row(pairs, name, both, subtract=True))
    return rows


def first_folds(pairs: PairSet, count: int) -> PairSet:
    """Keep the first folds; a single one is split again."""
    kept = pairs.subset(pairs.fold < count)
    return replace(kept, fold=assign_folds(kept.same)) if kept.folds == 1 else kept


@cli.guarded
def main(argv: list[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    add_lfw_options(parser)
    parser.add_argument("--folds", type=options.positive_int, help="use the first ones only")
    parser.add_argument("--only", nargs="+", help="labels of crops (default: all)")
    args = parser.parse_args(argv)
    model, detector, pairs, cache = lfw_material(args)
    if args.folds:
        pairs = first_folds(pairs, args.folds)
    table = HEADING
    for method in crop_methods(detector):
        if not args.only or method.label in args.only:
            rows = measure(method, model, detector, pairs, cache)
            print(*rows, sep="", end="", flush=True)
            table += "".join(rows)
            with replacing(args.report / "crops.md") as file:
                file.write(table.encode())
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
