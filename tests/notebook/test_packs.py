"""Which pack the notebook trains on, and what it says of it."""

from __future__ import annotations

import os
import shutil

import pytest

from facesync.data.recordio import write_pack
from facesync.errors import FileError, UsageError
from facesync.notebook import packs
from tests.data.packs import images
from tests.notebook import colab

DATASET = "somebody/casia"


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    """No token for Kaggle anywhere, and scripts that only say that they were run."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    for name in ("API_TOKEN", "USERNAME", "KEY", "CONFIG_DIR"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.setattr(packs, "run", lambda *words: print(*words))
    monkeypatch.setattr(packs, "make_pack", lambda folder, *_: write_pack(folder, images(2, 3)))


def ready(tmp_path, drive=None):
    return packs.ready_pack(DATASET, tmp_path / "work", drive)


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("SecretNotFoundError", "Colab has no secret called KAGGLE_API_TOKEN"),
        ("NotebookAccessError", "this notebook may not read the secret"),
        ("TimeoutException", "Colab did not answer"),
        ("", "the secret KAGGLE_API_TOKEN is empty"),
    ],
)
def test_without_a_token_it_is_the_sample_pack(tmp_path, monkeypatch, capsys, secret, said):
    colab.install(monkeypatch)
    monkeypatch.setenv("FAKE_SECRET", secret)
    folder = ready(tmp_path)
    assert folder == tmp_path / "work" / "datasets" / "sample" and (folder / "train.rec").is_file()
    printed = capsys.readouterr().out
    assert f"No dataset: {said}" in printed and "sample pack" in printed
    assert len(printed.splitlines()) == 1
    assert ready(tmp_path) == folder  # it is not made again


def test_outside_colab_it_names_the_variable(tmp_path, capsys):
    ready(tmp_path)
    assert "(KAGGLE_API_TOKEN is not set)" in capsys.readouterr().out


def test_a_secret_is_used(tmp_path, monkeypatch, capsys):
    colab.install(monkeypatch)
    monkeypatch.setenv("FAKE_SECRET", "KGAT_1")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")  # so that it is as it was after the test
    assert ready(tmp_path) == tmp_path / "work" / "datasets" / "casia"
    assert os.environ["KAGGLE_API_TOKEN"] == "KGAT_1"
    printed = capsys.readouterr().out
    assert "download_dataset.py --dataset somebody/casia" in printed and "KGAT_1" not in printed


def test_drive_keeps_a_copy_for_the_next_session(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_1")
    drive, here = tmp_path / "drive", tmp_path / "work" / "datasets" / "casia"
    monkeypatch.setattr(packs, "run", lambda *words: write_pack(here, images(2, 3)))
    ready(tmp_path, drive)
    kept = drive / "datasets" / "casia"
    assert (kept / "train.rec").read_bytes() == (here / "train.rec").read_bytes()

    monkeypatch.delenv("KAGGLE_API_TOKEN")
    shutil.rmtree(tmp_path / "work")
    monkeypatch.setattr(packs, "run", lambda *words: print(*words))
    assert ready(tmp_path, drive) == here
    assert (here / "train.rec").read_bytes() == (kept / "train.rec").read_bytes()
    assert "download_dataset.py" in capsys.readouterr().out  # which verifies what is there


def test_half_a_copy_does_not_count(tmp_path, monkeypatch, capsys):
    def half(source, target):
        target.mkdir(parents=True)
        (target / "train.rec").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    drive, here = tmp_path / "drive", tmp_path / "work" / "datasets" / "casia"
    write_pack(here, images(2, 3))
    monkeypatch.setattr(shutil, "copytree", half)
    assert ready(tmp_path, drive) == here
    assert "has to download the dataset again" in capsys.readouterr().out
    assert not any((drive / "datasets").iterdir())
    here.rename(drive / "datasets" / "casia")
    with pytest.raises(FileError, match="No space left"):
        ready(tmp_path, drive)
    assert not any((tmp_path / "work" / "datasets").iterdir())


@pytest.mark.parametrize("dataset", ["casia", "", "a/b/c", "https://kaggle.com/a/b", "a/../b"])
def test_a_dataset_is_owner_and_name(tmp_path, dataset):
    with pytest.raises(UsageError, match="not OWNER/NAME"):
        packs.ready_pack(dataset, tmp_path, None)
