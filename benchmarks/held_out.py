"""The embedded model against its teacher, on faces that it was not trained on.

    python -m benchmarks.held_out                       # both models, in one run
    python -m benchmarks.held_out --write lists         # what training must leave out
    python -m benchmarks.held_out --models models/best_face_model.pth --crops

Held out are all images of everybody in the last fold of LFW's shared part, every fifth identity of
the CelebA pack and every fourth person of CFP. `--write` writes their names to `leave_out.txt` for
`distill_model.py --leave-out`, the fold's pairs to `pairs.txt` for `evaluate_model.py --pairs`, its
images to `lfw` for `evaluate_model.py --open-set`, and the pack's images to `train.left_out.csv`,
which training obeys beside a copy of the pack. `--crops` measures the held-out faces of the pack
cropped in each of three ways, whatever the model was trained on.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.material import shared_data_or_exit
from facesync import cli
from facesync.data.datasets import FaceDataset
from facesync.data.left_out import write_list
from facesync.errors import FaceSyncError
from facesync.evaluation.protocols import PairSet, read_lfw_pairs
from facesync.faces.aligned import aligned_face
from facesync.faces.crops import ALIGNED_112, BOX, SQUARE
from facesync.faces.detection import FaceDetector, main_face
from facesync.faces.embedding import FaceModel
from facesync.faces.weights import load_face_model
from facesync.metrics.pairs import all_pairs
from facesync.metrics.rates import best_threshold

EVERY = 5
OF_CFP = 4


def last_fold(pairs: Path) -> list[str]:
    """Return the lines of the last fold of an LFW list."""
    head, *lines = pairs.read_text().splitlines()
    folds, kind = (int(number) for number in head.split())
    return lines[(folds - 1) * 2 * kind : folds * 2 * kind]


def last_fold_images(data: Path) -> list[Path]:
    """Return all images of everybody in the last fold."""
    words = [line.split("\t") for line in last_fold(data / "lfw" / "pairs.txt")]
    people = {row[0] for row in words} | {row[2] for row in words if len(row) == 4}
    return [path for path in sorted((data / "lfw").rglob("*.jpg")) if path.parent.name in people]


def last_fold_pairs(data: Path) -> PairSet:
    """Return the pairs of the last fold."""
    pairs = read_lfw_pairs(data / "lfw" / "pairs.txt", data / "lfw")
    return pairs.subset(pairs.fold == pairs.folds - 1)


def held_out_cfp(data: Path) -> list[Path]:
    """Return all images of the people of CFP who are held out."""
    people = sorted(path for path in (data / "cfp").iterdir() if path.is_dir())
    held_out = people[OF_CFP - 1 :: OF_CFP]
    return [path for person in held_out for path in sorted(person.glob("*.jpg"))]


def write_lists(data: Path, folder: Path) -> None:
    """Write the lists, and the images of the last fold."""
    fold = last_fold(data / "lfw" / "pairs.txt")
    names = [path.relative_to(data / "lfw").as_posix() for path in last_fold_images(data)]
    for name in names:
        copy = folder / "lfw" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / "lfw" / name, copy)
    names += [path.relative_to(data / "cfp").as_posix() for path in held_out_cfp(data)]
    packed = [name for name, _ in held_out_celeba(data)]
    names += packed
    folder.mkdir(parents=True, exist_ok=True)
    write_list(folder / "train.left_out.csv", dict.fromkeys(packed, "held out"))
    (folder / "leave_out.txt").write_text("\n".join(names) + "\n")
    (folder / "pairs.txt").write_text("\n".join([str(len(fold) // 2), *fold]) + "\n")
    print(f"{len(names)} images in {folder / 'leave_out.txt'}, {len(fold)} pairs in pairs.txt")


def held_out_celeba(data: Path) -> list[tuple[str, np.ndarray]]:
    """Return name and image, uint8 RGB, of each held-out image of the pack."""
    pack = FaceDataset(data / "celeba_pack", min_images=1, max_images=2**31)
    return [
        (name, np.asarray(pack[index][0]))
        for index, name in enumerate(pack.names)
        if int(name.split("/")[0]) % EVERY == EVERY - 1
    ]


def measure(choice: str, data: Path) -> str:
    """Measure a model on both datasets and return a row of the table."""
    model = load_face_model(choice, offline=True)
    detector = FaceDetector()
    pairs = last_fold_pairs(data)
    vectors = []
    for image in pairs.images:
        image_rgb = image.decode()
        faces = detector.detect(image_rgb)
        found = [main_face(faces, image_rgb)] if faces else []
        vectors.append(model.embed(image_rgb, found)[0] if found else np.full(512, np.nan))
    scores = np.nan_to_num(pairs.scores(np.stack(vectors)), nan=-1.0)
    return f"{choice:<10} {accuracy(scores, pairs.same):.4f}   {on_celeba(model, data)}"


def accuracy(scores: np.ndarray, same: np.ndarray) -> float:
    """Return the accuracy on pairs: each half at the threshold that is best on the other."""
    half = np.arange(len(scores)) % 2 == 0
    right = 0
    for evaluated in (half, ~half):
        threshold = best_threshold(scores[~evaluated], same[~evaluated])
        right += int(((scores[evaluated] >= threshold) == same[evaluated]).sum())
    return right / len(scores)


def on_celeba(model: FaceModel, data: Path) -> str:
    """Measure a model on the pack's held-out identities: TAR at FAR 1e-2 and 1e-3, EER."""
    aligned = held_out_celeba(data)
    crops = [model.crop.cut(image, aligned_face(112)) for _, image in aligned]
    identities = [name.split("/")[0] for name, _ in aligned]
    curve = all_pairs(model.embed_crops(crops), identities).roc()
    rates = "   ".join(f"{curve.tar_at(far):.4f}" for far in (1e-2, 1e-3))
    return f"{rates}   {curve.eer:.4f}"


def print_by_crop(choice: str, data: Path) -> None:
    """Print a model's figures on the pack's held-out identities for each kind of crop."""
    model = load_face_model(choice, offline=True)
    for crop in (ALIGNED_112, BOX, SQUARE):
        served = " (as trained)" if crop == model.crop else ""
        figures = on_celeba(replace(model, crop=crop), data)
        print(f"{choice}  {crop.kind:<12} {figures}{served}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or write the lists."""
    parser = cli.parser(__doc__)
    parser.add_argument("--write", type=Path, metavar="DIR", help="write the lists and stop")
    parser.add_argument(
        "--models", nargs="+", default=["embedded", "vggface2"], help="models to measure"
    )
    parser.add_argument("--crops", action="store_true", help="measure the pack in several crops")
    args = parser.parse_args(argv)
    data = shared_data_or_exit()
    if args.write:
        write_lists(data, args.write)
        return cli.DONE
    if args.crops:
        print("CelebA, identities held out: TAR at FAR 1e-2, 1e-3, EER")
        for choice in args.models:
            print_by_crop(choice, data)
        return cli.DONE
    print("LFW's last fold: accuracy; CelebA, identities held out: TAR at FAR 1e-2, 1e-3, EER")
    for choice in args.models:
        try:
            print(measure(choice, data), flush=True)
        except FaceSyncError as error:
            print(f"{choice:<10} skipped: {error}")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
