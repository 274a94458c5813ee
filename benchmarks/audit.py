"""What the audit finds of planted faults: precision and recall.

    python -m benchmarks.audit
    python -m benchmarks.audit --identities 40 --work /tmp/audit

Splits the identities of the shared `celeba_pack` in two halves and plants the same kinds of faults
in each, by a seed: 5 % of the images are swapped with one of another identity, 5 % are copied
exactly and 5 % with changes (recompressed, mirrored, cropped, brighter or darker), half of the
copies into another identity; 2 % more images show no face (corners of LFW's photographs); 5 % of
the identities have half their images moved to a new name, and 5 % take in another identity. The
thresholds of `facesync.audit` were chosen on the first half, with the same kinds of faults from
another seed; the second half was in view meanwhile (docs/audit.md says what that means). Each half
is also audited without planted faults: what is found there already is a fault of the dataset itself
(or the audit's mistake), is counted apart, and does not count towards precision. A swapped image
counts as found when it is reported as any kind.

The embeddings, cached in --work, take some minutes the first time.
"""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.material import shared_data_or_exit
from facesync import cli, options
from facesync.audit import findings as kinds
from facesync.audit.faults import find_faults
from facesync.audit.findings import Finding
from facesync.data.datasets import FaceDataset
from facesync.data.recordio import write_pack
from facesync.errors import FaceSyncError
from facesync.evaluation.embeddings import Embedder
from facesync.evaluation.images import DatasetImages
from facesync.faces.detection import FaceDetector
from facesync.faces.embedding import FaceModel
from facesync.faces.weights import load_face_model
from facesync.images import read_image_rgb

SHARE, FACELESS = 0.05, 0.02
HALVES_SEED = 11  # not --seed: the thresholds were chosen on these first 120 people
NOBODY = -1

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """An image of the dataset with faults; `source` is equal for copies of one image."""

    identity: int
    data: bytes
    person: int
    source: int
    fault: str = ""


@dataclass(frozen=True)
class Damaged:
    """A dataset with faults: pairs of identities that are one person, identities that are two."""

    items: list[Item]
    split: set[frozenset[int]]
    merged: set[int]


def jpeg(image: Image.Image, quality: int = 95) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def compressed(image: Image.Image, draw: random.Random) -> bytes:
    return jpeg(image, draw.randint(30, 70))


def mirrored(image: Image.Image, draw: random.Random) -> bytes:
    return jpeg(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def cut(image: Image.Image, draw: random.Random) -> bytes:
    width, height = image.size
    left, top, right, bottom = (draw.uniform(0, 0.06) for _ in range(4))
    box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
    return jpeg(image.resize(image.size, Image.Resampling.BILINEAR, box))


def relit(image: Image.Image, draw: random.Random) -> bytes:
    factor = draw.choice([draw.uniform(0.6, 0.8), draw.uniform(1.2, 1.5)])
    return jpeg(ImageEnhance.Brightness(image).enhance(factor))


CHANGES: tuple[Callable[[Image.Image, random.Random], bytes], ...] = (
    compressed,
    mirrored,
    cut,
    relit,
)


def corners(folder: Path, count: int, draw: random.Random) -> list[bytes]:
    """Corners of LFW's photographs, enlarged to the size of a crop: no face in them."""
    result = []
    for file in draw.sample(sorted(folder.glob("*/*.jpg")), count):
        image = Image.fromarray(read_image_rgb(file))
        x, y = (draw.choice([0, side - 65]) for side in image.size)
        corner = image.crop((x, y, x + 65, y + 65))
        result.append(jpeg(corner.resize((112, 112), Image.Resampling.BILINEAR)))
    return result


def damage(images: Sequence[tuple[int, bytes]], photographs: Path, seed: int) -> Damaged:
    """Plant the faults that the docstring above names."""
    draw = random.Random(seed)
    items = [Item(who, data, who, number) for number, (who, data) in enumerate(images)]
    identities = sorted({item.identity for item in items})
    share = round(len(items) * SHARE)
    order = draw.sample(range(len(items)), len(items))
    swapped, copied, changed = (order[n * share : (n + 1) * share] for n in range(3))
    half = share // 2
    for one, other in zip(swapped[:half], swapped[half : 2 * half], strict=True):
        a, b = items[one], items[other]
        if a.identity != b.identity:
            items[one] = replace(a, identity=b.identity, fault="swapped")
            items[other] = replace(b, identity=a.identity, fault="swapped")

    def place(identity: int) -> int:
        return identity if draw.random() < 0.5 else draw.choice(identities)

    for number in copied:
        original = items[number]
        items.append(replace(original, identity=place(original.identity), fault="copied"))
    for turn, number in enumerate(changed):
        original, change = items[number], CHANGES[turn % len(CHANGES)]
        data = change(Image.fromarray(read_image_rgb(original.data)), draw)
        identity = place(original.identity)
        items.append(replace(original, data=data, identity=identity, fault=change.__name__))
    for data in corners(photographs, round(len(images) * FACELESS), draw):
        items.append(Item(draw.choice(identities), data, NOBODY, len(items), "no face"))

    few = max(1, round(len(identities) * SHARE))
    drawn = draw.sample(identities, 3 * few)
    split = {identity: max(identities) + 1 + n for n, identity in enumerate(drawn[:few])}
    merged = dict(zip(drawn[few : 2 * few], drawn[2 * few :], strict=True))
    renamed = []
    for item in items:
        identity = merged.get(item.identity, item.identity)
        if identity in split and draw.random() < 0.5:
            identity = split[identity]
        renamed.append(replace(item, identity=identity))
    draw.shuffle(renamed)
    return Damaged(
        sorted(renamed, key=lambda item: item.identity),
        {frozenset(pair) for pair in split.items()},
        set(merged.values()),
    )


@dataclass(frozen=True)
class Score:
    """Counts of one kind: planted, found of those, reported, of which right, found before."""

    planted: int
    found: int
    reported: int
    right: int
    before: int

    def __str__(self) -> str:
        wrong = self.reported - self.right - self.before
        precision = self.right / max(self.right + wrong, 1)
        recall = self.found / max(self.planted, 1)
        return (
            f"{self.planted:8}{recall:9.1%}{self.reported:10}{self.right:7}{self.before:8}"
            f"{wrong:7}{precision:11.1%}"
        )


HEADINGS = " planted   recall  reported  right  before  wrong  precision"


def audit_items(
    items: Sequence[Item], folder: Path, model: FaceModel, detector: FaceDetector
) -> tuple[FaceDataset, list[Finding]]:
    pack = write_pack(folder / "pack", ((item.identity, item.data) for item in items))
    dataset = FaceDataset(pack, min_images=1, max_images=len(items))
    embedded = Embedder(model, None, folder / "embeddings").embed(DatasetImages(dataset))
    return dataset, find_faults(dataset, embedded, detector)


def scores(
    damaged: Damaged, dataset: FaceDataset, found: Sequence[Finding], before: set[int]
) -> dict[str, Score]:
    """Compare what was found with what was planted.

    Args:
        damaged: the dataset.
        dataset: the same, as the audit read it.
        found: what the audit found.
        before: sources of images that it finds without planted faults, too.
    """
    items = damaged.items  # keys of the pack count from 1 in this order
    at = {name: number for number, name in enumerate(dataset.names)}
    item_of = [items[int(name.rpartition("/")[2]) - 1] for name in dataset.names]
    people: dict[int, Counter[int]] = {}
    for item in items:
        people.setdefault(item.identity, Counter())[item.person] += 1
    owner = {identity: counts.most_common(1)[0][0] for identity, counts in people.items()}
    by_kind = {
        kind: [(item_of[f.image], f.other) for f in found if f.kind == kind] for kind in kinds.KINDS
    }

    def copies(kind: str, faults: set[str]) -> Score:
        pairs = [(item, item_of[at[other]]) for item, other in by_kind[kind]]
        right = {one.source for one, other in pairs if one.source == other.source}
        planted = {item.source for item in items if item.fault in faults}
        old = sum(a.source != b.source and bool({a.source, b.source} & before) for a, b in pairs)
        hits = sum(a.source == b.source for a, b in pairs)
        return Score(len(planted), len(planted & right), len(pairs), hits, old)

    def images(kind: str, fault: str, is_right: Callable[[Item], bool]) -> Score:
        reported = [item for item, _ in by_kind[kind]]
        planted = sum(item.fault == fault for item in items)
        of_any_kind = sum(item_of[f.image].fault == fault for f in found)
        hits = sum(is_right(item) for item in reported)
        old = sum(not is_right(item) and item.source in before for item in reported)
        return Score(planted, of_any_kind, len(reported), hits, old)

    def identities(planted: set[T], reported: set[T], old: set[T]) -> Score:
        right = len(reported & planted)
        return Score(len(planted), right, len(reported), right, len(old - planted))

    two = {item.identity for item, _ in by_kind[kinds.TWO_PEOPLE]}
    two_before = {i.identity for i, _ in by_kind[kinds.TWO_PEOPLE] if i.source in before}
    same = {
        frozenset((item.identity, int(other))): item.source
        for item, other in by_kind[kinds.SAME_PERSON]
    }
    same_before = {pair for pair, source in same.items() if source in before}
    return {
        kinds.EXACT_COPY: copies(kinds.EXACT_COPY, {"copied"}),
        kinds.NEAR_COPY: copies(kinds.NEAR_COPY, {change.__name__ for change in CHANGES}),
        kinds.NO_FACE: images(kinds.NO_FACE, "no face", lambda item: item.person == NOBODY),
        kinds.WRONG_IDENTITY: images(
            kinds.WRONG_IDENTITY, "swapped", lambda item: item.person != owner[item.identity]
        ),
        kinds.TWO_PEOPLE: identities(damaged.merged, two, two_before),
        kinds.SAME_PERSON: identities(damaged.split, set(same), same_before),
    }


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--model", default="vggface2", metavar="vggface2|FILE")
    parser.add_argument("--work", type=Path, default=Path("benchmark_output/audit"), metavar="DIR")
    parser.add_argument("--identities", type=options.positive_int, metavar="N", help="default: all")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    data = shared_data_or_exit()
    try:
        model = load_face_model(args.model, offline=True)
    except FaceSyncError as error:
        print(f"no model on this machine ({error}): left out")
        return
    detector = FaceDetector()
    whole = FaceDataset(data / "celeba_pack", min_images=1)
    chosen = list(range(len(whole.class_names)))
    random.Random(HALVES_SEED).shuffle(chosen)
    chosen = chosen[: args.identities]
    middle = len(chosen) // 2
    labels = np.array(whole.labels)
    print(f"Model: {model.source}")
    for title, half in (
        ("First half of the identities: the thresholds were chosen here", chosen[:middle]),
        ("Second half of the identities", chosen[middle:]),
    ):
        indices = np.flatnonzero(np.isin(labels, half)).tolist()
        images = [(int(labels[index]), whole.encoded(index)) for index in indices]
        untouched = [Item(who, data, who, n) for n, (who, data) in enumerate(images)]
        _, old = audit_items(untouched, args.work, model, detector)
        damaged = damage(images, data / "lfw", args.seed)
        dataset, found = audit_items(damaged.items, args.work, model, detector)
        result = scores(damaged, dataset, found, {finding.image for finding in old})
        print(f"\n{title}: {len(images):,} images of {len(half)} people, plus faults")
        print(f"{'':16}{HEADINGS}")
        for kind, score in result.items():
            print(f"{kind:16}{score}")


if __name__ == "__main__":
    main()
