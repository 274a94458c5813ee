"""Images ready to train on: from a pack, from folders, and the obvious way, in one run.

    python -m benchmarks.loader
    python -m benchmarks.loader --workers 0 --rounds 5

The obvious way lists the folders, opens one image at a time with Pillow, enlarges it, mirrors
every second one and converts it to floats with torchvision's transforms. All three give the same
batches of 160 x 160 faces; ours are bytes, which the device converts to floats. The images are the
CelebA pack of the shared data, or drawn ones without it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.conversion import draw_images, numbered
from benchmarks.material import add_counts, in_turns, shared_data
from facesync import cli
from facesync.data.conversion import convert_pack
from facesync.data.recordio import write_pack
from facesync.faces.crops import ALIGNED_112
from facesync.training.batches import Batch, EpochOrder, load_split, make_loader
from facesync.training.workers import Pass

BATCH_SIZE = 64
DRAWN = 4000
EPOCHS = 3


class PlainFolder(Dataset[tuple[torch.Tensor, int]]):
    """Images the obvious way: list the folders, open with Pillow, transform one by one."""

    def __init__(self, folder: Path) -> None:
        self.images = [
            (str(file), label)
            for label, identity in enumerate(sorted(os.listdir(folder)))
            if (folder / identity).is_dir()
            for file in sorted((folder / identity).iterdir())
        ]
        self.transform = transforms.Compose(
            [
                transforms.Resize((160, 160)),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.images[index]
        with Image.open(path, formats=("JPEG",)) as image:
            return self.transform(image.convert("RGB")), label


def plain_loader(folder: Path, workers: int) -> DataLoader[Any]:
    """Return the loader of the obvious way."""
    return DataLoader(PlainFolder(folder), BATCH_SIZE, shuffle=True, num_workers=workers)


def our_loader(data: Path, workers: int) -> Pass[Batch]:
    """Return the loader that train_model.py uses, over all images."""
    split = load_split(data, 42, 1, 2**31)
    indices = [*split.train, *split.validation]
    order = EpochOrder(indices, 42, BATCH_SIZE, shuffle=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = make_loader(split, ALIGNED_112, BATCH_SIZE, workers=workers, device=device)
    return loader.batches(order)


def drawn_pack(folder: Path) -> Path:
    """Write a pack of drawn images."""
    return write_pack(folder / "drawn", numbered(draw_images(), DRAWN)).parent


def speed(loader: Iterable[Any]) -> float:
    """Images a second over some epochs, once the workers have started."""
    next(iter(loader))
    started = time.perf_counter()
    count = sum(len(batch[1]) for _ in range(EPOCHS) for batch in loader)
    return count / (time.perf_counter() - started)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = cli.parser(__doc__)
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    add_counts(parser, rounds=3)
    args = parser.parse_args(argv)
    data = shared_data()
    with tempfile.TemporaryDirectory() as temporary:
        pack = drawn_pack(Path(temporary)) if data is None else data / "celeba_pack"
        folder = Path(temporary) / "images"
        convert_pack(pack, folder)
        ways = {
            "the obvious way": lambda: speed(plain_loader(folder, args.workers)),
            "ours, folders": lambda: speed(our_loader(folder, args.workers)),
            "ours, the pack": lambda: speed(our_loader(pack, args.workers)),
        }
        speeds = in_turns(ways, args.rounds)  # the first round warms the disk's cache
    plain = statistics.median(speeds["the obvious way"])
    print(f"{args.workers} workers, batches of {BATCH_SIZE}, {EPOCHS} epochs; {args.rounds} rounds")
    for way, found in speeds.items():
        median = statistics.median(found)
        print(f"{way:<16} {median:8.0f} images/s   {median / plain:.1f} x")
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
