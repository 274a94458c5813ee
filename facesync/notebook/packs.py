"""The pack to train on: on this machine, on Drive, from Kaggle, or the sample pack."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np

from facesync.data.kaggle_client import TOKEN_PAGE, find_credentials
from facesync.demo import make_pack
from facesync.errors import FileError, UsageError
from facesync.notebook.running import run

TOKEN = "KAGGLE_API_TOKEN"
SAMPLE, SAMPLE_COPIES = "sample", 15

_NO_SECRET = {
    "SecretNotFoundError": f"Colab has no secret called {TOKEN}",
    "NotebookAccessError": f"this notebook may not read the secret {TOKEN} (its switch "
    "'Notebook access' is off)",
    "TimeoutException": f"Colab did not answer when asked for the secret {TOKEN}",
}
"""What Colab's errors mean, by their names."""


def ready_pack(dataset: str, work: Path, drive: Path | None) -> Path:
    """Put a pack on this machine's disk and return its folder.

    Drive is slow at the many small reads of a training, so that it only keeps a copy, for the next
    session. Without a copy and without a token it is the sample pack.

    Args:
        dataset: `owner/name` on Kaggle.
        work: folder on this machine.
        drive: folder on Google Drive; None for none.

    Raises:
        FaceSyncError: it cannot be downloaded, or is damaged.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        raise UsageError(
            f"DATASET is {dataset!r}, not OWNER/NAME as in a dataset's address on kaggle.com, such "
            "as debarghamitraroy/casia-webface: correct it in the cell under Settings"
        )
    folder = work / "datasets" / dataset.split("/")[1]
    kept = drive / "datasets" / folder.name if drive else None
    if kept and kept.exists() and not folder.exists():
        _copy(kept, folder)
    if not folder.exists() and (missing := _why_no_token()):
        print(
            f"No dataset: {missing}. So everything below runs on the sample pack, two people on "
            f"varied copies of two photographs: it shows the way, but its model is of no use. For "
            f"{dataset}, create a token at {TOKEN_PAGE}, save it as the secret {TOKEN} (the key "
            "symbol on the left) with 'Notebook access' on, and run all cells again."
        )
        return _sample_pack(folder.with_name(SAMPLE))
    run("download_dataset.py", "--dataset", dataset, "--output", folder.parent)
    if kept and not kept.exists():
        try:
            _copy(folder, kept)
        except FileError as error:
            print(f"The next session has to download the dataset again: {error}")
    return folder


def _why_no_token() -> str:
    """Say why there is no token for Kaggle; "" if there is one, from Colab's secrets perhaps."""
    if find_credentials() is not None:
        return ""
    try:
        from google.colab import userdata
    except ImportError:
        return f"there is no token for Kaggle ({TOKEN} is not set)"
    try:
        token = userdata.get(TOKEN)
    except Exception as error:  # Colab's own, which only Colab has
        return _NO_SECRET.get(type(error).__name__, f"the secret {TOKEN} cannot be read: {error}")
    if not token:
        return f"the secret {TOKEN} is empty"
    os.environ[TOKEN] = token
    return ""


def _sample_pack(folder: Path) -> Path:
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        make_pack(part, np.random.default_rng(42), SAMPLE_COPIES)
        part.rename(folder)
    return folder


def _copy(source: Path, target: Path) -> None:
    """Copy a folder, whole or not at all.

    Raises:
        FileError: it cannot be copied.
    """
    part = target.with_name(f"{target.name}.part")
    print(f"Copying {source} to {target} ...", flush=True)
    try:
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        part.rename(target)
    except OSError as error:  # shutil.Error too, with a line for each file
        shutil.rmtree(part, ignore_errors=True)
        reason = error.strerror or "not every file could be copied"
        raise FileError(f"cannot copy {source} to {target}: {reason}") from error
