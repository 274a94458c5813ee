"""Training: the paper's recipe as a plain loop, ours, and the ceiling, in one run.

    python -m benchmarks.training_gpu                         # on a CUDA device
    python -m benchmarks.training_gpu --convergence 0.7       # and both presets to an accuracy
    python -m benchmarks.training_gpu --device cpu --steps 8 --batch-sizes 16 32

The plain loop is fp32, batches of 16, Pillow, 2 workers, folders listed afresh. Ours is what
`train_model.py --precision auto` does at each batch size, from the pack. The ceiling is our step on
one batch that is already on the device, without augmentation: nothing is decoded, copied or
varied; it is measured in each number format and memory layout, and compiled with `--compile`. The
profile names the operations that take the step's time. On the CPU this gives the ratios of a small
machine; `make bench` runs that with few steps. `python -m benchmarks.gpu_checks` runs this and the
tests of training.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
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
from facesync.files import write_json
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
EPOCHS = 10
"""The most that a preset gets to reach an accuracy."""
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


class Contiguous(ToInput):
    """Gives the network's input in the layout that is torch's default."""

    def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """See `ToInput`."""
        return super().__call__(images, draws).contiguous()


def peak_gib(device: torch.device) -> float | None:
    """Return the peak of the card's memory since this was last asked; None on the CPU."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device) / 2**30
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def variants(
    split: SplitData, recipe: Recipe, args: Any, batch_size: int, device: torch.device
) -> list[dict[str, Any]]:
    """Measure the ceiling in each number format and memory layout."""
    found: list[dict[str, Any]] = []
    ways = [(precision, layout, False) for precision in ("fp32", "bf16") for layout in (0, 1)]
    for precision, channels_last, compiled in [*ways, *([("bf16", 1, True)] * args.compile)]:
        each = replace(recipe, precision=precision, compile=compiled)
        learner = learner_for(split, each, device)
        step = ceiling_step(split, learner, batch_size)
        if not channels_last:
            learner.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            learner.inputs = Contiguous(ALIGNED_112, "none", device)
        peak_gib(device)
        speed = images_per_second(step, args.steps, device)
        layout = "channels_last" if channels_last else "contiguous"
        name = f"{precision}, {layout}{', compiled' if compiled else ''}"
        found.append({"way": name, "images_per_second": speed, "peak_gib": peak_gib(device)})
        first = found[0]["images_per_second"]
        memory = found[-1]["peak_gib"]
        shown = "" if memory is None else f", peak memory {memory:.1f} GiB"
        print(f"  {name}: {speed:.1f} images/s ({speed / first:.2f} x){shown}", flush=True)
    return found


def sweep(
    split: SplitData, recipe: Recipe, args: Any, device: torch.device, plain: float
) -> list[dict[str, Any]]:
    """Measure ours and the ceiling at each batch size that fits."""
    found: list[dict[str, Any]] = []
    for batch_size in args.batch_sizes or [32, 64, 128, 256, 512]:
        peak_gib(device)
        try:
            learner = learner_for(split, recipe, device)
            step = our_step(split, learner, batch_size, args.workers)
            ours = images_per_second(step, args.steps, device)
            memory = peak_gib(device)
            step = ceiling_step(split, learner_for(split, recipe, device), batch_size)
            ceiling = images_per_second(step, args.steps, device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            print(f"batch {batch_size:>4}: out of memory")
            break
        row = {"batch": batch_size, "ours": ours, "ceiling": ceiling, "peak_gib": memory}
        found.append({**row, "times_plain": ours / plain, "of_ceiling": ours / ceiling})
        shown = "" if memory is None else f", peak memory {memory:.1f} GiB"
        print(
            f"batch {batch_size:>4}: ours {ours:8.1f} images/s ({ours / plain:.1f} x plain), "
            f"ceiling {ceiling:8.1f} ({ours / ceiling:.0%} of it){shown}",
            flush=True,
        )
    return found


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
    """Train both presets; print after how many seconds the validation accuracy is reached."""
    for preset in ("paper", "best"):
        output = folder / preset
        command = [
            sys.executable, ROOT / "train_model.py", "--data", data, "--output", output,
            "--preset", preset, "--schedule", "constant", "--select", "val_accuracy",
            "--epochs", EPOCHS, "--device", device.type, "--overwrite",
        ]  # fmt: skip
        subprocess.run([str(word) for word in command], cwd=ROOT, check=True)
        print(f"{preset}: {reached(output, goal)}", flush=True)


def reached(output: Path, goal: float) -> str:
    """Say after which epoch of a training its validation accuracy reached a goal."""
    rows = load_history(output / "training_history.pkl")
    accuracies, seconds = rows.column("val_acc"), rows.column("seconds")
    enough = [epoch for epoch, accuracy in enumerate(accuracies, 1) if (accuracy or 0) >= goal]
    if not enough:
        return f"{goal} not reached in {len(accuracies)} epochs, at best {max(accuracies):.4f}"
    epochs = enough[0]
    return f"{accuracies[epochs - 1]:.4f} after {epochs} epochs, {sum(seconds[:epochs]):.0f} s"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables and the profile."""
    parser = cli.parser(__doc__)
    options.add_device_option(parser)
    add_counts(parser, steps=20)
    parser.add_argument("--data", type=Path, metavar="PACK", help="default: the shared data's")
    parser.add_argument("--batch-sizes", type=options.positive_int, nargs="+", metavar="N")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), metavar="N")
    parser.add_argument("--augment", default="basic", help="none, basic or strong")
    parser.add_argument("--compile", action="store_true", help="measure it compiled, too")
    parser.add_argument("--convergence", type=float, metavar="ACCURACY")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON")
    args = parser.parse_args(argv)
    device = pick_device(args.device)
    if device.type == "cpu" and args.device == "auto":
        print("no CUDA device: the CPU's ratios, few steps")
        args.steps, args.batch_sizes, args.workers = 2, [16], 1
    shared = None if args.data else shared_data()
    with tempfile.TemporaryDirectory() as temporary:
        drawn = drawn_pack if shared is None else (lambda folder: shared / "celeba_pack")
        pack = args.data or drawn(Path(temporary))
        found = measure(pack, Path(temporary), args, device)
        if args.report:
            write_json(args.report, found, indent=2)
        if args.convergence and vggface2_or_none():
            convergence(pack, args.convergence, device, Path(temporary))
    return cli.DONE


def measure(pack: Path, temporary: Path, args: Any, device: torch.device) -> dict[str, Any]:
    """Print the tables and the profile, and return the figures."""
    folder = temporary / "images"
    convert_pack(pack, folder)
    split = load_split(pack, 42, 5, 100)
    plain = images_per_second(plain_step(folder, device), args.steps, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}: plain loop {plain:.1f} images/s", flush=True)
    recipe = Recipe(
        augment=args.augment, freeze_batchnorm=False, weight_decay=0.0, ema=0.0, clip_norm=0.0,
    )  # fmt: skip
    sizes = sweep(split, recipe, args, device, plain)
    best = max(sizes, key=lambda size: size["ours"])
    print(f"best: {best['times_plain']:.1f} x plain, {best['of_ceiling']:.0%} of the ceiling")
    print(f"the ceiling's step, batches of {best['batch']}:")
    ways = variants(split, recipe, args, best["batch"], device)
    largest = None
    if device.type == "cuda":
        model = new_classifier(len(split.label_map), {}, "random weights")
        inputs = ToInput(ALIGNED_112, args.augment, device)
        largest = largest_batch(model, recipe, inputs, Ranks(), most=4096)
        print(f"--batch-size auto would take {largest}")
    learner = learner_for(split, recipe, device)
    show_profile(our_step(split, learner, best["batch"], args.workers), device)
    return {
        "device": name, "torch": torch.__version__, "plain": plain, "sizes": sizes, "best": best,
        "variants": ways, "batch_size_auto": largest,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
