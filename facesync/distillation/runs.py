"""From settings to a packed student: `distill_model.py`."""

from __future__ import annotations

import logging

import torch

from facesync.devices import pick_device
from facesync.distillation.faces import all_images, collect
from facesync.distillation.fit import CHECKPOINT_NAME, distill
from facesync.distillation.packing import load_student, pack
from facesync.distillation.settings import DistillSettings
from facesync.distillation.student import from_teacher
from facesync.errors import ModelError, UsageError
from facesync.faces.weights import load_face_model, load_torch_model
from facesync.processes import ranks

log = logging.getLogger(__name__)


def run(settings: DistillSettings) -> None:
    """Distil a student and pack it.

    Raises:
        FaceSyncError: one line on what is wrong with the settings, the data or the teacher.
    """
    if not (settings.data or settings.aligned):
        raise UsageError("name images of faces with --data or --aligned")
    if settings.workers < 0:
        raise UsageError(f"--workers {settings.workers} is not 0 or more")
    checkpoint = settings.output / CHECKPOINT_NAME
    if checkpoint.exists() and not settings.resume:
        raise ModelError(
            f"{checkpoint} is already there; --resume goes on, or name another --output"
        )
    with ranks(pick_device(settings.device)) as (group, device):
        if settings.batch_size < 2 * group.size:  # BatchNorm has nothing to normalise in one face
            raise UsageError(f"--batch-size {settings.batch_size} is under 2 faces a process")
        images = all_images(settings.data, settings.aligned, settings.leave_out)
        if group.first:
            teacher = load_face_model(settings.teacher, device, offline=settings.offline)
            collect(images, teacher, settings.cache_folder)
        group.wait()
        teacher = load_face_model(settings.teacher, device, offline=settings.offline)
        faces = collect(images, teacher, settings.cache_folder)
        torch.manual_seed(settings.seed)
        network = load_torch_model(settings.teacher, offline=True).network
        student = from_teacher(network, settings.blocks)
        distill(student, faces, settings, device, group)
        if group.first:
            pack(load_student(checkpoint), settings.output, f"distilled from {teacher.source}")
