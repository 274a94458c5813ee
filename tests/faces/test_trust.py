"""A model that is worse than its start, or that nobody measured, is not trusted."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facesync.errors import ModelError
from facesync.faces import torch_files, trust
from facesync.faces.models import KNOWN, VGGFACE2
from facesync.faces.trust import Trust
from tests.faces.stand_ins import write_embedded

PATH = Path("x.pth")
FIGURES = {
    "identities": 12, "images": 60, "far": 0.001, "tar": 0.85, "start": 0.84,
    "weights": f"{VGGFACE2.title} (x.pt)",
}  # fmt: skip


@pytest.mark.parametrize(
    "changed, trusted, why",
    [
        (
            {},
            True,
            "by its own figures not worse than what it started from (TAR at FAR 0.001 on 12",
        ),
        ({"tar": 0.84}, True, "not trained on: 0.840, the VGGFace2 weights: 0.840)"),
        ({"tar": 0.08}, False, "trained on: 0.080, the VGGFace2"),
        ({"tar": 0.83}, False, "worse than what it started from"),
        ({"tar": 0.83, "high": 0.02}, True, "figures not clearly worse than"),
        ({"tar": 0.08, "high": -0.6}, False, "it is worse"),
        ({"tar": 0.0, "low": -1.0, "high": 1.0}, False, "it is worse"),  # the interval says nothing
        ({"identities": 9}, False, "only 9 people"),
        ({"weights": "random weights"}, False, "nobody measured what it started from"),
        ({"weights": "models/old.pth"}, False, "nobody measured what it started from"),
        ({"weights": f"{VGGFACE2.title} 2"}, False, "nobody measured what it started from"),
        ({"weights": f"{VGGFACE2.title}\x1b[1A\nAda"}, False, f"{VGGFACE2.title}[1A Ada"),
    ],
)
def test_not_worse_than_a_known_model_on_enough_people(changed, trusted, why):
    found = trust.judged({**FIGURES, **changed}, PATH)
    assert found.trusted is trusted and why in found.why and "\x1b" not in found.why


@pytest.mark.parametrize(
    "spoil",
    [
        *({name: None} for name in FIGURES),
        *({name: True} for name in FIGURES),
        *({name: "0.9"} for name in FIGURES if name != "weights"),
        *({name: math.nan} for name in FIGURES),
        *({name: math.inf} for name in (*FIGURES, "high")),
        {"tar": 1.01}, {"start": -0.1}, {"identities": 12.0}, {"identities": -12},
        {"identities": 10**5000}, {"images": 10**5000}, {"high": math.nan},
        {"high": None}, {"high": True}, {"tar": np.ones(())}, {"far": 0.0}, {"far": 0.5},
        {"images": 11},
    ],
)  # fmt: skip
def test_damaged_figures_are_no_figures(spoil, tmp_path):
    figures = {**FIGURES, **spoil}
    with pytest.raises(
        ModelError,
        match=r"^x\.pth is damaged: its figures for people it was not trained on make no sense",
    ):
        trust.judged(figures, PATH)
    torch = pytest.importorskip("torch")
    torch.save({"model_state_dict": {}, trust.ENTRY: figures}, tmp_path / "x.pth")
    assert not trust.of_file(tmp_path / "x.pth").trusted


@pytest.mark.parametrize("figures", [[], "good", 0, {}, {"tar": 1.0, "start": 0.0}])
def test_something_else_is_no_figures(figures):
    with pytest.raises(ModelError, match=r"^x\.pth is damaged"):
        trust.judged(figures, PATH)


def test_a_known_model_is_trusted_for_what_its_card_says(monkeypatch):
    for model in KNOWN.values():
        assert trust.of_known(model) == Trust(True, f"measured on {model.card()['open_set_on']}")
    monkeypatch.setattr("facesync.faces.models.ASSETS", VGGFACE2.path.parent / "nothing")
    assert trust.of_known(VGGFACE2) == trust.UNMEASURED


@pytest.mark.parametrize("zipped", [True, False])
def test_of_a_checkpoint_only_the_figures_are_read(tmp_path, monkeypatch, zipped):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    weights = {"weight": torch.ones(3)}
    monkeypatch.setattr(torch_files._Content, "_array", None)
    options = {"_use_new_zipfile_serialization": zipped}
    torch.save({"model_state_dict": weights, trust.ENTRY: FIGURES}, path, **options)
    assert trust.of_file(path).trusted
    for without in ({"model_state_dict": weights}, weights, [1]):
        torch.save(without, path, **options)
        assert trust.of_file(path) == trust.UNMEASURED


def test_a_file_that_cannot_be_read_is_not_trusted(tmp_path):
    path = tmp_path / "x.pth"
    assert trust.of_file(path) == Trust(False, f"cannot read {path}: No such file or directory")
    path.write_bytes(b"PK\3\4 cut off")
    assert trust.of_file(path) == Trust(False, f"{path} is not a checkpoint or is damaged")


def test_an_onnx_file_has_them_beside_it(tmp_path):
    for figures, trusted in ((FIGURES, True), ({**FIGURES, "tar": 0.1}, False), (None, False)):
        path = write_embedded(tmp_path, unseen=figures)
        assert trust.of_file(path).trusted is trusted
    description = path.with_suffix(".json")
    description.write_text(json.dumps({**json.loads(description.read_text()), "sha256": "x"}))
    assert "damaged" in trust.of_file(path).why


def test_torch_is_not_imported(tmp_path):
    code = "import sys; from pathlib import Path; from facesync.faces import trust; "
    code += "print(trust.of_file(Path(sys.argv[1])).trusted, 'torch' in sys.modules)"
    pytest.importorskip("torch").save({trust.ENTRY: FIGURES}, tmp_path / "x.pth")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.pth")], capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "False"], done.stderr
