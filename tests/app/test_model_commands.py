"""`models`, `models fetch` and `models use`."""

import itertools
import json

import pytest

import faceid_app
from facesync.faces import downloads, weights
from facesync.faces.models import EMBEDDED, VGGFACE2
from facesync.metrics.open_set import FPIRS


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_the_models_are_listed_with_what_was_measured(capsys):
    assert faceid_app.main(["models"]) == 0
    text = capsys.readouterr().out
    assert "non-commercial research" in text
    for number, images in enumerate(("1 image", "2 images", "3 images"), 1):
        rates = [100 * (EMBEDDED.fnir(fpir, number) or 0) for fpir in FPIRS]
        said = f"refused: {rates[0]:.1f} % where 1 % of strangers pass, {rates[1]:.1f} % where"
        assert f"registered with {images} who are {said}" in text
    for group, rates in EMBEDDED.card()["calibration"]["groups"].items():
        assert f"{group} {100 * rates['fmr']:.2g} %" in " ".join(text.split())
    assert text.count("not here: `models fetch") == 2
    assert faceid_app.main(["models", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in shown["models"]] == ["edgeface-xs", "vggface2", "embedded"]
    for model in shown["models"]:
        assert model["here"] == (model["name"] == "embedded")
        assert model["origin"] and model["licence"] and model["bytes"] > 0 < model["cpu_ms"]
        rows = [(row["enrolled"], row["fpir"]) for row in model["open_set"]]
        assert rows == list(itertools.product((1, 2, 3), FPIRS))
        assert model["groups"]["LFW"]["fmr"] == pytest.approx(1e-3, rel=0.01)
    assert weights.BEST in shown["used"]


def test_a_model_is_fetched_by_name(monkeypatch, capsys):
    monkeypatch.setattr(downloads, "download", lambda model, check: fetched.append(model))
    fetched = []
    assert faceid_app.main(["models", "fetch", "vggface2"]) == 0
    assert fetched == [VGGFACE2] and str(VGGFACE2.path) in capsys.readouterr().out
    assert faceid_app.main(["models", "fetch", "vggface2", "--offline"]) == 1
    assert faceid_app.main(["models", "fetch", "x"]) == 2
    assert "there is no model x" in capsys.readouterr().err and len(fetched) == 1


def test_a_model_is_chosen_but_the_option_wins(capsys):
    assert faceid_app.main(["models", "use", "embedded"]) == 0
    assert "the embedded model, chosen with `models use`" in capsys.readouterr().out
    for option, used in (([], "the embedded model, chosen with"), (["--model", "x.pth"], "x.pth")):
        assert faceid_app.main(["models", "--json", *option]) == 0
        assert json.loads(capsys.readouterr().out)["used"].startswith(used)
    assert faceid_app.main(["models", "use", "x"]) == 2
