"""Faces of many groups of people, and their embeddings: what thresholds by group are measured on.

    python -m benchmarks.group_faces --cache cards > benchmarks/repeated_faces.txt

They are the crops of `data/distil` and `data/distil_more` whose group is known: SCUT-FBP5500,
MEBeauty, UTKFace and All-Age-Faces, with box and landmarks in each folder's `faces.csv`, so that
any model's crop can be cut without a search.

Many of these images show the same people, celebrities above all, and nothing says which:
`repeated_faces.txt`, which this command printed, lists those that are left out. Two images of a
group count as one person if EdgeFace-XS and the VGGFace2 weights both find them far more similar
than nearly all others of the group (`SAME_PERSON`); the later one is left out. The limits were
chosen by looking at pairs: above them most show one person, just below them fewer than half.
So some people remain twice, which makes thresholds too high, and some who only look alike are gone,
which makes those of small rates (1e-4 and less) too low.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.material import shared_data_or_exit
from facesync import cli
from facesync.evaluation.cache import VectorCache, content_id
from facesync.faces.detection import Face
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel
from facesync.faces.weights import load_face_model
from facesync.images import read_image_rgb

REPEATED = Path(__file__).with_name("repeated_faces.txt")
SETS = {
    "scut_fbp5500": "SCUT-FBP5500",
    "mebeauty": "MEBeauty",
    "utkface": "UTKFace",
    "all_age_faces": "All-Age-Faces",
}
INFANTS = "infants of UTKFace and All-Age-Faces, 0-3"
AGES = {4: INFANTS, 13: "4-12", 20: "13-19", 60: "20-59", 200: "60+"}
"""The name of each band, by the first age above it."""

SAME_PERSON = {"edgeface-xs": 0.50, "vggface2": 0.65}
"""From which similarity on two images of a group show one person, for both models..."""
ABOVE_THE_GROUP = 0.10
"""...and how far EdgeFace-XS's must be above what 1 % of the group's pairs reach."""

_BATCH = 64


@dataclass(frozen=True)
class GroupFace:
    """A face of a set.

    Attributes:
        name: of its file, below the folder of data.
        path: its file: a crop that shows more than the face.
        face: where it is in the crop.
        group: of people, in words.
    """

    name: str
    path: Path
    face: Face
    group: str


def group_of(source: str, age: str, origin: str) -> str | None:
    """Name the group of a row of `faces.csv`; None if it has none.

    Children and old people are too few for groups by age and origin.
    """
    if source not in SETS:
        return None
    if source not in ("utkface", "all_age_faces"):
        return SETS[source]
    if not age:
        return None
    band = next(name for limit, name in AGES.items() if float(age) < limit)
    if band == INFANTS:
        return band
    of = f", {origin}" if source == "utkface" and band == "20-59" else ""
    return f"{SETS[source]}{of}, {band}"


def read_faces(data: Path) -> list[GroupFace]:
    """Read the faces whose group is known, in the lists' order, each person once or more."""
    found = []
    for folder in ("distil", "distil_more"):
        with open(data / folder / "faces.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                group = group_of(row["set"], row.get("age", ""), row.get("group", ""))
                if group is None:
                    continue
                numbers = np.array([float(row[key]) for key in list(row)[2:16]], np.float32)
                face = Face(numbers[:4], numbers[4:].reshape(5, 2), 1.0)
                name = f"{folder}/{row['file']}"
                found.append(GroupFace(name, data / name, face, group))
    return found


def one_of_each(faces: Sequence[GroupFace]) -> dict[str, list[GroupFace]]:
    """Return each group's faces without those of `repeated_faces.txt`."""
    repeated = set(REPEATED.read_text(encoding="utf-8").split())
    groups: dict[str, list[GroupFace]] = defaultdict(list)
    for face in faces:
        if face.name not in repeated:
            groups[face.group].append(face)
    return dict(sorted(groups.items()))


def embed_faces(model: FaceModel, faces: Sequence[GroupFace], cache: Path) -> np.ndarray:
    """Embed faces, float32 (faces, 512), each of unit length; those in the cache are not computed.

    Args:
        model: the model, with its crop.
        faces: the faces.
        cache: folder of caches; this model's is below it.
    """
    stored = VectorCache(cache / f"groups-{model.fingerprint}", EMBEDDING_SIZE)
    keys = [content_id(face.path.read_bytes()) for face in faces]
    places = stored.find(keys)
    missing = np.flatnonzero(places < 0).tolist()
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        crops = [model.crop.cut(read_image_rgb(faces[n].path), faces[n].face) for n in batch]
        places[batch] = stored.add([keys[n] for n in batch], model.embed_crops(crops))
    return stored.take(places)


def repeated(faces: Sequence[GroupFace], cache: Path) -> list[str]:
    """Return the names of the faces that show somebody whom an earlier one shows."""
    first, second = (load_face_model(name, offline=True) for name in SAME_PERSON)
    groups: dict[str, list[GroupFace]] = defaultdict(list)
    for face in faces:
        groups[face.group].append(face)
    found = []
    for members in groups.values():
        vectors = embed_faces(first, members, cache)
        similarity = np.triu(vectors @ vectors.T, 1)
        usual = np.quantile(similarity[np.triu_indices(len(members), 1)], 0.99)
        needed = max(SAME_PERSON["edgeface-xs"], usual + ABOVE_THE_GROUP)
        one, other = np.nonzero(similarity >= needed)
        alike = embed_faces(second, [members[n] for n in [*one, *other]], cache)
        same = (alike[: len(one)] * alike[len(one) :]).sum(axis=1) >= SAME_PERSON["vggface2"]
        found += [members[n].name for n in sorted(set(other[same]))]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the names of the faces to leave out."""
    parser = cli.parser(__doc__)
    parser.add_argument("--cache", type=Path, metavar="DIR", required=True, help="of embeddings")
    args = parser.parse_args(argv)
    print(*repeated(read_faces(shared_data_or_exit()), args.cache), sep="\n")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
