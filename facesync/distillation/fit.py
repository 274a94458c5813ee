"""Teach the student: epoch after epoch, measured, resumed where it was stopped."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler, Sampler
from tqdm import tqdm

from facesync.devices import short_format
from facesync.distillation.augment import plain, varied
from facesync.distillation.faces import Faces
from facesync.distillation.settings import DistillSettings
from facesync.distillation.student import CROP, Student
from facesync.errors import ModelError
from facesync.faces.torch_model import read_checkpoint
from facesync.files import replacing
from facesync.processes import Ranks

log = logging.getLogger(__name__)

CHECKPOINT_NAME = "student.pth"
HISTORY_NAME = "distill_history.csv"
WARM_UP = 0.03  # of all steps
SIMILARITIES = 2.0
"""Weight of the loss on the batch's similarity matrix beside 1 - cosine to the teacher."""


class Views(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Faces as the network's input, and the teacher's embeddings.

    Args:
        faces: all of them.
        indices: which ones.
        seed: of the augmentation, with `epoch`; None shows every face as it is.
    """

    def __init__(self, faces: Faces, indices: np.ndarray, seed: int | None) -> None:
        self.faces, self.indices, self.seed, self.epoch = faces, indices, seed, 0

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        index = int(self.indices[item])
        canvas = self.faces.canvas(index)
        if self.seed is None:
            crop = plain(canvas)
        else:
            crop = varied(canvas, np.random.default_rng((self.seed, self.epoch, index)))
        return CROP.tensor(crop), torch.from_numpy(self.faces.targets[index])


def loss_of(embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """1 - cosine to the teacher, and how far the batch's similarities are from the teacher's.

    The second part (Tung and Mori, arXiv:1907.09682) says who is unlike whom, which is what a
    threshold will be laid on. Both arguments are (N, 512) of unit length.
    """
    apart = 1 - (embeddings * targets).sum(dim=1).mean()
    similarities = (embeddings @ embeddings.T - targets @ targets.T).square().mean()
    return apart + SIMILARITIES * similarities


def split(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the faces that are only measured; return (training, validation) indices."""
    order = np.random.default_rng(seed).permutation(count)
    measured = max(1, round(count * share))
    return np.sort(order[measured:]), np.sort(order[:measured])


def distill(
    student: Student,
    faces: Faces,
    settings: DistillSettings,
    device: torch.device,
    group: Ranks,
) -> None:
    """Train a student; its checkpoint lies in the output folder.

    Interrupted, it has the last whole epoch; `settings.resume` goes on from there.

    Raises:
        ModelError: the checkpoint to go on from does not fit.
    """
    training, validation = split(len(faces), settings.validation, settings.seed)
    if len(training) < settings.batch_size:
        raise ModelError(f"{len(training)} faces do not fill one batch of {settings.batch_size}")
    path = settings.output / CHECKPOINT_NAME
    student.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    views = Views(faces, training, settings.seed)
    order: Sampler[int] = (
        RandomSampler(views, generator=torch.Generator().manual_seed(settings.seed))
        if group.size == 1
        else DistributedSampler(views, group.size, group.rank, seed=settings.seed)
    )
    loader = DataLoader(
        views, settings.batch_size // group.size, sampler=order, drop_last=True,
        num_workers=settings.workers, pin_memory=device.type == "cuda",
    )  # fmt: skip
    measured = DataLoader(Views(faces, validation, None), settings.batch_size)
    weights = [p for p in student.parameters() if p.requires_grad]
    decayed = [p for p in weights if p.ndim > 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": 0.02},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=settings.lr,
    )
    steps = settings.epochs * len(loader)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    history: list[dict[str, float]] = []
    if settings.resume:
        history = _resume(path, student, optimizer, scheduler, settings)
    network: nn.Module = student
    if group.size > 1:
        network = nn.parallel.DistributedDataParallel(student)
    for epoch in range(len(history), settings.epochs):
        views.epoch = epoch
        if isinstance(order, DistributedSampler):
            order.set_epoch(epoch)
        began = time.monotonic()
        loss = _epoch(network, loader, optimizer, scheduler, device,
                      f"epoch {epoch + 1}/{settings.epochs}", quiet=not group.first)  # fmt: skip
        if not group.first:
            continue
        cosine = cosine_to_teacher(student, measured, device)
        seconds = time.monotonic() - began
        history.append({"epoch": epoch + 1, "loss": loss, "cosine": cosine,
                        "seconds": round(seconds, 1)})  # fmt: skip
        log.info("epoch %d: loss %.4f, cosine to the teacher on unseen faces %.4f, %d faces/s",
                 epoch + 1, loss, cosine, len(loader.dataset) / seconds)  # type: ignore[arg-type] # fmt: skip
        _save(path, student, optimizer, scheduler, history, settings)
        _write_history(settings.output / HISTORY_NAME, history)


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate: a short rise, then half a cosine down to nothing."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _epoch(
    network: nn.Module, loader: DataLoader[Any], optimizer: torch.optim.Optimizer,
    scheduler: Any, device: torch.device, title: str, *, quiet: bool,
) -> float:  # fmt: skip
    network.train()
    half = short_format(device)
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
    total, seen = 0.0, 0
    with tqdm(loader, desc=title, unit="batch", disable=quiet, mininterval=1) as bar:
        for images, targets in bar:
            images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
            targets = targets.to(device, non_blocking=True)
            with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
                embeddings = network(images)
            loss = loss_of(embeddings.float(), targets)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            total, seen = total + loss.item(), seen + 1
            bar.set_postfix_str(f"loss {total / seen:.4f}", refresh=False)
    return total / seen


@torch.inference_mode()
def cosine_to_teacher(student: Student, loader: DataLoader[Any], device: torch.device) -> float:
    """Mean cosine between the student's and the teacher's embeddings."""
    student.eval()
    found = [(student(images.to(device)).cpu() * targets).sum(dim=1) for images, targets in loader]
    return float(torch.cat(found).mean())


def _save(
    path: Path, student: Student, optimizer: torch.optim.Optimizer,
    scheduler: Any, history: list[dict[str, float]], settings: DistillSettings,
) -> None:  # fmt: skip
    plain_settings = {k: str(v) for k, v in asdict(settings).items()}
    buffer = io.BytesIO()
    torch.save(
        {
            "format": 1,
            "architecture": "FaceSync student",
            "blocks": student.blocks,
            "model_state_dict": student.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler_state_dict": scheduler.state_dict(),
            "history": history,
            "crop": CROP.to_dict(),
            "settings": plain_settings,
        },
        buffer,
    )
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def _resume(
    path: Path, student: Student, optimizer: torch.optim.Optimizer,
    scheduler: Any, settings: DistillSettings,
) -> list[dict[str, float]]:  # fmt: skip
    data = read_checkpoint(path)
    try:
        if data["settings"]["epochs"] != str(settings.epochs):
            raise ModelError(
                f"{path} is of a run of {data['settings']['epochs']} epochs; resume it with "
                f"--epochs {data['settings']['epochs']}"
            )
        student.load_state_dict(data["model_state_dict"])
        optimizer.load_state_dict(data["optimizer_state_dict"])
        scheduler.load_state_dict(data["scheduler_state_dict"])
        return list(data["history"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not the checkpoint of such a student ({error})") from error


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(history[0]))
    writer.writeheader()
    writer.writerows(history)
    with replacing(path) as file:
        file.write(text.getvalue().encode())
