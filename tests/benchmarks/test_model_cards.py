"""What the cards are measured on: groups of people, each person once; and what they say."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import group_faces, model_cards, rates_in_use
from benchmarks.group_faces import INFANTS, embed_faces, group_of, read_faces, repeated
from facesync.faces.calibration import Calibration
from facesync.faces.models import KNOWN
from facesync.metrics.open_set import Searches


@pytest.mark.parametrize(
    ("row", "group"),
    [
        (("utkface", "12", "asian"), "UTKFace, 4-12"),
        (("utkface", "20", "asian"), "UTKFace, asian, 20-59"),
        (("utkface", "60", "white"), "UTKFace, 60+"),
        (("all_age_faces", "19", "east_asian"), "All-Age-Faces, 13-19"),
        (("all_age_faces", "59", "east_asian"), "All-Age-Faces, 20-59"),
        (("all_age_faces", "3", "east_asian"), INFANTS),
        (("scut_fbp5500", "", ""), "SCUT-FBP5500"),
        (("utkface", "", ""), None),
        (("dfdc_real", "", ""), None),
    ],
)
def test_a_row_belongs_to_a_group(row, group):
    assert group_of(*row) == group


def test_no_group_has_a_face_that_is_listed_as_repeated(shared):
    faces = read_faces(shared / "data")
    listed = group_faces.REPEATED.read_text().split()
    names = {face.name for face in faces}
    assert len(listed) == len(set(listed)) > 400 and names.issuperset(listed)
    kept = [face.name for of_one in group_faces.one_of_each(faces).values() for face in of_one]
    assert len(kept) == len(faces) - len(listed) and not set(kept) & set(listed)


def test_an_image_repeats_a_person_if_both_models_find_so(shared, model, tmp_path, monkeypatch):
    faces = [face for face in read_faces(shared / "data") if face.group == "MEBeauty"][:40]
    vectors = np.eye(40, 512, dtype=np.float32)
    vectors[7] = vectors[3] * 0.8 + vectors[7] * 0.6
    vectors[9] = vectors[4] * 0.8 + vectors[9] * 0.6
    disagrees = np.eye(40, 512, dtype=np.float32)
    disagrees[9] = vectors[9]
    seen = {face.name: n for n, face in enumerate(faces)}

    def given(name, members, cache):
        rows = vectors if name == "edgeface-xs" else disagrees
        return rows[[seen[face.name] for face in members]]

    monkeypatch.setattr(group_faces, "load_face_model", lambda name, offline: name)
    monkeypatch.setattr(group_faces, "embed_faces", given)
    assert repeated(faces, tmp_path) == [faces[9].name]


def test_faces_are_embedded_once(shared, model, tmp_path):
    faces = read_faces(shared / "data")[:3]
    found = embed_faces(model, faces, tmp_path)
    assert found.shape == (3, 512)
    for face in faces:
        object.__setattr__(face, "face", None)  # could not be cut again
    np.testing.assert_array_equal(embed_faces(model, faces, tmp_path), found)


def test_the_tables_say_what_the_cards_hold(capsys):
    assert model_cards.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    card = KNOWN["edgeface-xs"].card()
    for group, rates in card["calibration"]["groups"].items():
        row = next(line for line in lines if line.startswith(f"| {group} |"))
        assert row.split(" | ")[1] == model_cards.percent(rates["fmr"])
    assert any(line.startswith("| 3 images each, 0.1 % of strangers") for line in lines)
    assert {line.count("|") for line in lines if line} == {len(KNOWN) + 2}


def test_a_rate_in_use_is_that_of_the_cards_threshold():
    calibration = Calibration.from_dict(KNOWN["edgeface-xs"].card()["calibration"])
    needed = calibration.threshold(0.1, 20)
    scores = np.array([needed - 0.01, needed, needed + 0.01, 0.9])
    found = Searches(20, scores, np.array([True, True, True, False]), scores - 0.005)
    said = "50.0 / 50.00"
    assert rates_in_use.cell([found, found], calibration, 0.1) == f"{needed:.3f}: {said}, {said}"
    assert "*: " in rates_in_use.cell([found], calibration, 1e-4)
    endless = replace(calibration, tail_shape=0.0)
    assert rates_in_use.cell([found], endless, 1e-300) == "no similarity is high enough"


def test_a_row_of_a_card_is_what_its_cell_says():
    calibration = Calibration.from_dict(KNOWN["edgeface-xs"].card()["calibration"])
    needed = calibration.threshold(0.1, 20)
    scores = np.array([needed - 0.01, needed, needed + 0.01, 0.9])
    found = Searches(20, scores, np.array([True, True, True, False]), scores - 0.005)
    rates = {"fmr": 0.1, "people": 20, "fnir": 0.5, "fpir": 0.5}
    assert rates_in_use.row(found, calibration, 0.1) == rates
    endless = replace(calibration, tail_shape=0.0)
    assert rates_in_use.row(found, endless, 1e-300)["fnir"] is None
