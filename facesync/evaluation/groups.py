"""Error rates of groups of people, as the user defines them."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facesync import cli
from facesync.errors import DataError, FileError
from facesync.evaluation.images import ImageRef
from facesync.files import read_text
from facesync.metrics.pairs import AllPairs, all_pairs
from facesync.metrics.rates import wilson
from facesync.metrics.vectors import Vectors


@dataclass(frozen=True)
class GroupRates:
    """Error rates within one group, with 95 % intervals (Wilson's); None without pairs."""

    images: int
    failed_to_enrol: int
    identities: int
    genuine_pairs: int
    impostor_pairs: int
    fnmr: float | None
    fnmr_interval: tuple[float, float]
    fmr: float | None
    fmr_interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return their part of `report.json`."""
        plain = asdict(self)
        return {"pictures": plain.pop("images"), **plain}  # the name in files from the beginning


def read_groups(path: Path, images: Sequence[ImageRef]) -> dict[str, list[int]]:
    """Read a CSV of image and group; return the indices of each group's images.

    An image is named as in the report (`Ada/Ada_0001`), with or without suffix; a person's name
    alone stands for all their images. A first line that names no image is a heading.

    Raises:
        FileError: it cannot be read.
        DataError: it has another format, or names images that do not exist.
    """
    lines = io.StringIO(read_text(path))
    try:
        rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise FileError(f"cannot read {path}: {error}") from error
    known: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        known[image.name].append(index)
        known[str(image.identity)].append(index)
    groups: dict[str, list[int]] = defaultdict(list)
    unknown = []
    for number, row in enumerate(rows):
        if len(row) < 2:
            raise DataError(f"{path}: line {number + 1} is not `image,group`")
        name, group = row[0].strip(), row[1].strip()
        found = known.get(name) or known.get(name.rpartition(".")[0])
        if found:
            groups[group] += found
        elif number:
            unknown.append(name)
    if not groups:
        raise DataError(f"{path} names none of the images, such as {images[0].name}")
    if unknown:
        missing = cli.count(len(unknown), "image does not exist", "images do not exist")
        raise DataError(f"{path}: {missing} (the first: {unknown[0]})")
    return dict(groups)


def group_pairs(
    groups: Mapping[str, Sequence[int]], vectors: Vectors, identities: Sequence[str]
) -> dict[str, AllPairs]:
    """Compare all of each group's images with each other.

    Two people of one group are harder to tell apart than two of any.
    """
    found = {}
    for group, members in sorted(groups.items()):
        index = np.unique(members)
        found[group] = all_pairs(vectors[index], [identities[n] for n in index])
    return found


def group_rates(
    groups: Mapping[str, Sequence[int]],
    pairs: Mapping[str, AllPairs],
    vectors: Vectors,
    threshold: float,
) -> dict[str, GroupRates]:
    """Measure error rates within each group at one threshold, from the result of `group_pairs`."""
    found = {}
    for group, compared in pairs.items():
        index = np.unique(groups[group])
        genuine, impostor = compared.genuine, compared.impostor
        false_matches = int((impostor >= threshold).sum())
        misses = int((genuine < threshold).sum())
        found[group] = GroupRates(
            images=len(index),
            failed_to_enrol=int(np.isnan(vectors[index][:, 0]).sum()),
            identities=compared.identities,
            genuine_pairs=len(genuine),
            impostor_pairs=len(impostor),
            fnmr=misses / len(genuine) if len(genuine) else None,
            fnmr_interval=wilson(misses, len(genuine)),
            fmr=false_matches / len(impostor) if len(impostor) else None,
            fmr_interval=wilson(false_matches, len(impostor)),
        )
    return found
