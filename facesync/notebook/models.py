"""How far a training has come, and which model it has left."""

from __future__ import annotations

from pathlib import Path

from facesync.cli import count
from facesync.errors import ModelError
from facesync.faces.trust import of_file
from facesync.training.checkpoint import BEST_NAME, FINAL_NAME, load_checkpoint
from facesync.training.history import HISTORY_NAME, load_history

CALIBRATE = ("--calibrate", "0.001")


def finished(models: Path, run: int, epochs: int) -> bool:
    """Tell whether a run has its epochs, and say so: 1 is the training, 2 the continuing."""
    history = models / HISTORY_NAME
    done = load_history(history).column("run").count(run) if history.exists() else 0
    if done < epochs:
        return False
    print(f"This is done: {models} has {count(epochs, 'epoch', 'epochs')} of it.")
    return True


def model_in(models: Path) -> Path:
    """Return the best model in a folder, else what an interrupted training has left.

    Raises:
        ModelError: there is none.
    """
    best, final = models / BEST_NAME, models / FINAL_NAME
    if best.exists():
        return best
    if not final.exists():
        raise ModelError("There is no model yet: run the cells under Train first")
    print(
        f"The training was stopped in its first epoch. {final.name} is the model as it was then; "
        "the training has not measured it. The cell under Resume goes on with the training."
    )
    return final


def on_whom(model: Path) -> tuple[str, ...]:
    """Return the options of `evaluate_model.py` for the people a model is evaluated on."""
    split = load_checkpoint(model).split
    if split and split.get("holdout_identities"):
        return ("--held-out", *CALIBRATE)
    print(
        "The training held nobody out (that takes 20 people), so these are people whom the model "
        "knows: the figures show what a report looks like, not how good the model is, and the "
        "model keeps the calibration of its training."
    )
    return ()


def taking_home(model: Path) -> str:
    """Say where to put a model, and whether the app will take it."""
    trust = of_file(model)
    takes = "takes it unasked" if trust.trusted else "takes it only if you name it with --model"
    return (
        f"{model.name}, {model.stat().st_size / 1e6:.0f} MB: put it at models/{BEST_NAME} beside "
        f"faceid_app.py on your computer, then run python faceid_app.py. The app {takes}: "
        f"{trust.why}."
    )
