"""What training gains, or loses, for people that it never saw: docs/training.md.

    python -m benchmarks.long.training_gain --study story   # 14 people: 10 minutes on one core
    python -m benchmarks.long.training_gain --study gain    # all people, 3 seeds: half a day on one
    python -m benchmarks.long.training_gain --study gain --max-images 4 --epochs 1

Every recipe is train_model.py as a user runs it, from the VGGFace2 weights, on faces aligned on
five points. Both studies draw from the shared LFW, CelebA and CFP without the people of
`benchmarks.held_out`; these are what every model, and the weights before training, are measured on:
TAR at a FAR of 1e-3 over all pairs of their images, and the share of enrolled people refused (FNIR)
where 1 % of strangers pass, with two images enrolled. `story` trains on 14 people with 67 images in
two epochs, `gain` on everybody. The command can be interrupted; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.held_out import EVERY, OF_CFP, last_fold_images
from benchmarks.long.recipes import run
from benchmarks.material import ROOT, shared_data_or_exit, vggface2_or_none
from facesync import cli
from facesync.data.datasets import FaceDataset
from facesync.faces.crops import ALIGNED_112
from facesync.faces.detection import FaceDetector, main_face
from facesync.faces.embedding import FaceModel
from facesync.faces.weights import load_face_model
from facesync.files import replacing, write_json
from facesync.images import read_image_rgb
from facesync.metrics.open_set import open_set
from facesync.metrics.pairs import all_pairs

RECIPES: dict[str, list[str]] = {
    "paper": ["--preset", "paper"],
    "best": ["--preset", "best"],
    "best + teacher": ["--preset", "best", "--teacher", "edgeface-xs"],
}
STORY_IMAGES = [5] * 11 + [4] * 3  # of each of 14 people: 67


def people(data: Path) -> Iterator[tuple[str, bool, list[Path] | list[np.ndarray]]]:
    """Yield each person's name, whether they are held out, and their images: paths if unaligned."""
    held_out = {path.parent.name for path in last_fold_images(data)}
    for folder in sorted((data / "lfw").iterdir()):
        if folder.is_dir():
            yield f"lfw-{folder.name}", folder.name in held_out, sorted(folder.glob("*.jpg"))
    pack = FaceDataset(data / "celeba_pack", min_images=1, max_images=2**31)
    for name, label in pack.label_map.items():
        images = [pack.image_rgb(index) for index, of in enumerate(pack.labels) if of == label]
        yield f"celeba-{name}", int(name) % EVERY == EVERY - 1, images
    folders = sorted(path for path in (data / "cfp").iterdir() if path.is_dir())
    for number, folder in enumerate(folders):
        held = number % OF_CFP == OF_CFP - 1
        yield f"cfp-{folder.name}", held, sorted(folder.glob("*.jpg"))


def align(data: Path, output: Path) -> tuple[Path, Path]:
    """Write all faces, 112 x 112, to the folders of those to train on and those held out."""
    folders = output / "train", output / "unseen"
    done = output / "aligned"
    if done.exists():
        return folders
    detector = FaceDetector()
    for name, held_out, images in people(data):
        for number, image in enumerate(images):
            path = folders[held_out] / name / f"{number:03d}.png"
            if path.exists():
                continue
            if isinstance(image, Path):
                image_rgb = read_image_rgb(image)
                faces = detector.detect(image_rgb)
                if not faces:
                    continue
                image = ALIGNED_112.cut(image_rgb, main_face(faces, image_rgb))
            with replacing(path) as file:
                file.write(cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
    done.touch()
    return folders


def story(train: Path, folder: Path, seed: int) -> Path:
    """Draw 14 people with 67 images."""
    rng = np.random.default_rng(seed)
    fitting = [path for path in sorted(train.iterdir()) if len(list(path.iterdir())) >= 5]
    drawn = [fitting[index] for index in rng.permutation(len(fitting))[: len(STORY_IMAGES)]]
    for person, count in zip(drawn, STORY_IMAGES, strict=True):
        for image in sorted(person.iterdir())[:count]:
            with replacing(folder / person.name / image.name) as file:
                file.write(image.read_bytes())
    return folder


def measured(model: FaceModel, unseen: Path, most: int) -> dict[str, float]:
    """Measure a model on the people held out, with at most so many images of each."""
    faces = FaceDataset(unseen, min_images=1, max_images=most)
    # The crop is the images' own: that of training, whatever the weights had before.
    vectors = np.concatenate(
        [
            model.embed_crops([faces.image_rgb(index) for index in range(start, end)])
            for start in range(0, len(faces), 256)
            for end in [min(start + 256, len(faces))]
        ]
    )
    names = [faces.class_names[label] for label in faces.labels]
    rates = open_set(vectors, names, enrolled=2)
    return {"tar": all_pairs(vectors, names).roc().tar_at(1e-3), "fnir": rates[0].fnir}


def after(recipe: str, seed: int, args: Any, train: Path, unseen: Path) -> dict[str, float]:
    """Train with a recipe and measure its best model."""
    output = args.output / args.study / f"{recipe.replace(' ', '')}-{seed}"
    kept = output / "measured.json"
    if not kept.exists():
        own = train
        if args.study == "story":
            own = story(train, args.output / "story" / f"images-{seed}", seed)
        least = 4 if args.study == "story" else 3
        run(
            "train_model.py", "--data", own, "--output", output, "--epochs", args.epochs,
            "--seed", seed, "--min-images", least, "--max-images", args.max_images,
            "--workers", 0, "--resume", "--offline", *RECIPES[recipe], *args.more,
        )  # fmt: skip
        model = load_face_model(output / "best_face_model.pth", offline=True)
        write_json(kept, measured(model, unseen, args.max_unseen))
    return dict(json.loads(kept.read_text()))


def before(args: Any, unseen: Path) -> dict[str, float]:
    """Measure the VGGFace2 weights."""
    kept = args.output / f"before-{args.max_unseen}.json"
    if not kept.exists():
        model = load_face_model("vggface2", offline=True)
        write_json(kept, measured(model, unseen, args.max_unseen))
    return dict(json.loads(kept.read_text()))


def main(argv: Sequence[str] | None = None) -> int:
    """Train, measure, print the table."""
    parser = cli.parser(__doc__)
    parser.add_argument("--study", choices=("story", "gain"), default="story")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--recipes", nargs="+", choices=tuple(RECIPES), default=list(RECIPES))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--max-images", type=int, default=100, help="of each person trained on")
    parser.add_argument("--max-unseen", type=int, default=4, help="images of each person held out")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmark_output" / "training_gain")
    parser.add_argument(
        "--more", nargs=argparse.REMAINDER, default=[], help="more options of training"
    )
    args = parser.parse_args(argv)
    data = shared_data_or_exit()
    if vggface2_or_none() is None:
        return cli.DONE
    train, unseen = align(data, args.output)
    rows = {"before training": [before(args, unseen)]}
    for seed in args.seeds:
        for recipe in args.recipes:
            rows.setdefault(recipe, []).append(after(recipe, seed, args, train, unseen))
    print("| | TAR at FAR 1e-3 | FNIR at FPIR 1 % |\n|---|---|---|")
    for name, results in rows.items():
        cells = [[each[key] for each in results] for key in ("tar", "fnir")]
        shown = [f"{np.mean(values):.3f} ± {np.std(values):.3f}" for values in cells]
        print(f"| {name} | {' | '.join(shown)} |")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
