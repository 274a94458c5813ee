"""Trainings that are killed or stopped and then resumed: the result is the same, bit for bit."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

import continue_training
import train_model
from facesync.training import model
from tests.end_to_end.comparing import assert_same, content, differences, files
from tests.end_to_end.tiny import Server
from tests.training.stand_ins import DEVICE, TinyNetwork, draw_identity, posix

pytestmark = [pytest.mark.slow, posix]

KILLED = -9
EPOCHS = 3
STEPS = 4 * EPOCHS  # 4 classes of 8 images: 26 to train on, 7 batches, two of them a step

EVERYTHING = (
    *("--weights", "none", "--device", DEVICE, "--epochs", EPOCHS, "--batch-size", 4),
    *("--select", "val_accuracy", "--precision", "fp32"),
    *("--accumulate", 2, "--loss", "cosface", "--scale", 16, "--augment", "strong", "--imprint"),
    *("--lr", 0.01, "--backbone-lr", 0.005, "--schedule", "cosine", "--warmup-steps", 3),
    *("--weight-decay", 0.01, "--ema", 0.8, "--clip-norm", 1, "--dropout", 0.3),
    *("--holdout-identities", "30%", "--label-smoothing", 0.1, "--save-every", 3, "--keep", 2),
)
PLAIN = (
    *("--weights", "none", "--preset", "paper", "--device", DEVICE, "--epochs", 3),
    *("--batch-size", 4, "--lr", 0.01, "--save-every", 2, "--keep", 3, "--precision", "fp32"),
)
FURTHER = (
    *("--device", DEVICE, "--epochs", 3, "--batch-size", 4, "--lr", 0.01, "--lr-patience", 0),
    *("--accumulate", 2, "--save-every", 3, "--keep", 2, "--clip-norm", 1, "--ema", 0.8),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Folder of 6 identities with 8 images each."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        draw_identity(folder / str(number), number, 8)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a script in a process of its own: exit code, output and errors."""
    server = Server(tmp_path_factory.mktemp("said"))
    yield server.run
    server.close()


@pytest.fixture
def train(run, images):
    """Train in a process of its own: exit code, output and errors."""

    def start(output: Path, *more: object, options=EVERYTHING, **others):
        given = ("--data", images, "--output", output, *options)
        return run("train_model", *given, *more, **others)

    return start


@pytest.fixture(scope="module")
def reference(run, images, tmp_path_factory):
    """Return the folder of an undisturbed training, by its options."""
    made: dict[tuple, Path] = {}

    def get(options=EVERYTHING) -> Path:
        if options not in made:
            made[options] = tmp_path_factory.mktemp("reference") / "m"
            given = ("--data", images, "--output", made[options], *options)
            code, _, err = run("train_model", *given, "--workers", 0)
            assert code == 0, err
        return made[options]

    return get


@pytest.fixture
def here(images, monkeypatch, capsys):
    """Run `train_model.py` in this process: exit code, output and errors."""
    monkeypatch.setattr(model, "new_network", TinyNetwork)

    def start(output: Path, *more: object, script=train_model, options=PLAIN):
        given = ("--data", images, "--output", output, "--workers", 0, *options, *more)
        try:
            code = script.main([str(each) for each in given])
        except SystemExit as end:
            code = end.code
        caught = capsys.readouterr()
        return code, caught.out, caught.err

    return start


def one_line(err: str) -> str:
    """Return the one line of an error, which is the last."""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in err and err.rstrip().endswith(lines[0]), err
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


# Killed


def killed_at() -> list[tuple[int, ...]]:
    """Ten places: the first step, the last, eight between; one of them is killed twice."""
    drawn = sorted(random.Random(10).sample(range(2, STEPS), 8))
    places: list[tuple[int, ...]] = [(1,), *((step,) for step in drawn), (STEPS,)]
    places[3] = (*places[4], 3)
    return places


def test_the_reference_is_of_all_these_steps(reference):
    state = content(reference() / "checkpoints" / f"batch-{7 * EPOCHS:08d}.pth")
    assert state["run"]["step"] == STEPS and state["run"]["average"]
    assert state["loss"] == "cosface" and state["split"]["holdout_identities"] == 0.3


@pytest.mark.parametrize("steps", killed_at(), ids=lambda steps: "-".join(map(str, steps)))
def test_killed_at_a_step(reference, train, tmp_path, steps):
    workers = 2 * (steps[0] % 2)
    for step in steps:
        more = ("--resume", "--workers", workers)
        assert train(tmp_path / "m", *more, trap=f"step {step}")[0] == KILLED
    code, _, err = train(tmp_path / "m", "--resume", "--workers", workers)
    assert code == 0, err
    assert "Resuming from" in err or steps == (1,)
    assert_same(tmp_path / "m", reference())


@pytest.mark.parametrize(
    "trap",
    ["validation 2", "unseen 1", "unseen 2", "batchnorm 3"]
    + [f"rename {number}" for number in (1, 6, 15)]
    + ["flush 19", "remove 12"],
)
def test_killed_while_measuring_or_writing(reference, train, tmp_path, trap):
    assert train(tmp_path / "m", "--workers", 0, trap=trap)[0] == KILLED
    code, _, err = train(tmp_path / "m", "--workers", 0, "--resume")
    assert code == 0, err
    assert_same(tmp_path / "m", reference())


# Stopped


@pytest.mark.parametrize(
    "trap",
    ["stop 1", "stop 6", f"stop {STEPS}", "stop_validation 2", "stop_batchnorm 2"],
)
def test_stopped_by_ctrl_c(reference, train, tmp_path, trap):
    workers = 2 if trap == "stop 6" else 0
    code, out, err = train(tmp_path / "m", "--workers", workers, trap=trap)
    assert code == 130, err
    assert "Traceback" not in err and "Stopping after this batch" in err
    assert "with --resume" in out
    code, _, err = train(tmp_path / "m", "--workers", workers, "--resume")
    assert code == 0, err
    assert_same(tmp_path / "m", reference())


def test_stopped_while_the_trained_model_itself_gets_new_averages(reference, train, tmp_path):
    code, _, err = train(tmp_path / "m", "--workers", 0, options=PLAIN, trap="stop_batchnorm 2")
    assert code == 130, err
    code, _, err = train(tmp_path / "m", "--workers", 0, "--resume", options=PLAIN)
    assert code == 0, err
    assert_same(tmp_path / "m", reference(PLAIN))


# In a short format


@pytest.mark.parametrize("trap", ["step 9", "stop 13"])
def test_bf16_resumes_as_exactly(reference, train, tmp_path, trap):
    options = (*PLAIN, "--precision", "bf16")
    train(tmp_path / "m", "--workers", 0, options=options, trap=trap)
    code, _, err = train(tmp_path / "m", "--workers", 0, "--resume", options=options)
    assert code == 0 and "Resuming from" in err, err
    assert_same(tmp_path / "m", reference(options))
    losses = content(reference(options) / "training_history.pkl")["train_loss"]
    assert losses != content(reference(PLAIN) / "training_history.pkl")["train_loss"]


# continue_training.py


@pytest.fixture(scope="module")
def further(run, reference, images, tmp_path_factory) -> Path:
    """Folder of a model that was trained, then continued, undisturbed."""
    folder = tmp_path_factory.mktemp("further") / "m"
    shutil.copytree(reference(), folder)
    model = folder / "final_face_model.pth"
    given = ("--model", model, "--data", images, *FURTHER, "--workers", 0)
    code, _, err = run("continue_training", *given)
    assert code == 0, err
    assert content(folder / "training_history.pkl")["run"] == [1] * EPOCHS + [2] * 3
    return folder


@pytest.mark.parametrize(
    "trap", ["step 1", "step 7", "step 12", "stop 5", "validation 2", "rename 1", "rename 2"]
)
def test_continuing_is_resumed(run, further, reference, images, tmp_path, trap):
    shutil.copytree(reference(), tmp_path / "m")
    model = tmp_path / "m" / "final_face_model.pth"
    given = ("--model", model, "--data", images, *FURTHER, "--resume", "--workers", 0)
    code, _, err = run("continue_training", *given, trap=trap)
    assert code == (130 if trap == "stop 5" else KILLED), err
    code, _, err = run("continue_training", *given)
    assert code == 0, err
    assert_same(tmp_path / "m", further)


# What --resume says and refuses; in this process, for speed


@pytest.fixture
def under_way(reference, train, tmp_path_factory) -> Path:
    """Folder of a run that was killed."""
    folder = tmp_path_factory.mktemp("under_way") / "m"
    assert train(folder, "--workers", 0, options=PLAIN, trap="step 12")[0] == KILLED
    return folder


def test_other_settings_are_one_line_that_names_the_option(under_way, here):
    before = contents(under_way)
    for more in (
        ("--epochs", 5), ("--batch-size", 8), ("--lr", 0.02), ("--backbone-lr", 0.02),
        ("--accumulate", 2), ("--loss", "arcface"), ("--margin", 0.3), ("--seed", 7),
        ("--augment", "strong"), ("--ema", 0.9), ("--freeze-batchnorm",), ("--precision", "bf16"),
        ("--holdout-identities", "30%"), ("--dropout", 0), ("--min-images", 2),
        ("--sync-batchnorm",),
    ):  # fmt: skip
        code, _, err = here(under_way, "--resume", *more)
        assert code == 2 and more[0] in one_line(err), (more, err)
    assert contents(under_way) == before


def test_other_data_is_one_line(under_way, here, tmp_path):
    before = contents(under_way)
    for number in range(6):
        draw_identity(tmp_path / "other" / str(number), number, 9)
    code, _, err = here(under_way, "--resume", "--data", tmp_path / "other")
    assert code == 1 and "54 now" in one_line(err)
    assert contents(under_way) == before


def test_what_the_machine_does_may_change(under_way, reference, train):
    more = ("--resume", "--workers", 1, "--device", "auto", "--keep", 2, "--save-every", 5)
    code, _, err = train(under_way, *more, options=PLAIN)
    assert code == 0, err
    mine, theirs = (
        content(folder / "final_face_model.pth") for folder in (under_way, reference(PLAIN))
    )
    assert not list(differences(mine, theirs))
    assert len(list((under_way / "checkpoints").iterdir())) == 2


def test_what_was_left_to_the_script_stays_as_it_was_decided(
    here, train, reference, tmp_path, monkeypatch
):
    same = (
        *("--epochs", 3, "--weights", "none", "--preset", "paper", "--device", DEVICE),
        *("--loss", "cosface", "--save-every", 1),
    )
    options = (*same, "--batch-size", 6, "--margin", 0.2, "--backbone-lr", 0.001)
    assert train(tmp_path / "m", "--workers", 0, options=options, trap="step 3")[0] == KILLED
    # Neither tried again nor refused for the CPU.
    monkeypatch.setattr("facesync.training.start.largest_batch", None)
    more = ("--resume", "--batch-size", "auto")
    code, _, err = here(tmp_path / "m", *more, options=same)
    assert code == 0 and "Resuming from" in err, err
    assert_same(tmp_path / "m", reference(options))


def test_a_run_that_is_not_there_is_started(here, reference, tmp_path):
    code, _, err = here(tmp_path / "m", "--resume")
    assert code == 0 and "no run to resume; starting a new one" in err
    assert_same(tmp_path / "m", reference(PLAIN))


def test_a_finished_run_says_so_and_changes_nothing(here, reference, tmp_path):
    shutil.copytree(reference(PLAIN), tmp_path / "m")
    before = contents(tmp_path / "m")
    code, out, err = here(tmp_path / "m", "--resume")
    assert code == 0 and "3 epochs" in err and "Best model" in out
    assert contents(tmp_path / "m") == before


@pytest.mark.parametrize("damage", ["half", "empty", "text"])
def test_a_damaged_checkpoint_is_one_line(under_way, here, damage):
    newest = max((under_way / "checkpoints").iterdir())
    whole = newest.read_bytes()
    newest.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "text": b"no"}[damage])
    before = contents(under_way)
    code, _, err = here(under_way, "--resume")
    assert code == 1 and newest.name in one_line(err)
    assert contents(under_way) == before
    newest.unlink()  # the ones before it are kept for that
    assert here(under_way, "--resume")[0] == 0


@pytest.mark.parametrize("keep", [1, 3])
def test_so_many_checkpoints_are_kept(here, tmp_path, keep):
    assert here(tmp_path / "m", "--keep", keep)[0] == 0
    assert len(list((tmp_path / "m" / "checkpoints").iterdir())) == keep


def test_a_run_under_way_is_not_replaced_unasked(under_way, here):
    before = contents(under_way)
    for name in ("best_face_model.pth", "final_face_model.pth"):
        (under_way / name).unlink(missing_ok=True)
        before.pop(name, None)
    code, _, err = here(under_way)
    assert code == 1 and "--resume" in one_line(err)
    assert contents(under_way) == before


def test_continuing_into_a_folder_with_a_run_under_way_is_refused(under_way, reference, here):
    model = reference(PLAIN) / "final_face_model.pth"
    before = contents(under_way)
    code, _, err = here(under_way, "--model", model, script=continue_training, options=())
    assert code == 1
    one_line(err)
    assert contents(under_way) == before
