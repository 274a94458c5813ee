"""A run that is stopped before any step of the optimizer was taken can be gone on with."""

from __future__ import annotations

import signal

import pytest
import torch

import train_model
from facesync.training import fit
from facesync.training.batches import EpochOrder, load_split
from facesync.training.checkpoint import run_checkpoints
from tests.training.stand_ins import posix


@posix
@pytest.mark.usefixtures("tiny")
def test_a_run_whose_steps_were_all_left_out_goes_on(
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

    def stop_at_once(learner, loader, title, totals, *, after_step):
        learner.learn([next(iter(loader))])
        signal.raise_signal(signal.SIGINT)
        after_step(1)

    with monkeypatch.context() as patched:
        patched.setattr(fit, "train_epoch", stop_at_once)
        assert train_model.main(arguments) == 130
    saved = torch.load(run_checkpoints(output)[-1], weights_only=True)
    assert saved["run"]["step"] == 1 and saved["optimizer_state_dict"]["state"] == {}
    assert train_model.main([*arguments, "--resume"]) == 0, capsys.readouterr().err
