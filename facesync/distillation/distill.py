"""A distillation from start to finish: collect the faces, train the student, pack it."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import BatchSampler, Dataset, DistributedSampler
from tqdm import tqdm

from facesync.devices import pick_device, short_format
from facesync.distillation.checkpoint import CHECKPOINT_NAME, TrainingState, load_student
from facesync.distillation.faces import Faces, all_images, collect
from facesync.distillation.packing import pack
from facesync.distillation.settings import DistillSettings
from facesync.distillation.student import CROP, Student, from_vggface2, start_head
from facesync.errors import ModelError, UsageError
from facesync.faces.embedding import EMBEDDING_SIZE
from facesync.faces.weights import load_face_model, load_torch_model
from facesync.processes import Ranks, ranks
from facesync.training.augment import DRAWS, draws
from facesync.training.schedule import decay_groups
from facesync.training.teacher import similarity_loss
from facesync.training.transforms import ToInput
from facesync.training.workers import Loader, Pass, explaining

log = logging.getLogger(__name__)

WARM_UP = 0.03
"""Share of all steps over which the learning rate rises."""

SIMILARITIES = 2.0
"""Weight of the loss on the batch's similarity matrix beside 1 - cosine to the teacher."""

Sample = tuple[torch.Tensor, np.ndarray, np.ndarray]


def run(settings: DistillSettings) -> None:
    """Distil a student and pack it.

    Raises:
        FaceSyncError: something is wrong with the settings, the data or the teacher.
    """
    checkpoint = settings.output / CHECKPOINT_NAME
    if checkpoint.exists() and not settings.resume:
        raise ModelError(
            f"{checkpoint} already exists; use --resume to continue it, or another --output"
        )
    with explaining(), ranks(pick_device(settings.device)) as (group, device):
        if settings.batch_size < 2 * group.size:  # BatchNorm cannot normalise a single face
            raise UsageError(f"--batch-size {settings.batch_size} is under 2 faces per process")
        images = all_images(settings.data, settings.aligned, settings.leave_out)
        if group.first:
            started(settings)  # what is wrong with the weights shows before the long work
            teacher = load_face_model(settings.teacher, device, offline=settings.offline)
            collect(images, teacher, settings.cache_folder)
        group.wait()
        teacher = load_face_model(settings.teacher, device, offline=settings.offline)
        faces = collect(images, teacher, settings.cache_folder)
        torch.manual_seed(settings.seed)
        student = started(settings)
        train(student, faces, settings, device, group)
        if group.first:
            student.to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            pack(student, settings.output, f"distilled from {teacher.source}")


def started(settings: DistillSettings) -> Student:
    """Build the student with the weights that it starts from.

    Raises:
        ModelError: these cannot be used.
    """
    if settings.start is None:
        network = load_torch_model("vggface2", offline=settings.offline).network
        return from_vggface2(network, settings.blocks)
    student = Student(settings.blocks)
    load_student(student, settings.start)
    return student


class Samples(Dataset[Sample]):
    """Faces, uint8 (3, S, S), with the numbers that vary them and the teacher's embedding.

    Fill `epoch` before each pass: the numbers come from the seed, the epoch and the face alone.
    """

    def __init__(self, faces: Faces, indices: np.ndarray, seed: int) -> None:
        self.faces, self.indices, self.seed = faces, indices, seed
        self.epoch = torch.zeros((), dtype=torch.int64)  # its memory is shared with the workers

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> Sample:
        index = int(self.indices[item])
        crop = torch.from_numpy(self.faces.crop(index)).permute(2, 0, 1)
        return crop, draws(self.seed, int(self.epoch), index), self.faces.target(index)


def train(
    student: Student, faces: Faces, settings: DistillSettings, device: torch.device, group: Ranks
) -> None:
    """Train a student; its checkpoint, saved after each epoch, is in the output folder.

    Raises:
        ModelError: there are too few faces, or the checkpoint to resume from does not fit.
    """
    training, validation = split(len(faces), settings.validation, settings.seed)
    if len(training) < settings.batch_size:
        raise ModelError(
            f"{len(training)} faces to train on do not fill a batch of {settings.batch_size}"
        )
    student.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    samples = Samples(faces, training, settings.seed)
    order: DistributedSampler[Any] = DistributedSampler(
        samples, group.size, group.rank, seed=settings.seed
    )
    size = settings.batch_size // group.size
    loader = loader_of(samples, size, settings.workers, device)
    batches = loader.batches(BatchSampler(order, size, drop_last=True))
    measured = Samples(faces, validation, settings.seed)
    in_turn = BatchSampler(range(len(measured)), settings.batch_size, drop_last=False)
    held_out = loader_of(measured, settings.batch_size, 0, device).batches(in_turn)
    optimizer = torch.optim.AdamW(decay_groups(student, 0.02), lr=settings.lr)
    steps = settings.epochs * len(batches)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    state = TrainingState(student, optimizer, scheduler)
    if settings.resume:
        state.resume(settings)
    elif group.first and settings.start is None:
        log.info("Fitting the last layer ...")
        all_in_turn = loader.batches(BatchSampler(range(len(samples)), size, drop_last=False))
        start_head(student, features(student, all_in_turn, device), faces.targets[training])
    network: nn.Module = student
    if group.size > 1:
        network = nn.parallel.DistributedDataParallel(student)
    to_input = ToInput(CROP, "strong", device)
    for epoch in range(len(state.history) + 1, settings.epochs + 1):
        samples.epoch.fill_(epoch)
        order.set_epoch(epoch)
        started = time.monotonic()
        title = f"epoch {epoch}/{settings.epochs}"
        with tqdm(batches, title, unit="batch", disable=not group.first, mininterval=1) as bar:
            loss = _epoch(network, bar, to_input, optimizer, scheduler)
        if not group.first:
            continue
        cosine = cosine_to_teacher(student, held_out, device)
        seconds = time.monotonic() - started
        log.info("epoch %d: loss %.4f, cosine to the teacher on held-out faces %.4f, %d faces/s",
                 epoch, loss, cosine, len(samples) / seconds)  # fmt: skip
        row = {"epoch": epoch, "loss": loss, "cosine": cosine, "seconds": round(seconds, 1)}
        state.history.append(row)
        state.save(settings)


def loader_of(samples: Samples, size: int, workers: int, device: torch.device) -> Loader[Any]:
    """Make the loader of samples, `size` of them in a batch."""
    bytes_of_one = 3 * CROP.crop_size**2 + 4 * (DRAWS + EMBEDDING_SIZE)
    return Loader(samples, size * bytes_of_one, workers=workers, device=device, seed=samples.seed)


def split(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the held-out faces; return (training, validation) indices."""
    order = np.random.default_rng(seed).permutation(count)
    held_out = max(1, round(count * share))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _rate(step: int, steps: int) -> float:
    """Return the share of the highest learning rate: a short rise, then half a cosine to zero."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _epoch(
    network: nn.Module,
    bar: Any,
    to_input: ToInput,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
) -> float:
    """Train on every batch once and return the mean loss."""
    device = to_input.device
    half = short_format(device)
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
    network.train()
    losses = []
    for crops, numbers, targets in bar:
        images = to_input(crops, numbers)
        targets = targets.to(device, non_blocking=True)
        with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            embeddings = network(images)
        loss = loss_of(embeddings.float(), targets)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        losses.append(loss.item())
        bar.set_postfix_str(f"loss {sum(losses) / len(losses):.4f}", refresh=False)
    return sum(losses) / len(losses)


def loss_of(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return 1 - cosine to the teacher plus the error of the batch's similarity matrix.

    The second part teaches who is unlike whom, which is what a threshold depends on. Both
    arguments are (N, 512), rows of unit length.
    """
    distance = 1 - (embeddings * targets).sum(dim=1).mean()
    return distance + SIMILARITIES * similarity_loss(embeddings, targets)


@torch.inference_mode()
def features(student: Student, batches: Pass[Any], device: torch.device) -> np.ndarray:
    """Return the features of every face as it is, without augmentation, (faces, FEATURES)."""
    to_input = ToInput(CROP, "none", device)
    student.eval()
    half = short_format(device)
    found = []
    for crops, numbers, _ in tqdm(batches, "Features", unit="batch", mininterval=1):
        with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            found.append(student.features(to_input(crops, numbers)).float().cpu().numpy())
    return np.concatenate(found)


@torch.inference_mode()
def cosine_to_teacher(student: Student, batches: Pass[Any], device: torch.device) -> float:
    """Return the mean cosine between the student's and the teacher's embeddings."""
    to_input = ToInput(CROP, "none", device)
    student.eval()
    cosines = [
        (student(to_input(crops, numbers)).cpu() * targets).sum(dim=1)
        for crops, numbers, targets in batches
    ]
    return float(torch.cat(cosines).mean())
