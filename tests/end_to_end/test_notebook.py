"""The notebook in a real kernel, without a network: as it is, and in a stand-in for Colab."""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from facesync.data.recordio import write_pack
from facesync.images import save_jpeg
from facesync.sample_images import HOPPER, photographs, vary
from facesync.training.checkpoint import load_checkpoint
from tests.conftest import ROOT
from tests.notebook import colab
from tests.training.stand_ins import posix

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

pytestmark = [posix, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

FIRST = 4
"""Code cells that need no package: settings, Drive, the project, the installation."""


STOPPED = re.compile("^(STOPPED|UsageError): ", re.MULTILINE)


def read():
    return nbformat.read(ROOT / "FaceID.ipynb", as_version=4)


def small_pack(folder, identities, each):
    def images():
        random = np.random.default_rng(0)
        for label in range(identities):
            tint = random.integers(40, 215, 3)
            for _ in range(each):
                noise = random.integers(-40, 40, (112, 112, 3))
                file = io.BytesIO()
                Image.fromarray(np.clip(tint + noise, 0, 255).astype(np.uint8)).save(file, "JPEG")
                yield label, file.getvalue()

    write_pack(folder, images())


class Kernel:
    """The notebook's code cells in one kernel."""

    def __init__(self, client):
        self.client = client
        self.cells = [cell for cell in client.nb.cells if cell.cell_type == "code"]

    def run(self, cell):
        """Run a cell: what it printed, the line that it ended with included; never a traceback."""
        try:
            self.client.execute_cell(cell, self.client.nb.cells.index(cell))
        except nbclient.exceptions.CellExecutionError:
            pass
        said = "".join(output.get("text", "") for output in cell.outputs)
        assert not any(output.output_type == "error" for output in cell.outputs), cell.outputs
        return said

    def run_until(self, text):
        """Run the cells up to the one that contains a text, which is returned; none may fail."""
        for cell in self.cells:
            if text in cell.source:
                return cell
            said = self.run(cell)
            assert not STOPPED.search(said), said
        raise AssertionError(f"no cell has {text}")

    def run_all(self):
        """Run every cell; none may fail."""
        said = ""
        for cell in self.cells:
            said += self.run(cell)
            assert not STOPPED.search(said), said
        return said

    def shown(self, kind):
        """Count the outputs of a kind, such as `image/png`."""
        return sum(kind in out.get("data", {}) for cell in self.cells for out in cell.outputs)

    def interrupt(self):
        """Press the button; the process group gets it, as from a notebook's server."""
        os.killpg(self.client.km.provisioner.pgid, signal.SIGINT)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Start the notebook in a kernel: `with kernel() as notebook`."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # nobody's token for Kaggle
    for name in ("TOKEN", "USERNAME", "KEY"):
        monkeypatch.delenv(f"KAGGLE_API_{name}", raising=False)
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.setenv("FACESYNC_WORK", str(tmp_path / "content"))
    monkeypatch.setenv("FACESYNC_WEIGHTS", "none")
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
    for name in ("content", "home"):
        (tmp_path / name).mkdir()

    @contextmanager
    def start(folder=ROOT, **settings):
        notebook = read()
        for name, value in settings.items():
            cell = next(cell for cell in notebook.cells if f"\n{name} = " in cell.source)
            lines = cell.source.splitlines()
            lines = [f"{name} = {value!r}" if x.startswith(f"{name} = ") else x for x in lines]
            cell.source = "\n".join(lines)
        client = nbclient.NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        )
        with client.setup_kernel():
            yield Kernel(client)

    return start


@pytest.fixture
def in_colab(tmp_path, monkeypatch):
    """What the notebook finds in Colab."""
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260801")
    path = [str(colab.write(tmp_path / "stubs")), *os.environ.get("PYTHONPATH", "").split(":")]
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, path)))
    return tmp_path / "content" / "drive" / "MyDrive" / "FaceSync"


def test_it_is_committed_without_outputs():
    for cell in read().cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_every_cell_is_short():
    lengths = {cell.id: len(cell.source.splitlines()) for cell in read().cells}
    assert max(lengths.values()) <= 45, lengths


@pytest.mark.slow
def test_without_a_dataset_everything_runs_on_the_sample_pack(
    kernel, shared, tmp_path, monkeypatch
):
    monkeypatch.setenv("FACESYNC_WEIGHTS", "vggface2")
    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
    with kernel() as notebook:
        said = notebook.run_all()
        assert notebook.shown("image/png") == 2
        assert notebook.shown("text/html") == 1
    assert "there is no token for Kaggle" in said
    assert "30 images of 2 identities" in said
    assert "This training would take about" in said
    assert "The training held nobody out" in said
    assert "A photograph of Grace Hopper: recognised as Grace Hopper" in said
    assert "A photograph of Eileen Collins: not recognised" in said
    assert "takes it only if you name it" in said
    assert not list((tmp_path / "content").rglob("*.jpg"))  # nothing is unpacked
    models = tmp_path / "content" / "models-sample"
    for name in ("best_face_model.pth", "label_map.pkl", "training_history.png"):
        assert (models / name).exists()
    rows = (models / "training_history.csv").read_text().strip().splitlines()
    assert len(rows) == 3  # a header, one epoch of training, one of continuing


@pytest.mark.slow
def test_colab_loses_the_session_in_the_first_epoch(kernel, in_colab, tmp_path, monkeypatch):
    small_pack(in_colab / "datasets" / "casia-webface", identities=20, each=5)
    random = np.random.default_rng(0)
    for number in range(5):
        save_jpeg(vary(photographs()[HOPPER], random), tmp_path / "camera" / f"{number}.jpg")
    monkeypatch.setenv("FAKE_CAMERA", str(tmp_path / "camera"))
    models = in_colab / "models-casia-webface"
    with kernel() as notebook:
        for cell in notebook.cells:
            cell.source = cell.source.replace('run(*TRAIN, "--estimate")', "pass")
        train = notebook.run_until("if_stopped=")

        def interrupt():
            while not (models / "checkpoints").is_dir():  # the first is being written
                time.sleep(0.1)
            notebook.interrupt()

        watching = threading.Thread(target=interrupt, daemon=True)
        watching.start()
        said = notebook.run(train)
        watching.join()
        assert "STOPPED: You stopped train_model.py. The cell under Resume" in said
        assert "Stopped after 0 of 1 epoch" in said
        # The next cells can use what there is.
        curves = next(cell for cell in notebook.cells if "training_history.png" in cell.source)
        assert "stopped in its first epoch" in notebook.run(curves)
        assert "final_face_model.pth" in notebook.run(notebook.cells[-1])

    shutil.rmtree(tmp_path / "content" / "datasets")  # the machine is lost, Drive is not
    with kernel() as notebook:
        said = notebook.run_all()
        assert notebook.shown("image/png") == 2
        assert notebook.shown("text/html") == 1
    assert "Copying" in said and "100 images of 20 identities" in said
    assert "Resuming from" in said
    assert ", 50 of unseen identities" in said
    assert "The calibration was written to" in said
    assert "Model: " in said and "Sample photographs instead" not in said
    assert "Registered You with" in said or "This trial did not come to an end" in said
    assert f"It is on your Drive: {models}" in said
    best = load_checkpoint(models / "best_face_model.pth")
    assert best.calibration["data"].startswith("pairs drawn from casia-webface")
    rows = (models / "training_history.csv").read_text().strip().splitlines()
    assert [row.split(",")[1] for row in rows] == ["run", "1", "2"]


# The first cells, whose failures no package explains


def failing(kernel, **settings):
    """Run the first cells until one fails: what it said."""
    with kernel(**settings) as notebook:
        for cell in notebook.cells[:FIRST]:
            said = notebook.run(cell)
            if STOPPED.search(said):
                return said
    raise AssertionError("none failed")


def test_a_cell_out_of_turn_says_so(kernel):
    with kernel() as notebook:
        begin = "from facesync.notebook.running import errors_in_one_line; errors_in_one_line()"
        later = notebook.cells[FIRST:]
        notebook.client.nb.cells.append(nbformat.v4.new_code_cell(begin))
        notebook.run(notebook.client.nb.cells[-1])
        for cell in later:
            said = notebook.run(cell)
            assert said.endswith("; run the cells above first (Runtime > Run before)\n"), said
            assert len(said.splitlines()) == 1


def test_a_missing_address_is_one_sentence(kernel, in_colab, tmp_path):
    said = failing(kernel, folder=tmp_path)
    assert "Type its address into REPOSITORY under Settings, such as https://" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("what", ["nothing", "another project"])
def test_a_wrong_address_is_one_sentence(kernel, in_colab, tmp_path, what):
    other = tmp_path / "other"
    if what == "another project":
        other.mkdir()
        me = ["-c", "user.name=a", "-c", "user.email=a@b"]
        for command in (["init"], [*me, "commit", "--allow-empty", "-m", "x"]):
            subprocess.run(["git", *command, "--quiet"], cwd=other, check=True)
    said = failing(kernel, folder=tmp_path, REPOSITORY=str(other))
    assert str(other) in said and "Correct REPOSITORY" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is not a clone")
def test_the_address_is_where_colab_opened_the_notebook(kernel, in_colab, tmp_path, monkeypatch):
    class Sessions(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            path = "fileId=https%3A%2F%2Fgithub.com%2Fsomebody%2Ffacesync%2Fblob%2Fmain%2FF.ipynb"
            self.wfile.write(json.dumps([{"path": path}]).encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Sessions)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("COLAB_JUPYTER_IP", "127.0.0.1")
    monkeypatch.setenv("KMP_TARGET_PORT", str(server.server_port))
    for name, value in (("COUNT", 1), ("KEY_0", f"url.{ROOT}.insteadOf"),
                        ("VALUE_0", "https://github.com/somebody/facesync")):  # fmt: skip
        monkeypatch.setenv(f"GIT_CONFIG_{name}", str(value))
    try:
        with kernel(folder=tmp_path) as notebook:
            for cell in notebook.cells[:3]:
                said = notebook.run(cell)
        assert str(tmp_path / "content" / "facesync-source") in said
        assert (tmp_path / "content" / "facesync-source" / "train_model.py").is_file()
    finally:
        server.shutdown()
        server.server_close()


def test_drive_that_is_refused_stops_before_anything_is_lost(kernel, in_colab, monkeypatch):
    monkeypatch.setenv("FAKE_DRIVE", "refused")
    said = failing(kernel)
    assert "Google Drive is not connected (mount failed)" in said and "untick USE_DRIVE" in said


def test_without_drive_the_model_is_downloaded(kernel, in_colab, tmp_path):
    with kernel(USE_DRIVE=False) as notebook:
        for cell in notebook.cells[:2]:
            said = notebook.run(cell)
        assert f"Everything is kept in {tmp_path / 'content'}" in said
        ready = nbformat.v4.new_code_cell("MODEL, taking_home = WORK / 'it.pth', str")
        notebook.client.nb.cells.append(ready)
        notebook.run(ready)
        assert f"downloaded {tmp_path / 'content' / 'it.pth'}" in notebook.run(notebook.cells[-1])
    assert not in_colab.exists()


def test_what_a_user_got_wrong_is_one_line(kernel):
    with kernel(DATASET="casia-webface") as notebook:
        said = notebook.run(notebook.run_until("ready_pack"))
    assert "STOPPED: DATASET is 'casia-webface', not OWNER/NAME" in said
