"""Training: the paper's recipe as a plain loop, ours, and the ceiling, in one run.

    python -m benchmarks.training_gpu                         # on a CUDA device
    python -m benchmarks.training_gpu --convergence 0.7       # and both presets to an accuracy
    python -m benchmarks.training_gpu --device cpu --steps 8 --batch-sizes 16 32

The plain loop is fp32, batches of 16, Pillow, 2 workers, folders listed afresh. Ours is what
`train_model.py --precision auto` does at each batch size, from the pack. The ceiling is our step on
one batch that is already on the device, without augmentation: nothing is decoded, copied or
varied. The profile names the operations that take the step's time. On the CPU this gives the
ratios of a small machine; `make bench` runs that with few steps.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from benchmarks.loader import PlainFolder, drawn_pack
from benchmarks.material import ROOT, add_counts, shared_data, vggface2_or_none
from facesync import cli, options
from facesync.data.conversion import convert_pack
from facesync.devices import pick_device
from facesync.faces.crops import ALIGNED_112
from facesync.faces.torch_model import new_network
from facesync.processes import Ranks
from facesync.training.batches import Batch, EpochOrder, SplitData, load_split, make_loader
from facesync.training.history import load_history
from facesync.training.learner import Learner
from facesync.training.memory import is_out_of_memory, largest_batch
from facesync.training.model import new_classifier
from facesync.training.settings import Recipe
from facesync.training.step import take_step
from facesync.training.transforms import ToInput

PLAIN_BATCH = 16
PLAIN_WORKERS = 2
WARM_UP = 3


def forever(loader: Any) -> Iterator[Any]:
    """Yield batches, pass after pass."""
    while True:
        yield from loader


def images_per_second(step: Callable[[], int], steps: int, device: torch.device) -> float:
    """Median speed of three rounds of steps, each of which returns how many images it used.

    On the CPU, processor time is measured: other programs do not count.
    """
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    for _ in range(WARM_UP):
        step()
    speeds = []
    for _ in range(3):
        _wait(device)
        started = clock()
        count = sum(step() for _ in range(steps))
        _wait(device)
        speeds.append(count / (clock() - started))
    return statistics.median(speeds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain_step(folder: Path, device: torch.device) -> Callable[[], int]:
    """Return a step of the plain loop."""
    faces = PlainFolder(folder)
    classes = 1 + max(label for _, label in faces.images)
    network = new_network(classes).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    loader = torch.utils.data.DataLoader(
        faces, PLAIN_BATCH, shuffle=True, num_workers=PLAIN_WORKERS, drop_last=True
    )
    batches = forever(loader)

    def step() -> int:
        images, labels = next(batches)
        images, labels = images.to(device), labels.to(device)
        loss = cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        return len(labels)

    return step


def learner_for(split: SplitData, recipe: Recipe, device: torch.device) -> Learner:
    """Return a fresh learner with random weights, which take as long to train as any."""
    model = new_classifier(len(split.label_map), {}, "random weights")
    inputs = ToInput(ALIGNED_112, recipe.augment, device)
    return Learner(model, recipe, inputs, Ranks())


def our_step(
    split: SplitData, learner: Learner, batch_size: int, workers: int
) -> Callable[[], int]:
    """Return a step of ours, from the pack."""
    order = EpochOrder(split.train, 42, batch_size, shuffle=True)
    loader = make_loader(split, ALIGNED_112, batch_size, workers=workers, device=learner.device)
    batches = forever(loader.batches(order))
    return lambda: take_step(learner, [next(batches)]).images


def ceiling_step(split: SplitData, learner: Learner, batch_size: int) -> Callable[[], int]:
    """Return our step on one batch that is already on the device, without augmentation."""
    device = learner.device
    learner.inputs = ToInput(ALIGNED_112, "none", device)
    order = EpochOrder(split.train, 42, batch_size, shuffle=True)
    loader = make_loader(split, ALIGNED_112, batch_size, workers=0, device=device)
    batch = next(iter(loader.batches(order)))
    there = Batch(batch.images.to(device), batch.labels.to(device), batch.draws.to(device), [])
    return lambda: take_step(learner, [there]).images


def sweep(
    split: SplitData, recipe: Recipe, args: Any, device: torch.device, plain: float
) -> tuple[int, float]:
    """Measure ours and the ceiling at each batch size; return the best one and its speed."""
    best = (0, 0.0)
    sizes = args.batch_sizes or [32, 64, 128, 256, 512]
    for batch_size in sizes:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            learner = learner_for(split, recipe, device)
            step = our_step(split, learner, batch_size, args.workers)
            ours = images_per_second(step, args.steps, device)
            step = ceiling_step(split, learner_for(split, recipe, device), batch_size)
            ceiling = images_per_second(step, args.steps, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            print(f"batch {batch_size:>4}: out of memory")
            break
        memory = ""
        if device.type == "cuda":
            memory = f", peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
        print(
            f"batch {batch_size:>4}: ours {ours:8.1f} images/s ({ours / plain:.1f} x plain), "
            f"ceiling {ceiling:8.1f} ({ours / ceiling:.0%} of it){memory}",
            flush=True,
        )
        best = max(best, (batch_size, ours), key=lambda found: found[1])
    return best


def show_profile(step: Callable[[], int], device: torch.device) -> None:
    """Print what the steps spend their time in."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    for _ in range(WARM_UP):
        step()
    with profile(activities=activities) as profiler:
        for _ in range(3):
            step()
        _wait(device)
    by = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=by, row_limit=15, max_name_column_width=50))


def convergence(data: Path, goal: float, device: torch.device, folder: Path) -> None:
    """Train both presets until the validation accuracy is reached; print seconds."""
    for preset in ("paper", "best"):
        output = folder / preset
        for epochs in itertools.count(1):
            command = [
                sys.executable, ROOT / "train_model.py", "--data", data, "--output", output,
                "--preset", preset, "--schedule", "constant", "--select", "val_accuracy",
                "--epochs", epochs, "--device", device.type, "--overwrite",
            ]  # fmt: skip
            if subprocess.run([str(word) for word in command], cwd=ROOT).returncode:
                return
            rows = load_history(output / "training_history.pkl")
            reached = rows.best("val_acc") or 0.0
            if reached >= goal or epochs == 10:
                seconds = sum(rows.column("seconds"))
                print(f"{preset}: {reached:.4f} after {epochs} epochs, {seconds:.0f} s")
                break


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and the profile."""
    parser = cli.parser(__doc__)
    options.add_device_option(parser)
    add_counts(parser, steps=20)
    parser.add_argument("--batch-sizes", type=options.positive_int, nargs="+", metavar="N")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), metavar="N")
    parser.add_argument("--augment", default="basic", help="none, basic or strong")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--convergence", type=float, metavar="ACCURACY")
    args = parser.parse_args(argv)
    device = pick_device(args.device)
    if device.type == "cpu" and args.device == "auto":
        print("no CUDA device: the CPU's ratios, few steps")
        args.steps, args.batch_sizes, args.workers = 2, [16], 1
    shared = shared_data()
    with tempfile.TemporaryDirectory() as temporary:
        pack = drawn_pack(Path(temporary)) if shared is None else shared / "celeba_pack"
        folder = Path(temporary) / "images"
        convert_pack(pack, folder)
        split = load_split(pack, 42, 5, 100)
        plain = images_per_second(plain_step(folder, device), args.steps, device)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        print(f"{name}: plain loop {plain:.1f} images/s", flush=True)
        recipe = Recipe(
            augment=args.augment, compile=args.compile,
            freeze_batchnorm=False, weight_decay=0.0, ema=0.0, clip_norm=0.0,
        )  # fmt: skip
        best, _ = sweep(split, recipe, args, device, plain)
        if device.type == "cuda":
            model = new_classifier(len(split.label_map), {}, "random weights")
            inputs = ToInput(ALIGNED_112, args.augment, device)
            found = largest_batch(model, recipe, inputs, Ranks(), most=4096)
            print(f"--batch-size auto would take {found}")
        learner = learner_for(split, recipe, device)
        show_profile(our_step(split, learner, best, args.workers), device)
        if args.convergence and vggface2_or_none():
            convergence(pack, args.convergence, device, Path(temporary))
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
