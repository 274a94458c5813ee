"""Measure what FaceSync says of the models it knows, and write it into their cards.

    python -m benchmarks.model_cards                     # the tables of the cards, in Markdown
    python -m benchmarks.model_cards --output cards      # measures all models first
    python -m benchmarks.model_cards --output cards --models embedded

For each model, in one run: thresholds by false match rate, those of the worst of several groups
of people (LFW and the faces of `benchmarks.group_faces`); how many owners are refused (open set)
among the people of the last LFW fold, with one, two and three images enrolled; and the processor
time for one face. Models that learnt from the other LFW folds are measured on the last one only.
Embeddings stay in the folder, so that a second run is short.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.group_faces import INFANTS, embed_faces, one_of_each, read_faces
from benchmarks.held_out import last_fold_images
from benchmarks.material import add_counts, processor_ms, shared_data_or_exit
from facesync import cli
from facesync.data.datasets import FaceDataset
from facesync.evaluation.calibrations import data_fingerprint
from facesync.evaluation.embeddings import Embedder, detector_label
from facesync.evaluation.images import DatasetImages, ImageRef
from facesync.evaluation.summary import percent
from facesync.faces.calibration import Calibration
from facesync.faces.detection import FaceDetector
from facesync.faces.embedding import FaceModel
from facesync.faces.fitting import calibrate
from facesync.faces.models import ASSETS, KNOWN
from facesync.faces.weights import load_face_model
from facesync.files import write_json
from facesync.metrics.open_set import OpenSetRate, open_set
from facesync.metrics.pairs import AllPairs, all_pairs
from facesync.metrics.thresholds import COMMON_FMR

ENROLLED = (1, 2, 3)
SEEN = ("vggface2", "embedded")
"""Models that learnt, without labels, from LFW's other folds and from the groups' faces."""
LEFT_OUT = (INFANTS, "All-Age-Faces, 4-12", "UTKFace, 4-12")
"""Groups that are measured but raise no threshold: see docs/models.md."""


def lfw_images(data: Path) -> tuple[list[ImageRef], np.ndarray]:
    """Return all images of LFW, and which of them show people of the last fold."""
    images = DatasetImages(FaceDataset(data / "lfw", min_images=1, max_images=2**31))
    people = {path.parent.name for path in last_fold_images(data)}
    return images, np.array([image.identity in people for image in images])


def embed_images(model: FaceModel, images: Sequence[ImageRef], cache: Path) -> np.ndarray:
    """Embed photographs as `evaluate_model.py` does; rows of NaN where there is no face."""
    detector = FaceDetector()
    label = detector_label(detector)
    return Embedder(model, detector, cache, detection_label=label).embed(images).vectors[:]


def within_groups(model: FaceModel, data: Path, cache: Path) -> dict[str, AllPairs]:
    """Compare everybody in each group with each other."""
    found = {}
    for name, faces in one_of_each(read_faces(data)).items():
        vectors = embed_faces(model, faces, cache)
        found[name] = all_pairs(vectors, [face.name for face in faces])
    return found


def calibrated(
    model: FaceModel,
    images: Sequence[ImageRef],
    vectors: np.ndarray,
    groups: Mapping[str, AllPairs],
    source: str,
) -> Calibration:
    """Calibrate a model on LFW's images and on groups of other people."""
    lfw = all_pairs(vectors, [str(image.identity) for image in images])
    groups = {"LFW": lfw, **groups}
    found = calibrate(
        lfw,
        groups=groups,
        left_out=LEFT_OUT,
        crop=model.crop,
        model_fingerprint=model.fingerprint,
        data=f"{source}, SCUT-FBP5500, MEBeauty, UTKFace and All-Age-Faces: all pairs within each "
        "group",
        data_fingerprint=data_fingerprint(images),
    )
    counted = [pairs for name, pairs in groups.items() if name not in LEFT_OUT]
    return replace(
        found,
        images=sum(pairs.images for pairs in counted),
        identities=sum(pairs.identities for pairs in counted),
        impostor_pairs=sum(len(pairs.impostor) for pairs in counted),
    )


def owners_refused(vectors: np.ndarray, identities: Sequence[str]) -> list[OpenSetRate]:
    """Measure FNIR at each FPIR, for each number of images enrolled."""
    return [rate for number in ENROLLED for rate in open_set(vectors, identities, enrolled=number)]


def on_one_face(model: FaceModel) -> Callable[[], np.ndarray]:
    """Return a way to embed one crop."""
    sides = model.crop.crop_size, model.crop.crop_size, 3
    crop_rgb = np.random.default_rng(0).integers(0, 255, sides, np.uint8)
    return partial(model.embed_crops, [crop_rgb])


def measured(name: str, model: FaceModel, data: Path, cache: Path) -> dict[str, Any]:
    """Measure all of a model but its speed."""
    images, last = lfw_images(data)
    if name in SEEN:
        images, last = [images[n] for n in np.flatnonzero(last)], np.ones(last.sum(), bool)
    vectors = embed_images(model, images, cache)
    identities = [str(images[n].identity) for n in np.flatnonzero(last)]
    rates = owners_refused(vectors[last], identities)
    source = "LFW (fifth fold)" if name in SEEN else "LFW (five folds)"
    found = calibrated(model, images, vectors, within_groups(model, data, cache), source)
    people = sorted({rate.people for rate in rates})
    return {
        "calibration": found.to_dict(),
        "open_set": [asdict(rate) for rate in rates],
        "open_set_on": f"{len(set(identities))} people of LFW's fifth fold, {people[0]} to "
        f"{people[-1]} of them registered",
    }


def tables() -> str:
    """Return what the cards hold of false matches and refused owners, as Markdown."""
    cards = {name: model.card() for name, model in KNOWN.items()}
    groups = {name: card["calibration"].get("groups", {}) for name, card in cards.items()}
    head = "| " + " | ".join(("{}", *cards)) + " |\n" + "|---" * (len(cards) + 1) + "|"
    lines = [head.format("false match rate within a group, at LFW's threshold for 0.1 %")]
    for group in dict.fromkeys(name for found in groups.values() for name in found):
        cells = [percent(found[group]["fmr"]) for found in groups.values() if group in found]
        lines.append(f"| {group} | {' | '.join(cells)} |")
    lines += ["", head.format(f"threshold for a false match rate of {COMMON_FMR}")]
    read = [Calibration.from_dict(card["calibration"]) for card in cards.values()]
    alone = [found.groups["LFW"]["threshold"] for found in read if found.groups]
    lines.append(f"| LFW alone | {' | '.join(map(cli.decimals, alone))} |")
    lines.append(
        f"| the worst group | {' | '.join(cli.decimals(c.at(float(COMMON_FMR))) for c in read)} |"
    )
    lines += ["", head.format("registered people refused (FNIR)")]
    for number in ENROLLED:
        for fpir in (1e-2, 1e-3):
            found = [model.fnir(fpir, number) for model in KNOWN.values()]
            each = cli.count(number, "image", "images")
            cells = [f"{100 * (fnir or 0):.1f} %" for fnir in found]
            lines.append(
                f"| {each} each, {100 * fpir:g} % of strangers pass | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure models and write their cards, or only print what is in these."""
    parser = cli.parser(__doc__)
    add_counts(parser, rounds=20)
    parser.add_argument("--output", type=Path, metavar="DIR", help="measure; for embeddings")
    parser.add_argument("--models", nargs="+", choices=[*KNOWN], default=[*KNOWN])
    args = parser.parse_args(argv)
    if args.output:
        data = shared_data_or_exit()
        loaded = {name: load_face_model(name, offline=True) for name in args.models}
        times = processor_ms({n: on_one_face(model) for n, model in loaded.items()}, args.rounds)
        for name in args.models:
            card = {**KNOWN[name].card(), **measured(name, loaded[name], data, args.output)}
            write_json(ASSETS / f"{name}.json", {**card, "cpu_ms": round(times[name], 1)})
    print(tables())
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
