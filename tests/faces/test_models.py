"""The models by name, in the order of their measured error, and the user's choice of one."""

import pytest

from facesync.errors import ModelError, UsageError
from facesync.faces import models
from facesync.faces.calibration import Calibration
from facesync.faces.models import EDGEFACE, EMBEDDED, KNOWN, VGGFACE2, VGGFACE2_PUBLISHED
from facesync.metrics.open_set import FPIRS


def test_a_row_of_the_card_is_chosen_by_images_enrolled_too(monkeypatch):
    rows = [{"enrolled": n, "fpir": f, "fnir": n * f} for n in (1, 2, 3) for f in FPIRS]
    monkeypatch.setattr(models.KnownModel, "card", lambda model: {"open_set": rows})
    assert EMBEDDED.fnir(1e-3) == 2e-3 and EMBEDDED.fnir(1e-2, enrolled=3) == 0.03
    assert EMBEDDED.fnir(1e-2, enrolled=4) is None


@pytest.mark.parametrize("name", [*KNOWN])
def test_the_thresholds_of_a_card_are_those_of_its_worst_group(name):
    found = Calibration.from_dict(KNOWN[name].card()["calibration"])
    groups = found.groups or {}
    counted = [group["threshold"] for group in groups.values() if group["counts"]]
    assert len(counted) > 10 and found.threshold(1e-3) == max(counted)
    assert found.threshold(1e-3) > groups["LFW"]["threshold"]
    children = {name for name, group in groups.items() if not group["counts"]}
    assert children == {name for name in groups if name.endswith(("0-3", "4-12"))}
    assert all(group["impostor_pairs"] >= 10_000 for group in groups.values())


def test_they_are_listed_from_the_best_to_the_worst_by_measured_error():
    errors = [model.fnir(0.01) for model in KNOWN.values()]
    assert len(errors) == 3 and errors == sorted(errors)
    # A share of owners is only comparable with others of the same people.
    assert len({model.card()["open_set_on"] for model in KNOWN.values()}) == 1


def test_the_registry_agrees_with_what_ships():
    assert EMBEDDED.path.stat().st_size == EMBEDDED.size
    for model in KNOWN.values():
        crop = models.CropSpec.from_dict(model.card()["calibration"]["crop"])
        assert crop == model.crop


def test_a_file_is_known_wherever_its_path_leads_there(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    VGGFACE2.path.parent.mkdir()
    VGGFACE2.path.touch()
    (tmp_path / "link.pt").symlink_to(VGGFACE2.path)
    assert models.known_at(tmp_path / "link.pt") is VGGFACE2_PUBLISHED
    assert models.known_at(tmp_path / "x.pt") is None


def test_a_choice_is_kept_until_it_is_left_to_the_app():
    assert models.chosen() is None
    models.choose("edgeface-xs")
    assert models.chosen() is EDGEFACE
    with pytest.raises(UsageError, match="no model x; there are edgeface-xs, vggface2, embedded"):
        models.choose("x")
    assert models.chosen() is EDGEFACE
    models.choose("auto")
    models.choose("auto")
    assert models.chosen() is None


@pytest.mark.parametrize("content", ["", "[]", '{"model": "x"}', '{"model": []}'])
def test_a_damaged_choice_is_an_error_not_another_model(content):
    models.choose("vggface2")
    models.choice_file().write_text(content)
    with pytest.raises(ModelError, match="names no model; choose one with `models use NAME`"):
        models.chosen()
