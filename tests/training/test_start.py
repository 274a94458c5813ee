"""Both scripts in this process, on a tiny network: what they write, refuse and continue."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import re
import shutil
import signal
import weakref
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import continue_training
import train_model
from facesync.data.left_out import list_path, write_list
from facesync.errors import DownloadError, UsageError
from facesync.faces.calibration import Calibration
from facesync.faces.crops import ALIGNED_112
from facesync.faces.torch_model import fingerprint, load_state
from facesync.pickles import load_plain, save_plain
from facesync.processes import Ranks
from facesync.training import epoch, model, validation
from facesync.training.batches import load_split
from facesync.training.estimate import _timed
from facesync.training.run import Totals
from facesync.training.settings import TrainSettings
from facesync.training.start import train as training
from facesync.training.stopping import Stopped
from facesync.training.transforms import ToInput
from tests.training.stand_ins import TinyNetwork, draw_identity, known_model, posix

pytestmark = [pytest.mark.usefixtures("tiny")]

WRITTEN = {
    "best_face_model.pth",
    "checkpoints",
    "final_face_model.pth",
    "label_map.pkl",
    "settings.json",
    "training_history.csv",
    "training_history.pkl",
    "training_history.png",
}


def train(data: Path, output: Path, *more: object) -> int:
    options = ["--weights", "none", "--preset", "paper", "--batch-size", 8, "--workers", 0]
    options += ["--lr", 0.01, *more]
    return train_model.main(["--data", str(data), "--output", str(output), *map(str, options)])


def continue_(model: Path, data: Path, *more: object) -> int:
    options = ["--batch-size", 8, "--workers", 0, *more]
    return continue_training.main(["--model", str(model), "--data", str(data), *map(str, options)])


def history(folder: Path) -> dict:
    return load_plain(folder / "training_history.pkl")


def checkpoint(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit(path: Path, **values: object) -> None:
    data = {**checkpoint(path), **values}
    torch.save({key: value for key, value in data.items() if value is not ...}, path)


@pytest.fixture
def one_line(capsys):
    """Return the one line of an error, once nothing else has been said since the last call."""

    def take() -> str:
        err = capsys.readouterr().err
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "Traceback" not in err, err
        assert err.rstrip().endswith(lines[0]), err
        return lines[0]

    return take


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory) -> Path:
    """Folder of a model trained for 2 epochs on images like those of `images`."""
    folder = tmp_path_factory.mktemp("trained")
    for number in range(3):
        draw_identity(folder / "images" / str(number), number, 6)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "new_network", TinyNetwork)
        assert train(folder / "images", folder / "models", "--epochs", 2) == 0
    torch.set_num_threads(threads)
    return folder / "models"


@pytest.fixture
def trained(trained_once, tmp_path) -> Path:
    """Folder of a model trained for 2 epochs; a copy of its own."""
    shutil.copytree(trained_once, tmp_path / "models")
    return tmp_path / "models"


# What training writes


def test_training_writes_everything(tmp_path, images, capsys):
    assert train(images, tmp_path / "new" / "models") == 0
    folder = tmp_path / "new" / "models"
    assert {path.name for path in folder.iterdir()} == WRITTEN
    best = checkpoint(folder / "best_face_model.pth")
    assert (best["epoch"], best["num_classes"], best["interrupted"]) == (1, 3, False)
    assert best["label_map"] == load_plain(folder / "label_map.pkl") == {"0": 0, "1": 1, "2": 2}
    assert best["crop"]["kind"] == "five_points" and best["split"]["pictures"] == 18
    assert best["history"] == history(folder)
    assert history(folder)["lr"] == [0.01] and history(folder)["seconds"][0] > 0
    described = json.loads((folder / "settings.json").read_text())
    assert described["settings"] == best["settings"]
    assert described["settings"]["seed"] == 42 and described["training_images"] == 14
    out, err = capsys.readouterr()
    assert "epoch 1/1: training loss" in out and "images/s" in out
    assert str(folder / "best_face_model.pth") in out
    assert "WARNING: --weights none: training FROM SCRATCH" in err


def test_the_settings_of_a_finished_run_can_be_used_again(tmp_path, images):
    more = ("--lr", 0.02, "--loss", "cosface", "--scale", 16, "--ema", 0.5, "--crop", "square")
    assert train(images, tmp_path / "first", *more) == 0
    given = ("--config", tmp_path / "first" / "settings.json", "--output", tmp_path / "second")
    assert train_model.main([str(each) for each in given]) == 0
    first, second = (
        checkpoint(tmp_path / name / "final_face_model.pth") for name in ("first", "second")
    )
    assert first["crop"]["kind"] == second["crop"]["kind"] == "square"
    assert {**first["settings"], "output": ""} == {**second["settings"], "output": ""}
    assert first["history"]["train_loss"] == second["history"]["train_loss"]
    file = tmp_path / "more.toml"
    file.write_text(f"data = '{images}'\nbatch-size = 8\nworkers = 0\nlr = 0.5\nepochs = 1\n")
    model = tmp_path / "second" / "final_face_model.pth"
    given = ("--config", file, "--model", model, "--lr", 0.003, "--output", tmp_path / "third")
    assert continue_training.main([str(each) for each in given]) == 0
    settings = checkpoint(tmp_path / "third" / "final_face_model.pth")["settings"]
    # What protects the weights stays as the model has it.
    assert (settings["lr"], settings["batch_size"], settings["ema"]) == (0.003, 8, 0.5)


def test_the_learning_rate_falls_and_the_best_epoch_is_kept(tmp_path, images):
    train(images, tmp_path / "m", "--epochs", 6, "--lr-step", 2, "--lr-gamma", 0.1)
    rates = [0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4]
    assert history(tmp_path / "m")["lr"] == pytest.approx(rates)
    accuracies = history(tmp_path / "m")["val_acc"]
    best = checkpoint(tmp_path / "m" / "best_face_model.pth")
    assert best["accuracy"] == max(accuracies)
    assert best["epoch"] == accuracies.index(max(accuracies)) + 1
    assert checkpoint(tmp_path / "m" / "final_face_model.pth")["epoch"] == 6


def test_equal_settings_give_equal_runs_whatever_the_workers(tmp_path, images):
    measured = []
    for run, workers in enumerate((0, 0, 2)):
        assert train(images, tmp_path / f"m{run}", "--epochs", 2, "--workers", workers) == 0
        assert continue_(tmp_path / f"m{run}" / "final_face_model.pth", images) == 0
        rows = history(tmp_path / f"m{run}")
        measured.append([rows[name] for name in ("train_loss", "train_acc", "val_loss")])
    assert measured[0] == measured[1] == measured[2]
    assert train(images, tmp_path / "other", "--epochs", 2, "--seed", 43) == 0
    assert history(tmp_path / "other")["train_loss"] != measured[0][0][:2]


def test_a_pack_trains_like_the_folder_it_stands_for(tmp_path, images, pack, trained):
    assert train(pack, tmp_path / "from_pack", "--epochs", 2) == 0
    assert history(tmp_path / "from_pack")["train_loss"] == history(trained)["train_loss"]
    assert continue_(tmp_path / "from_pack" / "best_face_model.pth", images) == 0


@pytest.mark.parametrize("size", [500, 13], ids=["larger than the dataset", "one left over"])
def test_odd_batch_sizes_work(tmp_path, images, size):
    assert train(images, tmp_path / "m", "--batch-size", size) == 0  # 14 to train on


@pytest.mark.parametrize("workers", [0, 2])
def test_undecodable_images_are_reported_once(tmp_path, images, damaged_image, capsys, workers):
    damaged_image(images / "1" / "12.jpg")
    assert train(images, tmp_path / "m", "--epochs", 3, "--workers", workers) == 0
    err = capsys.readouterr().err
    assert err.count("1 image could not be decoded and was left out") == 1
    assert err.count("12.jpg") == 1


# People it never saw


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Folder of 20 identities with 5 images each."""
    folder = tmp_path_factory.mktemp("many") / "images"
    for number in range(20):
        draw_identity(folder / f"p{number}", number, 5)
    return folder


@pytest.fixture(scope="module")
def measured_once(tmp_path_factory, many) -> tuple[Path, str]:
    """Folder of a model trained with `--preset best`, and what was printed."""
    folder = tmp_path_factory.mktemp("measured") / "models"
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as out, redirect_stdout(out):
        patch.setattr(model, "new_network", TinyNetwork)
        patch.setattr("facesync.files.os.fsync", lambda handle: None)
        assert train(many, folder, "--preset", "best", "--epochs", 3, "--precision", "fp32") == 0
        return folder, out.getvalue()


@pytest.fixture
def measured(measured_once, tmp_path) -> Path:
    """A copy of its own."""
    shutil.copytree(measured_once[0], tmp_path / "models")
    return tmp_path / "models"


def fingerprint_of(path: Path) -> str:
    """Return what the app would know the model by."""
    network = TinyNetwork()
    load_state(network, checkpoint(path)["model_state_dict"], str(path))
    return fingerprint(network, ALIGNED_112)


def test_best_holds_people_out_and_measures_them_before_and_after(measured_once):
    folder, said = measured_once
    rows = history(folder)
    final = checkpoint(folder / "final_face_model.pth")
    best = checkpoint(folder / "best_face_model.pth")
    assert final["num_classes"] == 10 and len(rows["val_tar"]) == 3
    (start,) = set(rows["start_tar"])
    for saved, epoch_ in ((final, 3), (best, best["epoch"])):
        unseen = saved["unseen"]
        assert (unseen["identities"], unseen["images"], unseen["far"]) == (10, 50, 1e-3)
        assert unseen["tar"] == saved["tar"] == rows["val_tar"][epoch_ - 1]
        assert unseen["start"] == start and unseen["weights"] == "random weights"
        assert unseen["low"] <= unseen["high"]
    assert best["tar"] == max(rows["val_tar"])  # which is what it was selected by
    last = said.splitlines()[-1]
    assert f"{best['tar']:.1%}" in last and f"random weights {start:.1%}" in last
    assert f"({start:.4f} before training)" in said


def test_the_start_is_what_the_network_was_before_its_first_step(tmp_path, many, monkeypatch):
    seen = {}

    def look(run, *values):
        images = [run.data.faces.image_rgb(index) for index in run.data.holdout]
        crops = torch.from_numpy(np.stack([run.crop.array(image) for image in images]))
        with torch.no_grad():
            rows = normalize(run.learner.model.backbone.eval()(crops))
        seen.update(start=run.start, rows=rows, steps=run.learner.steps)
        raise Stopped

    monkeypatch.setattr(epoch, "train_epoch", look)
    assert train(many, tmp_path / "m", "--preset", "best", "--precision", "fp32") == 130
    assert seen["steps"] == 0
    found = torch.from_numpy(seen["start"].embedded.vectors).float()
    assert torch.allclose(found, seen["rows"], atol=2e-3)


def test_every_model_is_calibrated_on_the_people_held_out(measured):
    for name in ("best_face_model.pth", "final_face_model.pth"):
        calibration = Calibration.from_dict(checkpoint(measured / name)["calibration"])
        assert calibration.measured_on == "10 people of images, held out from training"
        assert calibration.model_fingerprint == fingerprint_of(measured / name)
        assert calibration.identities == 10 and calibration.impostor_pairs == 1125


def test_continuing_keeps_the_start_of_the_chain_and_calibrates_anew(measured, many, capsys):
    first = checkpoint(measured / "final_face_model.pth")
    assert continue_(measured / "final_face_model.pth", many) == 0
    out, err = capsys.readouterr()
    final = checkpoint(measured / "final_face_model.pth")
    assert final["settings"]["ema"] == 0.98 and final["settings"]["clip_norm"] == 5.0
    assert history(measured)["start_tar"] == [first["unseen"]["start"]] * 4
    assert final["unseen"]["weights"] == "random weights"
    assert final["unseen"]["start"] == first["unseen"]["start"]
    calibration = Calibration.from_dict(final["calibration"])
    assert calibration.model_fingerprint == fingerprint_of(measured / "final_face_model.pth")
    assert "is calibrated on 10 people of images, held out from training; what is trained" in err
    best = checkpoint(measured / "best_face_model.pth")
    assert f"it accepts {best['unseen']['tar']:.1%}" in out.splitlines()[-1]


def test_a_model_without_a_start_is_the_start_of_what_continues_it(measured, many):
    edit(measured / "final_face_model.pth", unseen_start=..., unseen=...)
    tar = checkpoint(measured / "final_face_model.pth")["tar"]
    assert continue_(measured / "final_face_model.pth", many, "--output", measured / "more") == 0
    unseen = checkpoint(measured / "more" / "final_face_model.pth")["unseen"]
    assert unseen["weights"] == "final_face_model.pth"
    assert unseen["start"] == pytest.approx(tar, abs=1e-6)


def test_odd_figures_in_a_model_are_one_line(measured, many, one_line):
    for odd in ({"unseen": {"tar": 0.5}}, {"unseen_start": {"vectors": 1}}, {"unseen": "good"}):
        whole = (measured / "final_face_model.pth").read_bytes()
        edit(measured / "final_face_model.pth", **odd)
        assert continue_(measured / "final_face_model.pth", many) == 1
        assert "final_face_model.pth holds invalid values" in one_line()
        (measured / "final_face_model.pth").write_bytes(whole)


def test_too_few_people_are_all_trained_on_and_it_is_said_what_that_means(tmp_path, images, capsys):
    assert train(images, tmp_path / "m", "--preset", "best") == 0
    out, err = capsys.readouterr()
    assert len(re.findall("No identities are held out.*the app will not take it unasked", err)) == 1
    assert "validation accuracy" in out and out.splitlines()[-1].startswith(
        "Not measured on people"
    )
    best = checkpoint(tmp_path / "m" / "best_face_model.pth")
    assert "unseen" not in best and best["num_classes"] == 3
    calibration = Calibration.from_dict(best["calibration"])
    assert calibration.measured_on == "3 people of images, whom it was trained on"


def test_what_cannot_be_calibrated_is_said(tmp_path, capsys):
    for number in range(2):
        draw_identity(tmp_path / "two" / str(number), number, 6)
    assert train(tmp_path / "two", tmp_path / "m") == 0
    assert "The models are not calibrated (36 impostor pairs" in capsys.readouterr().err
    assert "calibration" not in checkpoint(tmp_path / "m" / "best_face_model.pth")


# A teacher


def test_a_teacher_changes_the_training_and_is_asked_once(tmp_path, images, monkeypatch):
    asked = []

    def load(choice, device, *, offline):
        asked.append((choice, offline))
        return known_model([])

    monkeypatch.setattr("facesync.training.start.load_face_model", load)
    options = ("--teacher", "edgeface-xs", "--offline", "--epochs", 2)
    assert train(images, tmp_path / "taught", *options) == 0
    assert train(images, tmp_path / "m", "--epochs", 2) == 0
    assert asked == [("edgeface-xs", True)]
    taught, plain = (history(tmp_path / name)["train_loss"] for name in ("taught", "m"))
    assert taught[0] > plain[0]  # it has one more term
    # Continuing keeps the teacher, and --teacher none does without.
    best = tmp_path / "taught" / "final_face_model.pth"
    assert continue_(best, images, "--output", tmp_path / "more") == 0
    assert len(asked) == 2
    assert continue_(best, images, "--output", tmp_path / "without", "--teacher", "none") == 0
    assert len(asked) == 2


# What training refuses


@pytest.mark.parametrize("name", ["best_face_model.pth", "final_face_model.pth"])
def test_a_model_is_not_replaced_unasked(tmp_path, images, one_line, name):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / name).write_text("precious")
    assert train(tmp_path / "no such data", tmp_path / "m") == 1
    assert re.search("already exists.*continue_training.py.*--overwrite", one_line())
    assert (tmp_path / "m" / name).read_text() == "precious"
    assert train(images, tmp_path / "m", "--overwrite") == 0
    assert checkpoint(tmp_path / "m" / name)["epoch"] == 1


def test_missing_weights_are_told_before_the_data_is_looked_at(tmp_path, one_line, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    options = ["--data", str(tmp_path), "--output", str(tmp_path / "m")]
    assert train_model.main([*options, "--offline"]) == 1
    assert re.search("--offline.*--weights none", one_line())
    assert train_model.main([*options, "--weights", str(tmp_path / "w.pt")]) == 1
    assert "w.pt" in one_line()


def test_a_failed_download_names_the_way_without_it(tmp_path, one_line, monkeypatch):
    def refuse(*, offline: bool) -> None:
        raise DownloadError("the VGGFace2 weights could not be downloaded (no route)")

    monkeypatch.setattr(model, "vggface2_state", refuse)
    assert train_model.main(["--data", str(tmp_path), "--output", str(tmp_path)]) == 1
    assert re.search("could not be downloaded.*--weights none", one_line())


def test_no_data_is_one_line(tmp_path, one_line):
    (tmp_path / "empty").mkdir()
    assert train(tmp_path / "empty", tmp_path / "m") == 1
    assert "empty" in one_line()
    assert not list((tmp_path / "m").glob("*"))


def test_an_output_that_cannot_be_written_is_told_before_the_long_work(tmp_path, one_line):
    (tmp_path / "file").write_text("")
    assert train(tmp_path, tmp_path / "file" / "models") == 1
    assert "cannot write to" in one_line()


def test_a_full_disk_is_one_line_and_the_earlier_files_stay(trained, images, one_line, monkeypatch):
    before = contents(trained)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("facesync.files.os.fsync", full)
    assert continue_(trained / "best_face_model.pth", images) == 1
    assert "No space left on device" in one_line()
    assert contents(trained) == before


def test_a_loss_that_is_not_finite_says_what_to_do_and_keeps_the_last_good_model(
    trained, images, one_line
):
    before = (trained / "best_face_model.pth").read_bytes()
    options = ["--lr", 1e30, "--epochs", 3]
    assert continue_(trained / "best_face_model.pth", images, *options) == 1
    assert re.search(r"not finite.* lower --lr \(it was 1e\+30\).*best_face_model", one_line())
    assert (trained / "best_face_model.pth").read_bytes() == before


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried"),
            "run again with --batch-size 4 or --checkpoint-activations",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "run again with --batch-size 4 or --checkpoint-activations",
        ),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus"), "--workers 0"),
    ],
    ids=["cuda", "cpu", "worker"],
)
def test_errors_of_torch_become_advice(tmp_path, images, one_line, monkeypatch, error, advice):
    def fail(*values: object) -> None:
        raise error

    monkeypatch.setattr(TinyNetwork, "forward", fail)
    assert train(images, tmp_path / "m") == 1
    assert advice in one_line()


def test_an_unknown_error_of_torch_keeps_its_traceback(tmp_path, images, monkeypatch):
    def fail(*values: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(TinyNetwork, "forward", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        train(images, tmp_path / "m")


# Continuing


def test_two_epochs_and_one_more_are_one_history_of_three(trained, images):
    first = history(trained)
    assert continue_(trained / "final_face_model.pth", images) == 0
    rows = history(trained)
    assert rows["epoch"] == [1, 2, 3] and rows["run"] == [1, 1, 2]
    assert rows["train_loss"][:2] == first["train_loss"]
    assert rows["lr"] == [0.01, 0.01, 3e-5]
    final = checkpoint(trained / "final_face_model.pth")
    assert final["epoch"] == 3 and final["history"] == rows
    assert len((trained / "training_history.csv").read_text().splitlines()) == 4
    assert continue_(trained / "final_face_model.pth", images, "--epochs", 2) == 0
    assert history(trained)["run"] == [1, 1, 2, 3, 3]


def test_continuing_from_the_best_of_an_earlier_epoch_extends_the_whole_history(trained, images):
    early = checkpoint(trained / "best_face_model.pth")
    one_epoch = {name: column[:1] for name, column in early["history"].items()}
    edit(trained / "best_face_model.pth", epoch=1, history=one_epoch)
    assert continue_(trained / "best_face_model.pth", images) == 0
    assert history(trained)["epoch"] == [1, 2, 3]


@pytest.mark.parametrize("beside", ["of another model", "damaged"])
def test_a_history_beside_that_is_not_the_models_is_not_extended(trained, images, capsys, beside):
    own, path = history(trained), trained / "training_history.pkl"
    if beside == "damaged":
        path.write_bytes(b"no pickle")
    else:
        save_plain({**own, "val_loss": [9.0, 9.0]}, path)
    assert continue_(trained / "final_face_model.pth", images) == 0
    err = capsys.readouterr().err
    assert ("is not the history of" in err) == (beside == "of another model")
    assert history(trained)["val_loss"][:2] == own["val_loss"]
    assert history(trained)["epoch"] == [1, 2, 3]


def test_continuing_starts_from_the_weights_and_the_averages(trained, images, monkeypatch):
    model = trained / "final_face_model.pth"
    saved = checkpoint(model)
    seen = {}

    def look(run, *values):
        learner = run.learner
        first = next(iter(learner.optimizer.state.values()))
        seen.update(state=learner.model.state(), step=float(first["step"]))
        seen["lr"] = learner.optimizer.param_groups[0]["lr"]
        raise Stopped

    monkeypatch.setattr(epoch, "train_epoch", look)
    assert continue_(model, images) == 130
    assert all(torch.equal(seen["state"][k], v) for k, v in saved["model_state_dict"].items())
    assert seen["step"] == 4  # two epochs of two batches
    assert seen["lr"] == 3e-5


def test_a_fresh_optimizer_is_said(trained, images, capsys):
    edit(trained / "final_face_model.pth", optimizer_state_dict={"state": "odd"})
    assert continue_(trained / "final_face_model.pth", images) == 0
    assert "no optimizer state that fits" in capsys.readouterr().err


def test_the_rate_falls_when_the_validation_loss_does_not(trained, images, monkeypatch):
    flat = Totals(images=4, loss_sum=4.0, right=2, seconds=1.0)
    monkeypatch.setattr(validation, "measure", lambda *values, **others: flat)
    options = ["--lr-patience", 1, "--lr-factor", 0.1, "--epochs", 5]
    assert continue_(trained / "final_face_model.pth", images, *options) == 0
    # The first epoch is the best; two more without a better one, and it is cut.
    assert history(trained)["lr"][2:] == pytest.approx([3e-5, 3e-5, 3e-5, 3e-6, 3e-6])


def test_best_is_only_replaced_by_a_better_one(trained, images):
    edit(trained / "best_face_model.pth", accuracy=1.0)
    before = (trained / "best_face_model.pth").read_bytes()
    assert continue_(trained / "final_face_model.pth", images, "--lr", 0.01) == 0
    assert (trained / "best_face_model.pth").read_bytes() == before
    edit(trained / "best_face_model.pth", accuracy=0.0)
    assert continue_(trained / "final_face_model.pth", images, "--lr", 0.01, "--epochs", 5) == 0
    assert checkpoint(trained / "best_face_model.pth")["accuracy"] > 0


def test_a_damaged_best_model_is_not_replaced(trained, images, one_line):
    (trained / "best_face_model.pth").write_bytes(b"half a file")
    assert continue_(trained / "final_face_model.pth", images) == 1
    assert "best_face_model.pth" in one_line()
    assert (trained / "best_face_model.pth").read_bytes() == b"half a file"


def test_another_output_gets_everything_and_the_model_to_beat(trained, images, tmp_path):
    edit(trained / "best_face_model.pth", accuracy=1.0)
    before = contents(trained)
    output = tmp_path / "more"
    assert continue_(trained / "best_face_model.pth", images, "--output", output) == 0
    assert {path.name for path in output.iterdir()} == WRITTEN
    best = (output / "best_face_model.pth").read_bytes()
    assert best == before[str(trained / "best_face_model.pth")]
    assert history(output)["epoch"] == [1, 2, 3]
    assert contents(trained) == before


def test_another_output_with_a_model_is_refused(trained, images, tmp_path, one_line):
    shutil.copytree(trained, tmp_path / "more")
    options = ["--output", tmp_path / "more"]
    assert continue_(trained / "best_face_model.pth", images, *options) == 1
    assert "choose another --output" in one_line()


@pytest.fixture
def passes(monkeypatch) -> list:
    """Collect (pass, epoch of its order, augmentation) of each pass."""
    seen: list = []
    presets: set[str] = set()
    to_input = ToInput.__call__

    def note(self, *values):
        presets.add(self.preset)
        return to_input(self, *values)

    def look(module, name):
        original = getattr(module, name)

        def pass_through(of, batches, *values, **others):
            presets.clear()
            result = original(of, batches, *values, **others)
            (preset,) = presets
            seen.append((batches, batches.order.epoch, preset))
            return result

        monkeypatch.setattr(module, name, pass_through)

    monkeypatch.setattr(ToInput, "__call__", note)
    look(epoch, "train_epoch")
    look(validation, "measure")
    return seen


def test_the_classes_stay_the_models_own_whatever_their_order(trained, images, passes):
    turned = {"0": 2, "1": 0, "2": 1}
    edit(trained / "final_face_model.pth", label_map=turned)
    assert continue_(trained / "final_face_model.pth", images) == 0
    assert checkpoint(trained / "final_face_model.pth")["label_map"] == turned
    assert load_plain(trained / "label_map.pkl") == turned
    for batches, _, _ in passes:
        batch = next(iter(batches))
        names = batches.loader.dataset.faces.names
        wanted = [turned[names[i][0]] for i, _ in next(iter(batches.order))]
        assert batch.labels.tolist() == wanted


def test_each_epoch_has_its_own_order_and_only_training_is_augmented(trained, images, passes):
    assert continue_(trained / "final_face_model.pth", images, "--epochs", 2) == 0
    seen = [(epoch, preset) for _, epoch, preset in passes]
    assert seen == [(3, "strong"), (0, "none"), (4, "strong"), (0, "none")]


# What continuing refuses


@pytest.mark.parametrize(
    ("change", "more", "named"),
    [
        (lambda at: draw_identity(at / "3", 3, 6), [], "trained on 3 identities, the data has 4"),
        (lambda at: (at / "1").rename(at / "7"), [], "1 of its 3 are not in the data, such as '1'"),
        (lambda at: (at / "1" / "12.jpg").unlink(), [], "18 images then, 17 now"),
        (lambda at: write_list(list_path(at), {"1/12": "?"}), [], "18 images then, 17 now"),
        (lambda at: None, ["--seed", 7], "another split"),
    ],
    ids=["more identities", "other identities", "other images", "left out", "split"],
)
def test_other_data_is_refused(trained, images, capsys, change, more, named):
    change(images)
    assert continue_(trained / "best_face_model.pth", images, *more) == 1
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_seed_and_limits_come_from_the_checkpoint(tmp_path, images):
    shutil.rmtree(images / "2")
    draw_identity(images / "2", 2, 3)
    options = ["--seed", 7, "--min-images", 2, "--max-images", 4]
    assert train(images, tmp_path / "m", *options) == 0
    assert continue_(tmp_path / "m" / "best_face_model.pth", images) == 0
    settings = checkpoint(tmp_path / "m" / "final_face_model.pth")["settings"]
    assert (settings["seed"], settings["min_images"], settings["max_images"]) == (7, 2, 4)
    assert continue_(tmp_path / "m" / "final_face_model.pth", images) == 0


@pytest.mark.parametrize("content", [None, b"text in a .pth\n"], ids=["missing", "text"])
def test_no_checkpoint_is_told_before_the_data_is_looked_at(tmp_path, one_line, content):
    model = tmp_path / "m.pth"
    if content:
        model.write_bytes(content)
    assert continue_(model, tmp_path / "no such data") == 1
    assert "m.pth" in one_line()


def test_odd_settings_in_a_checkpoint_are_one_line(trained, images, one_line):
    edit(trained / "best_face_model.pth", settings={"min_images": "five"})
    assert continue_(trained / "best_face_model.pth", images) == 1
    assert "min_images is 'five'" in one_line()


# The older format

OLDER = ("epoch", "model_state_dict", "optimizer_state_dict", "accuracy", "num_classes")


@pytest.fixture
def older(trained, tmp_path) -> Path:
    """Folder with nothing but a checkpoint of the older format."""
    data = checkpoint(trained / "final_face_model.pth")
    folder = tmp_path / "older"
    folder.mkdir()
    torch.save({name: data[name] for name in OLDER}, folder / "best_face_model.pth")
    return folder


def test_older_form_continues_without_label_map_and_history(older, images, capsys):
    assert continue_(older / "best_face_model.pth", images) == 0
    assert "has no label map" in capsys.readouterr().err
    assert history(older)["epoch"] == [3]
    final = checkpoint(older / "final_face_model.pth")
    assert final["epoch"] == 3 and final["label_map"] == {"0": 0, "1": 1, "2": 2}


def test_older_form_continues_with_label_map_and_history_of_the_older_form(
    older, trained, images, capsys
):
    shutil.copy(trained / "label_map.pkl", older)
    plain = {name: history(trained)[name] for name in ("train_loss", "train_acc")}
    plain |= {name: history(trained)[name] for name in ("val_loss", "val_acc")}
    save_plain(plain, older / "training_history.pkl")
    assert continue_(older / "best_face_model.pth", images) == 0
    assert "no label map" not in capsys.readouterr().err
    assert history(older)["epoch"] == [1, 2, 3] and history(older)["run"] == [1, 1, 2]
    assert history(older)["lr"] == [None, None, 3e-5]


def test_older_form_takes_the_limits_as_options(older, tmp_path):
    data = tmp_path / "few"
    for number in range(3):
        draw_identity(data / str(number), number, 3)
    assert continue_(older / "best_face_model.pth", data, "--min-images", 2) == 0


# Ctrl-C (the real thing, with worker processes, is in tests/end_to_end/test_training.py)


@posix
def test_a_stopped_training_is_saved_and_can_be_continued(tmp_path, images, capsys, monkeypatch):
    steps = []

    class Signalling(TinyNetwork):
        def forward(self, batch):
            steps.append(1)
            # Two batches train, two renew BatchNorm, one validates, three calibrate (on all images,
            # as there are so few): this is the second epoch.
            if len(steps) == 9:
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(batch)

    monkeypatch.setattr("facesync.training.model.new_network", Signalling)
    folder = tmp_path / "m"
    assert train(images, folder, "--epochs", 4) == 130
    out = capsys.readouterr().out
    assert "Stopped after 1 of 4 epochs" in out and "with --resume" in out
    final = checkpoint(folder / "final_face_model.pth")
    assert (final["epoch"], final["interrupted"], final["accuracy"]) == (1, True, None)
    assert history(folder)["epoch"] == [1]
    best = checkpoint(folder / "best_face_model.pth")
    assert not best["interrupted"] and best["accuracy"] is not None
    changed = [
        key
        for key, value in final["model_state_dict"].items()
        if not torch.equal(value, best["model_state_dict"][key])
    ]
    assert changed  # what was trained in the second epoch is not lost
    assert continue_(folder / "final_face_model.pth", images, "--epochs", 3) == 1
    assert "resume it with --resume" in capsys.readouterr().err
    other = ("--epochs", 3, "--output", tmp_path / "other")
    assert continue_(folder / "final_face_model.pth", images, *other) == 0
    assert history(tmp_path / "other")["epoch"] == [1, 2, 3, 4]


def test_stopped_before_the_first_epoch_ended(tmp_path, images, monkeypatch):
    def stop(*values: object, **others: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(epoch, "train_epoch", stop)
        assert train(images, tmp_path / "m") == 130
    assert checkpoint(tmp_path / "m" / "final_face_model.pth")["epoch"] == 0
    other = ("--output", tmp_path / "other")
    assert continue_(tmp_path / "m" / "final_face_model.pth", images, *other) == 0
    assert history(tmp_path / "other")["epoch"] == [1]


def test_data_that_is_not_there_is_found_before_the_weights_are_asked_for(
    tmp_path, monkeypatch, capsys
):
    def ask(*values: object, **others: object) -> None:
        raise AssertionError("the weights were asked for")

    monkeypatch.setattr("facesync.training.start.starting_state", ask)
    assert train(tmp_path / "nowhere", tmp_path / "m") == 1
    assert "nowhere: no such folder or pack" in capsys.readouterr().err


@pytest.mark.parametrize("told", ["while the first checkpoint is written", "before"])
def test_ctrl_c_before_the_first_batch(images, tmp_path, monkeypatch, capsys, told):
    """The first checkpoint of a real network takes seconds, on a network drive more."""
    save, made = epoch.save_run, []

    def interrupted(run) -> None:
        if not made:
            os.kill(os.getpid(), signal.SIGINT)
        made.append(save(run))

    def interrupt(run) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "m"
    with monkeypatch.context() as patch:
        if told == "before":
            patch.setattr("facesync.training.start.imprint", interrupt)
            assert train(images, folder, "--imprint") == 130
            assert "nothing is saved; run the same again" in capsys.readouterr().err
            assert not any(folder.iterdir())
        else:
            patch.setattr(epoch, "save_run", interrupted)
            assert train(images, folder, "--imprint") == 130
            assert "with --resume" in capsys.readouterr().out
            assert checkpoint(folder / "final_face_model.pth")["interrupted"]
    assert train(images, folder, "--imprint", "--resume") == 0
    assert WRITTEN <= {path.name for path in folder.iterdir()}


def test_an_estimate_trains_and_replaces_nothing(trained, images, capsys):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    assert train(images, trained, "--estimate", "--epochs", 3, "--save-every", 1) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(
        r"This training would take about a minute on CPU: 3 epochs of 14 images at [0-9.]+ "
        r"images/s, and 66 images that are only measured, at [0-9.]+\. .*\n",
        said,
    ), said  # each epoch 4 of the validation, and all 18 for the calibration
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}


def test_an_estimate_says_what_it_is_for(many, tmp_path, monkeypatch, capsys):
    timed = iter([2.0, 0.5])  # seconds of a step, of a batch that is only measured
    monkeypatch.setattr("facesync.training.estimate._timed", lambda work: next(timed))
    options = ("--preset", "best", "--precision", "fp32", "--epochs", 500, "--estimate")
    assert train(many, tmp_path / "m", *options) == 0
    said = capsys.readouterr().out
    trained, measured = (
        int(found.replace(",", "")) for found in re.findall(r"([0-9,]+) images (?:at|that)", said)
    )
    data = load_split(many, seed=42, min_images=5, max_images=100, holdout_identities=None)
    held_out = len(data.holdout)
    assert trained == len(data.train)
    # Before training all for the mean features and those held out, then these in each epoch.
    assert measured == trained + held_out + 500 * (len(data.validation) + held_out)
    minutes = round((500 * trained * 2.0 + measured * 0.5) / 8 / 60)
    assert f"about {minutes // 60} hour {minutes % 60} minutes on CPU" in said
    assert "at 4.0 images/s" in said and "at 16.0." in said


def test_a_warm_up_does_not_count_and_enough_is_enough(monkeypatch):
    clock = iter([0.0, 100.0, *(100.0 + 0.01 * number for number in range(1, 200))])
    monkeypatch.setattr("facesync.training.estimate.time.perf_counter", lambda: next(clock))
    calls = []

    def work(note) -> None:
        for number in range(200):
            calls.append(number)
            note()

    assert _timed(work) == pytest.approx(0.01)
    assert 3 <= len(calls) < 200


def test_an_estimate_is_of_one_process():
    settings = TrainSettings(data=Path("images"), estimate=True, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        two = nullcontext((Ranks(0, 2), torch.device("cpu")))
        patch.setattr("facesync.training.start.ranks", lambda device: two)
        with pytest.raises(UsageError, match="without torchrun"):
            training(settings)


def test_what_uses_the_group_of_processes_is_gone_when_that_ends(tmp_path, monkeypatch):
    """Else its threads outlive the group, and the process hangs or aborts now and then."""
    alive = []

    class Network:
        """Stands for a `DistributedDataParallel`."""

    def begin(*_: object) -> Network:
        alive.append(weakref.ref(network := Network()))
        return network

    @contextmanager
    def ranks(device):
        yield Ranks(), device
        gc.collect()
        alive.append(alive[0]())

    for name, stand_in in (
        ("ranks", ranks), ("_new_training", begin), ("train_epochs", lambda run: True)
    ):  # fmt: skip
        monkeypatch.setattr(f"facesync.training.start.{name}", stand_in)
    assert training(TrainSettings(data=tmp_path, output=tmp_path / "m", device="cpu"))
    assert alive[1:] == [None]
