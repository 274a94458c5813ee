"""Two processes that torchrun starts train as one does: on the CPU or one card, with gloo.

Equal means within rounding: losses and weights to 1e-5 of them, and to 1e-5 where they are small.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch

import train_model
from facesync.training import model
from facesync.training.batches import load_split
from tests.end_to_end.comparing import content, files, furthest
from tests.end_to_end.tiny import SECONDS, Server, started, wait_for
from tests.training.stand_ins import DEVICE, TinyNetwork, draw_identity, posix

pytestmark = [pytest.mark.slow, posix, pytest.mark.timeout(4 * SECONDS)]

LOSSES = ("train_loss", "val_loss")
SHARES = ("train_acc", "val_acc", "val_tar", "lr", "skipped")
TOLERANCE = 1e-5

COMMON = (
    *(
        "--device",
        DEVICE,
        "--precision",
        "fp32",
        "--dropout",
        0,
        "--augment",
        "strong",
        "--holdout-identities",
        "30%",
    ),
    *(
        "--preset",
        "paper",
        "--scale",
        16,
        "--lr",
        0.003,
        "--epochs",
        3,
        "--batch-size",
        11,
        "--save-every",
        1,
    ),
)
MORE = {
    "softmax": ("--accumulate", 2, "--workers", 2, "--label-smoothing", 0.1),
    "cosface": ("--ema", 0.8, "--imprint", "--clip-norm", 1, "--workers", 0, "--keep", 100),
    "adaface": ("--freeze-steps", 2, "--schedule", "cosine", "--select", "tar", "--workers", 0),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Folder of 7 identities with 7 images each, of which one in each part cannot be decoded.

    Without the two who are held out, 28 to train on, in batches of 11, 11 and 6, and 7 to measure:
    the parts of two processes are of 5 and 6, 3 and 3, or 4 and 3.
    """
    folder = tmp_path_factory.mktemp("images")
    for number in range(7):
        draw_identity(folder / str(number), number, 7)
    split = load_split(folder, 42, 5, 100, 0.3)
    assert (len(split.train), len(split.validation), len(split.holdout)) == (28, 7, 14)
    for part in (split.train, split.validation, split.holdout):
        (path,) = folder.glob(f"{split.faces.names[part[-1]]}*")
        path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(200)) + b"\xff\xd9")
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """Weights to start from, with averages that are not those of the images."""
    torch.manual_seed(3)
    network = TinyNetwork(5)
    network.features[3].running_mean.normal_(std=0.1)
    network.features[3].running_var.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("start") / "start.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def given(images, start):
    """Return the options of a training."""

    def options(mode: str, loss: str) -> tuple:
        modes = {
            "freeze": ("--weights", start, "--freeze-batchnorm"),
            "scratch": ("--weights", "none"),
        }
        return ("--data", images, *COMMON, *modes[mode], "--loss", loss, *MORE[loss])

    return options


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a script in processes of its own: exit code, output and errors."""
    server = Server(tmp_path_factory.mktemp("said"))
    yield server.run
    server.close()


@pytest.fixture
def two(run):
    """Train with two processes, in a folder."""

    def start(output: Path, options: tuple, *more: object, **others):
        return run("train_model", "--output", output, *options, *more, processes=2, **others)

    return start


def train_here(output: Path, *options: object) -> None:
    """Train with one process, this one: for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "new_network", TinyNetwork)
        assert train_model.main([str(each) for each in ("--output", output, *options)]) == 0


@pytest.fixture(scope="module")
def alone(given, tmp_path_factory):
    """Return the folder of what one process trains."""
    made: dict[tuple[str, str], Path] = {}

    def get(mode: str, loss: str) -> Path:
        if (mode, loss) not in made:
            made[mode, loss] = tmp_path_factory.mktemp("alone") / "m"
            train_here(made[mode, loss], *given(mode, loss))
        return made[mode, loss]

    return get


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights, with the bias before BatchNorm taken off its mean.

    BatchNorm takes that bias away again: its gradient is nothing but rounding, along which Adam
    makes steps as long as any.
    """
    state = content(folder / "final_face_model.pth")["model_state_dict"]
    state["features.3.running_mean"] -= state.pop("features.2.bias")
    return state


def assert_equal(folder: Path, other: Path) -> None:
    """Compare the histories and the final weights of two trainings."""
    mine, theirs = (content(each / "training_history.pkl") for each in (folder, other))
    assert mine["epoch"] == theirs["epoch"]
    pairs = [pair for name in LOSSES for pair in zip(mine[name], theirs[name], strict=True)]
    apart = max(abs(a - b) / max(1, b) for a, b in pairs)
    weights = furthest(final_state(folder), final_state(other))
    print(f"losses {apart:.1e} apart, weights {weights:.1e}")
    assert apart < TOLERANCE and weights < TOLERANCE
    for name in SHARES:
        assert mine[name] == pytest.approx(theirs[name], abs=1e-12), name


# The same losses, accuracies and weights


@pytest.mark.parametrize(
    ("mode", "loss"),
    [("freeze", "softmax"), ("freeze", "cosface"), ("freeze", "adaface")],
)
def test_two_train_as_one(two, given, alone, tmp_path, mode, loss):
    code, out, err = two(tmp_path / "m", given(mode, loss))
    assert code == 0, err
    assert_equal(tmp_path / "m", alone(mode, loss))
    # One of them alone writes and prints.
    assert files(tmp_path / "m") == files(alone(mode, loss))
    assert re.findall(r"^epoch (\d)/3:", out, re.M) == ["1", "2", "3"]
    assert out.count("Best model:") == 1
    for once in (
        f"28 images to train on, 7 to validate, 14 of unseen identities; 2 processes on {DEVICE}",
        "3 images could not be decoded",
        "Starting from",
    ):
        assert err.count(once) == 1, (once, err)
    described = content(tmp_path / "m" / "settings.json")
    assert described["processes"] == 2
    # Each image counts once: 6 of 7 can be decoded, in parts of 4 and 3.
    for accuracy in content(tmp_path / "m" / "training_history.pkl")["val_acc"]:
        assert accuracy * 6 == pytest.approx(round(accuracy * 6), abs=1e-9)


def test_plain_batchnorm_measures_what_is_saved(two, images, start, tmp_path):
    options = (*("--data", images), *COMMON, "--weights", start, "--workers", 0, "--epochs", 1)
    code, _, err = two(tmp_path / "m", options)
    assert code == 0, err
    measured = content(tmp_path / "m" / "training_history.pkl")
    # One process measures the saved weights as they are: its rate is next to nothing.
    more = ("--weights", tmp_path / "m" / "final_face_model.pth", "--freeze-batchnorm")
    train_here(tmp_path / "again", *options, *more, "--lr", 1e-12)
    again = content(tmp_path / "again" / "training_history.pkl")
    for name in ("val_loss", "val_acc", "val_tar"):
        assert measured[name] == pytest.approx(again[name], abs=1e-5)


def test_a_rest_too_small_for_two_is_left_out_by_both(two, given, tmp_path):
    more = ("--batch-size", 25, "--epochs", 1)  # of the other 3, one process would have one
    code, out, err = two(tmp_path / "m", given("scratch", "softmax"), *more)
    assert code == 0, err
    assert "epoch 1/1" in out and err.count("training FROM SCRATCH") == 1


# Resumed by another number of processes


@pytest.mark.parametrize(("first", "second"), [(2, 0), (0, 2)], ids=["two-one", "one-two"])
def test_another_number_of_processes_resumes(run, given, alone, tmp_path, first, second):
    options = ("--output", tmp_path / "m", *given("freeze", "cosface"))
    assert run("train_model", *options, processes=first, trap="step 6")[0]
    code, _, err = run("train_model", *options, "--resume", processes=second)
    assert code == 0, err
    assert "after 1 epoch and 2 batches" in err
    assert err.count("random numbers will differ from the original run's") == 1
    assert_equal(tmp_path / "m", alone("freeze", "cosface"))


# Processes that die, are stopped or cannot start


def test_processes_are_restarted_by_torchrun_where_one_died(two, given, alone, tmp_path):
    options = (*given("freeze", "softmax"), "--resume")
    torchrun = ("--max-restarts", "1")
    code, out, err = two(tmp_path / "m", options, torchrun=torchrun, trap="step 5", rank=1)
    assert code == 0, err
    assert "Resuming from" in err and out.count("epoch 3/3:") == 1
    assert_equal(tmp_path / "m", alone("freeze", "softmax"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_stopped_by_a_signal_to_torchrun(given, alone, tmp_path, number):
    options = ("--output", tmp_path / "m", *given("freeze", "adaface"))
    with started("train_model", *options, processes=2, trap="pause 5") as process:
        wait_for(process, "paused")
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert "Stopping after this batch" in err and "with --resume" in out
    assert content(tmp_path / "m" / "final_face_model.pth")["interrupted"]
    train_here(tmp_path / "m", *options, "--resume")
    assert_equal(tmp_path / "m", alone("freeze", "adaface"))


OURS = r'File ".*/(facesync/|train_model)'


@pytest.mark.parametrize("problem", ["data", "settings", "disk"])
def test_what_a_user_can_cause_is_one_line_of_each(two, given, alone, tmp_path, problem):
    options, others, said = given("freeze", "cosface"), {}, ""
    if problem == "data":
        options, said = (*options, "--data", tmp_path / "none"), "none: no such folder or pack"
    if problem == "settings":
        shutil.copytree(alone("freeze", "cosface"), tmp_path / "m")
        options, said = (*options, "--resume", "--epochs", 4), "--epochs is 4"
    if problem == "disk":
        others, said = {"trap": "full 5"}, "No space left on device"
    code, _, err = two(tmp_path / "m", options, **others)
    assert code != 0
    lines = [line for line in err.splitlines() if "error: " in line and said in line]
    assert 1 <= len(lines) <= 2, err
    assert not re.search(OURS, err), err
