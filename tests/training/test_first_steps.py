"""A run that is stopped before the optimizer took a step can be resumed."""

from __future__ import annotations

import signal

import pytest
import torch

import train_model
from facesync.training import epoch
from facesync.training.batches import EpochOrder, load_split
from facesync.training.checkpoint import run_checkpoints
from facesync.training.step import take_step
from tests.training.stand_ins import posix


@posix
@pytest.mark.usefixtures("tiny")
def test_a_run_whose_steps_were_all_skipped_resumes(
    tmp_path, images, damaged_image, monkeypatch, capsys
):
    data = load_split(images, seed=42, min_images=5, max_images=100)
    order = EpochOrder(data.train, 42, 4, shuffle=True)
    order.epoch = 1
    for index, _ in next(iter(order)):
        damaged_image(images / f"{data.faces.names[index]}.jpg")
    output = tmp_path / "models"
    options = ["--data", images, "--output", output, "--weights", "none", "--workers", 0]
    arguments = list(map(str, [*options, "--batch-size", 4]))

    def stop_after_one(*values):
        outcome = take_step(*values)
        signal.raise_signal(signal.SIGINT)
        return outcome

    with monkeypatch.context() as patched:
        patched.setattr(epoch, "take_step", stop_after_one)
        assert train_model.main(arguments) == 130
    saved = torch.load(run_checkpoints(output)[-1], weights_only=True)
    assert saved["run"]["step"] == 1 and saved["optimizer_state_dict"]["state"] == {}
    assert train_model.main([*arguments, "--resume"]) == 0, capsys.readouterr().err
