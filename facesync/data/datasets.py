"""Pictures with the identities they show, from a folder of pictures or straight from a pack.

A folder is what `preprocessing_dataset.py` writes: `<folder>/<identity>/<key>.jpg`; any names and
encodings will do. A pack is a RecordIO file (see `facesync.data.pack`). A pack and the folder that
it was converted to give the same pictures, labels, order and split.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from facesync.data.pack import Fault, Pack, packs_in
from facesync.data.progress import Progress
from facesync.errors import DataError, PictureError
from facesync.images import (
    IMAGE_SUFFIXES,
    MARKER_HEAD,
    MARKER_TAIL,
    marker_fault,
    read_image_rgb,
)

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    _Base = Dataset[tuple[Any, int]]
else:
    # What DataLoader asks for is __len__ and __getitem__; torch takes seconds to import.
    _Base = object

logger = logging.getLogger(__name__)

Transform = Callable[[Image.Image], Any]

_READERS = 16
_BAR_AFTER_SECONDS = 2
_ENCODING = ("utf-8", "surrogateescape")  # file names on Linux need not be text


class FaceDataset(_Base):
    """Pictures and labels, for a DataLoader; the pictures are read when they are asked for.

    Identities, and the pictures of each, are sorted in natural order (2 before 10). Then, identity
    by identity: unreadable pictures are left out, identities with fewer than `min_images` are
    left out, and of more than `max_images` the first are kept. Unreadable means here that the
    start or the end of the file is not what its encoding demands; one that turns out damaged when
    it is decoded raises `PictureError` then.

    It can be pickled, so that DataLoader's workers can be started in any way.

    Args:
        data_dir: folder of identity folders, folder of a pack, or `.rec` file.
        transform: from a PIL picture (RGB) to whatever a sample shall be; None leaves the picture.
        min_images: identities with fewer readable pictures are left out.
        max_images: pictures of an identity beyond this number are left out.

    Attributes:
        names: `identity/key` of each picture, without suffix: the same from either source.
        image_paths: where each picture is. For a pack `<file>.rec/<identity>/<key>`, which says
            where it comes from and cannot be opened.
        labels: label of each picture, 0 … number of identities - 1.
        label_map: from an identity's name to its label.
        class_names: names of the identities, by label.
        left_out: (name, reason) of each unreadable picture.

    Raises:
        DataError: no such folder or pack, or no identity with enough readable pictures in it.
    """

    def __init__(
        self,
        data_dir: Path | str,
        transform: Transform | None = None,
        min_images: int = 5,
        max_images: int = 100,
    ) -> None:
        self.transform = transform
        self.image_paths: list[str] = []
        self.names: list[str] = []
        self.labels: list[int] = []
        self.label_map: dict[str, int] = {}
        self.left_out: list[tuple[str, str]] = []

        data_dir = Path(data_dir)
        self._pack = _pack_in(data_dir)
        if self._pack is None:
            root, files = str(data_dir), _files_in_folder(data_dir, self.left_out)
        else:
            root, files = str(self._pack.path), _files_in_pack(self._pack, self.left_out)
        for identity in sorted(files, key=natural_key):
            pictures = self._without_doubles(identity, files.pop(identity))
            if len(pictures) < min_images:
                continue
            label = self.label_map[identity] = len(self.label_map)
            for key in sorted(pictures, key=natural_key)[:max_images]:
                self.names.append(f"{identity}/{key}")
                self.image_paths.append(f"{root}/{identity}/{pictures[key]}")
                self.labels.append(label)
        self.class_names = list(self.label_map)
        if not self.names:
            raise DataError(
                f"{data_dir}: no identity with at least {min_images} readable pictures "
                f"({len(self.left_out)} unreadable); expected {data_dir}/<identity>/<picture>.jpg"
            )
        if self.left_out:
            self.left_out.sort(key=lambda entry: natural_key(entry[0]))
            logger.warning(
                "%s: %d pictures cannot be used and are left out (the first: %s: %s)",
                data_dir,
                len(self.left_out),
                *self.left_out[0],
            )

    def _without_doubles(self, identity: str, files: list[str]) -> dict[str, str]:
        """File of each key; of two files that differ in their suffix alone one is left out."""
        by_key: dict[str, str] = {}
        for file in sorted(files):
            first = by_key.setdefault(os.path.splitext(file)[0], file)
            if first != file:
                self.left_out.append((f"{identity}/{file}", f"has the same name as {first}"))
        return by_key

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return (picture, label): the transformed picture, or the PIL picture in RGB.

        Raises:
            PictureError: it cannot be decoded; the line names it.
        """
        try:
            image_rgb = read_image_rgb(self.encoded(index))
        except PictureError as error:
            raise PictureError(f"{self.image_paths[index]}: {error}") from error
        picture = Image.fromarray(image_rgb)
        sample = picture if self.transform is None else self.transform(picture)
        return sample, self.labels[index]

    def encoded(self, index: int) -> bytes:
        """Return a picture's bytes as they are in the file or the pack.

        Raises:
            PictureError: they cannot be read.
        """
        try:
            if self._pack is None:
                return Path(self.image_paths[index]).read_bytes()
            return self._pack.read(int(self.names[index].rpartition("/")[2])).data
        except OSError as error:
            raise PictureError(f"cannot be read ({error.strerror})") from error
        except DataError as error:
            raise PictureError(str(error)) from error


def split_indices(
    names: Sequence[str], seed: int = 42, validation_fraction: float = 0.2
) -> tuple[list[int], list[int]]:
    """Draw the validation part; return (train, validation) as ascending indices into `names`.

    Each picture draws its own lot, the SHA-256 of `seed/name`, and the lowest lots are the
    validation part. So the split depends on the names and the seed alone, not on their order,
    and a picture more or less moves at most one other across. The size of the training part is
    exactly `n * (1 - validation_fraction)`, rounded down.
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction {validation_fraction} is not in [0, 1)")
    # As a fraction of whole numbers: 0.1 * 10 in floating point would now and then be one short.
    train_size = int(len(names) * (1 - Fraction(str(validation_fraction))))
    lots = [hashlib.sha256(f"{seed}/{name}".encode(*_ENCODING)).digest() for name in names]
    order = sorted(range(len(names)), key=lambda index: (lots[index], names[index]))
    validation_size = len(names) - train_size
    return sorted(order[validation_size:]), sorted(order[:validation_size])


def split_fingerprint(
    names: Sequence[str], seed: int = 42, validation_fraction: float = 0.2
) -> str:
    """Return 16 hexadecimal digits that stand for a split: equal if and only if it is the same."""
    digest = hashlib.sha256(f"{seed}/{Fraction(str(validation_fraction))}".encode())
    for name in sorted(names):
        digest.update(b"\0" + name.encode(*_ENCODING))
    return digest.hexdigest()[:16]


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which numbers inside a name count as numbers: `2`, `10`, `a2`, `a10`."""
    parts = re.split(r"([0-9]+)", text)
    # re.split puts the numbers at the odd places.
    key = [(0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts) if p]
    return tuple(key)


def _pack_in(data_dir: Path) -> Pack | None:
    """Open the pack that is meant; None if it is a folder of pictures."""
    if _is_picture_folder(data_dir):
        return None
    if data_dir.is_dir() and not packs_in(data_dir):
        raise DataError(
            f"{data_dir}: neither pictures in it, as <identity>/<picture>.jpg, "
            "nor a RecordIO pack (train.rec)"
        )
    return Pack(data_dir)


def _is_picture_folder(folder: Path) -> bool:
    """Whether this is a folder of identity folders with pictures, and no pack lies in it."""
    if not folder.is_dir() or any(folder.glob("*.rec")):
        return False
    return any(
        any(_is_picture(entry) for entry in _entries(identity.path))
        for identity in _entries(folder)
        if _is_identity(identity)
    )


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _is_identity(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_dir()


def _is_picture(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()
    return suffix in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()


def _files_in_folder(folder: Path, left_out: list[tuple[str, str]]) -> dict[str, list[str]]:
    """File names by identity; what cannot be read is added to `left_out`."""
    identities = [entry.path for entry in _entries(folder) if _is_identity(entry)]
    files: dict[str, list[str]] = {}
    # Threads, since over a network folder the time goes into waiting.
    with (
        ThreadPoolExecutor(_READERS) as readers,
        Progress(
            total=len(identities), unit=" identities", desc="Looking", delay=_BAR_AFTER_SECONDS
        ) as bar,
    ):
        for path, (readable, faults) in zip(
            identities, readers.map(_readable_in, identities), strict=True
        ):
            identity = os.path.basename(path)
            if readable:
                files[identity] = readable
            left_out += [(f"{identity}/{name}", fault) for name, fault in faults]
            bar.update()
    return files


def _readable_in(folder: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of the readable pictures in one folder, and (key, reason) of the others."""
    readable, faults = [], []
    for entry in _entries(folder):
        if _is_picture(entry):
            fault = _fault_of_file(entry.path)
            if fault is None:
                readable.append(entry.name)
            else:
                faults.append((os.path.splitext(entry.name)[0], fault))
    return readable, faults


def _fault_of_file(path: str) -> str | None:
    """Ask `marker_fault` about a file, reading only its two ends."""
    try:
        with open(path, "rb", buffering=0) as file:
            ends = file.read(MARKER_HEAD + MARKER_TAIL)
            if len(ends) == MARKER_HEAD + MARKER_TAIL:
                file.seek(-MARKER_TAIL, os.SEEK_END)
                ends = ends[:MARKER_HEAD] + file.read(MARKER_TAIL)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return marker_fault(ends)


def _files_in_pack(pack: Pack, left_out: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Keys by identity, as the file names they would get but for the suffix."""
    files: dict[str, list[str]] = defaultdict(list)
    faults = list(pack.faults)
    with Progress(
        total=len(pack), unit=" records", desc="Looking", delay=_BAR_AFTER_SECONDS
    ) as bar:
        for record in pack.records():
            bar.update()
            if isinstance(record, Fault):
                faults.append(record)
            elif record.kind == "picture":
                fault = marker_fault(record.data)
                if fault is None:
                    files[record.identity].append(str(record.key))
                else:
                    left_out.append((f"{record.identity}/{record.key}", fault))
    left_out += [(f"record {fault.key}", fault.reason) for fault in faults]
    return files
