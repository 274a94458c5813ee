"""Both training scripts on the real network; and in processes of their own, on a tiny one."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import continue_training
import train_model
from facesync.faces.crops import ALIGNED_112
from facesync.faces.weights import load_face_model
from facesync.pickles import load_plain
from facesync.training import model
from facesync.training.augment import DRAWS
from facesync.training.checkpoint import load_checkpoint
from facesync.training.transforms import ToInput, sized
from tests.end_to_end.tiny import SECONDS, started, wait_for
from tests.training.stand_ins import TinyNetwork, draw_identity, posix

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On a busy machine, threads that wait for each other take longer than one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        draw_identity(folder / str(number), number, 5)
    return folder


def options(images: Path, output: Path, *more: object) -> list[str]:
    given = ["--data", images, "--output", output, "--weights", "none", "--device", "cpu"]
    return [str(option) for option in (*given, *more)]


@pytest.fixture(scope="module")
def models(tmp_path_factory, images) -> Path:
    """Folder of a model trained for one epoch; copy it before changing it."""
    folder = tmp_path_factory.mktemp("run") / "models"
    assert train_model.main(options(images, folder, "--batch-size", 8, "--workers", 2)) == 0
    return folder


def test_the_app_loads_the_model_and_sees_what_training_saw(models, images):
    served_by = load_face_model(models / "best_face_model.pth")
    assert served_by.crop == ALIGNED_112
    assert "(epoch 1, validation accuracy" in served_by.source
    with Image.open(images / "1" / "7.jpg") as file:
        image = file.convert("RGB")
    served = torch.from_numpy(served_by.crop.array(np.asarray(image)))
    inputs = ToInput(ALIGNED_112, "none", torch.device("cpu"))
    validated = inputs(
        sized(np.asarray(image), ALIGNED_112).permute(2, 0, 1)[None], torch.zeros(1, DRAWS)
    )
    assert torch.equal(served, validated[0])
    embeddings = served_by.embed_crops([np.asarray(image)])
    assert embeddings.shape == (1, 512)
    assert np.linalg.norm(embeddings) == pytest.approx(1, abs=1e-5)


def test_older_format_loads_and_continues_on_the_real_network(models, images, tmp_path):
    data = torch.load(models / "best_face_model.pth", weights_only=True)
    names = ("epoch", "model_state_dict", "optimizer_state_dict", "accuracy", "num_classes")
    old = tmp_path / "old.pth"
    torch.save({name: data[name] for name in names}, old)
    assert load_face_model(old).crop == ALIGNED_112
    arguments = ["--model", str(old), "--data", str(images), "--workers", "0"]
    assert continue_training.main(arguments) == 0
    assert load_plain(tmp_path / "training_history.pkl")["epoch"] == [2]
    assert load_face_model(tmp_path / "final_face_model.pth").crop == ALIGNED_112


def test_another_architecture_is_one_line_before_the_data_is_looked_at(tmp_path, capsys):
    torch.save({"logits.weight": torch.zeros(3, 8)}, tmp_path / "other.pth")
    arguments = ["--model", str(tmp_path / "other.pth"), "--data", str(tmp_path / "no data")]
    assert continue_training.main(arguments) == 1
    assert "other.pth is not an InceptionResnetV1" in capsys.readouterr().err


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_to_all_processes_leaves_a_model_to_continue(images, tmp_path, number):
    folder = tmp_path / "m"
    more = ["--epochs", 1000, "--batch-size", 2, "--workers", 2]
    with started("train_model", *options(images, folder, *more)) as process:
        wait_for(process, "epoch 1/1000")
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "Stopping after this batch" in err
    assert "with --resume" in out
    checkpoint = load_checkpoint(folder / "final_face_model.pth")
    epochs = load_plain(folder / "training_history.pkl")["epoch"]
    assert len(epochs) == checkpoint.epoch >= 1
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@posix
@pytest.mark.parametrize("seconds", [0.05, 0.3])
def test_a_killed_training_leaves_whole_files(images, tmp_path, monkeypatch, capsys, seconds):
    folder = tmp_path / "m"
    more = ("--epochs", 1000, "--workers", 1)
    with started("train_model", *options(images, folder, *more)) as process:
        wait_for(process, "epoch 2/1000")
        time.sleep(seconds)  # it may be training by then, or in the middle of a file
        os.killpg(process.pid, signal.SIGKILL)
    assert load_checkpoint(folder / "best_face_model.pth").epoch >= 1
    monkeypatch.setattr(model, "new_network", TinyNetwork)
    assert load_plain(folder / "label_map.pkl") == {"0": 0, "1": 1, "2": 2}
    final = folder / "final_face_model.pth"
    epoch = load_checkpoint(final).epoch
    arguments = ["--model", str(final), "--data", str(images), "--workers", "0"]
    assert continue_training.main(arguments) == 1  # it would remove what resumes the run
    assert "resume it with --resume, or choose" in capsys.readouterr().err
    assert continue_training.main([*arguments, "--output", str(tmp_path / "other")]) == 0
    rows = load_plain(tmp_path / "other" / "training_history.pkl")["epoch"]
    assert rows == list(range(1, epoch + 2))


def test_the_script_itself_trains_and_continues(models, images, tmp_path, run_script):
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    arguments = ["--model", folder / "best_face_model.pth", "--data", images]
    done = run_script("continue_training.py", *arguments, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stdout and "epoch 1" not in done.stdout
    rows = load_plain(folder / "training_history.pkl")
    assert rows["epoch"] == [1, 2] and rows["run"] == [1, 2]
