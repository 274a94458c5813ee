"""The notebook runs from its first to its last cell on a small pack, without a network."""

import io
import os
import sys

import numpy as np
import pytest

from facesync.data.recordio import write_pack
from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")


def _images(identities, each):
    from PIL import Image

    random = np.random.default_rng(0)
    for label in range(identities):
        tint = random.integers(40, 215, 3)
        for _ in range(each):
            noise = random.integers(-40, 40, (112, 112, 3))
            file = io.BytesIO()
            Image.fromarray(np.clip(tint + noise, 0, 255).astype(np.uint8)).save(file, "JPEG")
            yield label, file.getvalue()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook_runs_on_a_small_pack(tmp_path, monkeypatch):
    write_pack(tmp_path / "datasets" / "casia-webface", _images(identities=3, each=6))
    monkeypatch.setenv("FACESYNC_WORK", str(tmp_path))
    monkeypatch.setenv("FACESYNC_WEIGHTS", "none")
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
    notebook = nbformat.read(ROOT / "FaceID.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()

    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "18 images of 3 identities" in printed
    for name in ("best_face_model.pth", "label_map.pkl", "training_history.png"):
        assert (tmp_path / "models" / name).exists()
    rows = (tmp_path / "models" / "training_history.csv").read_text().strip().splitlines()
    assert len(rows) == 3  # a header, one epoch of training, one of continuing
    images = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(images) == 2


def test_notebook_is_committed_without_outputs():
    for cell in nbformat.read(ROOT / "FaceID.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
