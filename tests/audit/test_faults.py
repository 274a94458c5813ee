from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facesync.audit import findings as kinds
from facesync.audit.faults import Scale, find_faults
from facesync.data.datasets import FaceDataset
from facesync.evaluation.embeddings import Embedded, Embedder
from facesync.evaluation.images import DatasetImages
from tests.evaluation.drawn_people import (
    DrawnDetector,
    DrawnModel,
    faceless,
    fill,
    jpeg,
    people,
    person_pixels,
    photograph,
)


def embed(dataset: FaceDataset, cache: Path) -> Embedded:
    return Embedder(DrawnModel(), None, cache).embed(DatasetImages(dataset))


@pytest.fixture
def look(tmp_path):
    """Audit files on top of a faultless dataset of 8 people with 6 images each."""

    def audit(files: dict[str, bytes], detector: DrawnDetector | None = None):
        folder = fill(tmp_path / "set", people(8, 6) | files)
        dataset = FaceDataset(folder, min_images=1)
        embedded = embed(dataset, tmp_path / "cache")
        found = find_faults(dataset, embedded, detector or DrawnDetector())
        assert len({f.image for f in found}) == len(found)
        return {dataset.names[f.image]: f for f in found}, dataset

    return audit


def kinds_of(found) -> dict[str, tuple[str, str]]:
    return {name: (f.kind, f.other) for name, f in found.items()}


def test_a_faultless_dataset(look):
    detector = DrawnDetector()
    assert look({}, detector)[0] == {}
    assert detector.asked == 0


def test_exact_copies_leave_the_first_or_the_one_in_its_place(look):
    copies = {
        "p1/9.jpg": photograph(1, 3),
        "p1/10.jpg": photograph(1, 3),
        "p2/9.jpg": photograph(5, 4),
        "p7/9.jpg": photograph(6, 4),
    }
    found, dataset = look(copies)
    assert kinds_of(found) == {
        "p1/9": (kinds.EXACT_COPY, "p1/3"),
        "p1/10": (kinds.EXACT_COPY, "p1/3"),
        "p2/9": (kinds.EXACT_COPY, "p5/4"),
        "p7/9": (kinds.EXACT_COPY, "p6/4"),
    }
    assert found["p2/9"].compare == ((dataset.names.index("p5/4"),),)
    assert found["p2/9"].evidence == "the same bytes"


def test_changed_copies_too(look):
    mirrored = jpeg(np.ascontiguousarray(person_pixels(3, 2)[:, ::-1]))
    found, _ = look({"p3/9.jpg": mirrored, "p4/9.jpg": jpeg(person_pixels(0, 1), 60)})
    assert kinds_of(found) == {
        "p3/9": (kinds.NEAR_COPY, "p3/2"),
        "p4/9": (kinds.NEAR_COPY, "p0/1"),
    }


def test_swapped_labels_name_the_identity_they_belong_to(look):
    found, dataset = look({"p0/1.jpg": photograph(6, 20), "p6/1.jpg": photograph(0, 20)})
    assert kinds_of(found) == {
        "p0/1": (kinds.WRONG_IDENTITY, "p6"),
        "p6/1": (kinds.WRONG_IDENTITY, "p0"),
    }
    assert found["p0/1"].action == "leave out, or move to p6"
    own, other = found["p0/1"].compare
    assert {dataset.names[index][:2] for index in own} == {"p0"}
    assert {dataset.names[index][:2] for index in other} == {"p6"}


def test_an_image_without_a_face(look):
    detector = DrawnDetector()
    found, _ = look({"p5/9.jpg": faceless(3)}, detector)
    assert kinds_of(found) == {"p5/9": (kinds.NO_FACE, "")}
    assert detector.asked == 1


def test_what_looks_like_its_identity_needs_no_face(look):
    class Blind(DrawnDetector):
        def detect(self, image_rgb):
            return []

    assert look({}, Blind())[0] == {}


def test_a_second_and_a_third_person_in_an_identity(look):
    second = {f"p2/{n}.jpg": photograph(50, n) for n in range(20, 25)}
    third = {f"p2/{n}.jpg": photograph(51, n) for n in range(30, 33)}
    found, dataset = look(second | third)
    assert set(found) == {name[:-4] for name in second | third}
    assert {f.kind for f in found.values()} == {kinds.TWO_PEOPLE}
    shown, _ = found["p2/20"].compare
    assert {dataset.names[index][:2] for index in shown} == {"p2"}
    assert not {dataset.names[index] for index in shown} & set(found)


def test_a_person_listed_under_two_identities(look):
    found, _ = look({f"again/{n}.jpg": photograph(4, n) for n in range(20, 25)})
    assert kinds_of(found) == {f"again/{n}": (kinds.SAME_PERSON, "p4") for n in range(20, 25)}


def test_an_image_that_cannot_be_decoded(look):
    damaged = b"\xff\xd8\xff\xe0" + bytes(range(200)) + b"\xff\xd9"
    found, _ = look({"p5/3.jpg": damaged, "p5/4.jpg": damaged})
    assert {f.kind for f in found.values()} == {kinds.UNDECODABLE}
    assert set(found) == {"p5/3", "p5/4"}
    assert "not an image" in found["p5/3"].evidence or "damaged" in found["p5/3"].evidence


def test_single_images_have_nothing_to_compare_with(look):
    found, _ = look({"alone/1.jpg": photograph(60, 1), "bare/1.jpg": faceless(9)})
    assert kinds_of(found) == {"bare/1": (kinds.NO_FACE, "")}


def test_a_dataset_of_one_identity(tmp_path):
    dataset = FaceDataset(fill(tmp_path / "set", people(1, 6)), min_images=1)
    embedded = embed(dataset, tmp_path / "cache")
    assert find_faults(dataset, embedded, DrawnDetector()) == []


def test_findings_come_by_kind_then_by_strength(look):
    files = {f"p{n}/1.jpg": photograph(n + 4, 30) for n in range(3)}
    found, _ = look(files | {"p5/9.jpg": photograph(5, 2), "p6/9.jpg": faceless(1)})
    ordered = list(found.values())
    assert [f.kind for f in ordered[:2]] == [kinds.EXACT_COPY, kinds.NO_FACE]
    strengths = [f.strength for f in ordered[2:]]
    assert strengths == sorted(strengths, reverse=True) and len(strengths) == 3


def test_a_scale_goes_from_impostor_to_genuine():
    scale = Scale(impostor=0.1, genuine=0.6)
    assert [scale.at(0), scale.at(1), scale.span(0.5)] == pytest.approx([0.1, 0.6, 0.25])
