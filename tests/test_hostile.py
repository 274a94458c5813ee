"""Files that somebody has made to do harm, through the doors of the app: one line, at once."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from facesync.errors import DataError, FaceSyncError
from facesync.evaluation.protocols import read_bin
from facesync.gallery.on_files import FileGallery
from facesync.gallery.people import encode, now
from facesync.pickles import save_plain
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits memory by ulimit")
STORES = ["enc_fmt_arr", "format_huge", "pickle_deep_global", "pickle_laugh26_module"]


def limited(*arguments, megabytes=4000):
    """Run the app with an end to its memory and its time."""
    limits = f'ulimit -v {megabytes * 1000} -t 60; exec "$@"'
    command = [sys.executable, str(ROOT / "faceid_app.py"), "--offline", *map(str, arguments)]
    return subprocess.run(
        ["bash", "-c", limits, "-", *command], capture_output=True, text=True, cwd=ROOT
    )


@pytest.mark.parametrize("name", STORES)
def test_hostile_stores(shared, tmp_path, name):
    store = shared / "cases" / "hostile" / f"{name}.pkl"
    if not store.exists():
        pytest.skip("without the cases")
    done = limited("--embeddings", store, "--faces", tmp_path, "list", megabytes=1500)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert len(done.stderr) < 400


def test_a_hostile_model(shared):
    model, image = shared / "cases/hostile/tuples_300000.pth", shared / "cases/exif/good.jpg"
    if not model.exists():
        pytest.skip("without the cases")
    done = limited("--model", model, "compare", image, image)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"error: {model} was not opened")


def forged(**values):
    header = {"kind": "stored", "id": "0" * 16}
    encryption = {"cipher": "AES-256-GCM", "key": header}
    whole = {"format": 2, "encryption": encryption, "nonce": bytes(12), "data": b""}
    for name, value in values.items():
        for part in (whole, encryption, header):
            if name in part:
                part[name] = value
    return whole


@pytest.mark.parametrize("name", ["format", "encryption", "cipher", "key", "kind", "id", "nonce"])
@pytest.mark.parametrize("value", [np.arange(3), 10**70, {1: {}}, float("nan"), "x" * 10**6])
def test_odd_values_around_what_is_sealed(tmp_path, name, value):
    save_plain(forged(**{name: value}), tmp_path / "store.pkl")
    with pytest.raises(FaceSyncError) as caught:
        FileGallery(tmp_path / "store.pkl", tmp_path / "faces").people()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_times_that_no_clock_shows(tmp_path, time):
    save_plain({**encode([], now()), "created": time}, tmp_path / "store.pkl")
    with pytest.raises(FaceSyncError, match="impossible"):
        FileGallery(tmp_path / "store.pkl", tmp_path / "faces").people()


def test_an_image_that_stands_in_a_set_many_times_is_not_copied(tmp_path):
    image = np.zeros((1000, 1000), np.uint8, "F")
    (tmp_path / "x.bin").write_bytes(pickle.dumps(([image] * 20_000, [True] * 10_000)))
    pairs = read_bin(tmp_path / "x.bin")  # 20 GB, were they copies
    assert len(pairs.images) == 20_000 and pairs.images[7].read() == image.tobytes()
    (tmp_path / "x.bin").write_bytes(pickle.dumps(([np.zeros(3)] * 4, [True] * 2)))
    with pytest.raises(DataError, match="not a verification set"):
        read_bin(tmp_path / "x.bin")


def test_a_store_that_is_no_file_or_too_large(tmp_path):
    with open(tmp_path / "store.pkl", "wb") as file:
        file.truncate(20 << 30)  # of which the disk holds nothing
    for path in (tmp_path / "store.pkl", tmp_path):
        with pytest.raises(FaceSyncError, match=r"Is a directory|larger than"):
            FileGallery(path, tmp_path / "faces").people()
