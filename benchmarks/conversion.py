"""Convert a pack three ways in one run: ours, decoding and encoding with OpenCV, plain writing.

    python -m benchmarks.conversion
    python -m benchmarks.conversion --images 2000 --rounds 2

Generates a pack of 112 x 112 images and converts it each way into a fresh folder, in turns. The
OpenCV way is the obvious one: a loop over the pack with imdecode and imwrite. Plain writing opens,
writes and closes files of the same bytes, read beforehand, in one process: a lower bound. It all is
kept in memory if there is a folder for that, to compare the ways and not the disk; --folder names
another place. Nothing is removed before the end: on some file systems creating files is ten times
slower after many have just been removed.
"""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.material import add_counts, in_turns, printed_mb
from facesync import cli
from facesync.data.conversion import convert_pack
from facesync.data.pack import Pack, Record
from facesync.data.recordio import write_pack

DISTINCT = 400
PER_IDENTITY = 40


def draw_images() -> list[bytes]:
    """JPEGs of 3 to 7 KB, as in face datasets: smooth shapes with some noise."""
    generator = random.Random(7)
    noise = np.random.default_rng(7)
    images = []
    for _ in range(DISTINCT):
        image = Image.new("RGB", (112, 112), tuple(generator.randrange(256) for _ in range(3)))
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            x, y, w, h = (generator.randrange(8, 90) for _ in range(4))
            colour = tuple(generator.randrange(256) for _ in range(3))
            draw.ellipse((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=colour)
        grain = noise.normal(0, generator.uniform(4, 12), (112, 112, 3))
        pixels = np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=90)
        images.append(buffer.getvalue())
    return images


def numbered(images: list[bytes], count: int) -> Iterator[tuple[int, bytes]]:
    """`count` distinct images: each has its number in a comment segment."""
    for number in range(count):
        comment = b"\xff\xfe" + (10).to_bytes(2, "big") + number.to_bytes(8, "big")
        image = images[number % len(images)]
        yield number // PER_IDENTITY, image[:2] + comment + image[2:]


Images = Iterable[tuple[str, int, bytes]]


def images_of(pack: Path) -> Images:
    for record in Pack(pack).records():
        if isinstance(record, Record) and record.kind == "image":
            yield record.identity, record.key, record.data


def plain_writing(images: Images, output: Path) -> None:
    made = set()
    for identity, key, data in images:
        if identity not in made:
            os.makedirs(output / identity)
            made.add(identity)
        with open(f"{output}/{identity}/{key}.jpg", "wb") as file:
            file.write(data)


def opencv(pack: Path, output: Path) -> None:
    made = set()
    for identity, key, data in images_of(pack):
        if identity not in made:
            os.makedirs(output / identity)
            made.add(identity)
        frame_bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(f"{output}/{identity}/{key}.jpg", frame_bgr)


def memory_folder() -> Path:
    """Return a folder in memory if it has room for everything, else the usual temporary one."""
    shared_memory = Path("/dev/shm")
    if shared_memory.is_dir() and shutil.disk_usage(shared_memory).free > 4 << 30:
        return shared_memory
    return Path(tempfile.gettempdir())


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


_MEMORY = """
import re, resource, sys
from facesync.data.conversion import convert_pack
convert_pack(sys.argv[1], sys.argv[2], workers=2)
own = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(own + 2 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_memory_mb(pack: Path, output: Path) -> float:
    """Peak of our converter with two workers: its own plus twice the larger worker's (Linux)."""
    return printed_mb(_MEMORY, str(pack), str(output))


def main() -> None:
    parser = cli.parser(__doc__)
    add_counts(parser, images=20_000, rounds=3)
    parser.add_argument("--folder", type=Path, default=memory_folder(), help="default: %(default)s")
    args = parser.parse_args()
    drawn = draw_images()
    with tempfile.TemporaryDirectory(prefix="facesync-", dir=args.folder) as name:
        work = Path(name)
        pack = write_pack(work / "pack", numbered(drawn, args.images))
        quarter = write_pack(work / "quarter", numbered(drawn, args.images // 4))
        print(
            f"{args.images:,} images of {pack.stat().st_size / args.images:,.0f} bytes, "
            f"in {args.folder}"
        )
        if sys.platform == "linux":
            small = peak_memory_mb(quarter, work / "memory_quarter")
            large = peak_memory_mb(pack, work / "memory")
            print(
                f"memory, with 2 workers: {small:.0f} MB for a quarter of the pack, "
                f"{large:.0f} MB for all of it: {large / small:.2f} times"
            )
        images = list(images_of(pack))
        outputs = (work / str(number) for number in itertools.count())
        ways = {
            "ours": lambda: seconds(lambda: convert_pack(pack, next(outputs))),
            "plain writing": lambda: seconds(lambda: plain_writing(images, next(outputs))),
            "decode and encode (OpenCV)": lambda: seconds(lambda: opencv(pack, next(outputs))),
        }
        times = in_turns(ways, args.rounds, warm_up=False)
    medians = {way: statistics.median(values) for way, values in times.items()}
    for way, median in medians.items():
        each = ", ".join(f"{value:.2f}" for value in times[way])
        print(f"{way}: {median:.2f} s, {args.images / median:,.0f} images/s  ({each})")
    own, plain, coded = medians.values()
    print(f"ours against decode and encode: {coded / own:.1f} times as fast")
    print(f"ours against plain writing: {plain / own:.0%} of its speed")


if __name__ == "__main__":
    main()
