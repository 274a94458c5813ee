"""Who appeared is kept in memory; a face that is named passes the gate of every enrolment."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from facesync.app import sightings
from facesync.app.cameras import Frame
from facesync.app.settings import AppSettings
from facesync.app.sightings import Entry, Sightings
from facesync.app.watcher import Sighting, Watcher
from facesync.errors import FaceSyncError, ImageError, StoreError
from facesync.faces.detection import Face
from facesync.faces.quality import Pose, Quality
from facesync.faces.recognizer import Recognizer
from facesync.gallery.checking import check
from facesync.gallery.matching import Matcher
from facesync.gallery.people import Person, now
from facesync.gallery.presence import NotAlive
from facesync.gallery.registration import Doubt
from facesync.images import read_image_rgb
from tests.app.fakes import embedding, face, image, quality
from tests.gallery.test_forgetting import opened

GOOD = quality()
BAD = replace(GOOD, sharpness=0.05, size=60)


@pytest.fixture
def measured(monkeypatch):
    """What is measured of a face by its image's blue; good by default."""
    found: dict[int, Quality] = {}
    monkeypatch.setattr(
        sightings, "measure", lambda image_rgb, face: found.get(int(image_rgb[0, 0, 2]), GOOD)
    )
    return found


@pytest.fixture
def log(gallery, recognizer, measured) -> Sightings:
    """A log before a camera, in a gallery where Ada (1) and Bob (2) are registered."""
    for who, name in ((1, "Ada"), (2, "Bob")):
        rows = np.stack([embedding(who, 50)])
        made = Person(name, rows[0], "model-a", now(), 1, None, rows, np.float32([0.9]))
        gallery.register(made, [image(who=who)])
    return Sightings(gallery, recognizer, liveness=False)


def seen(
    track: int = 1,
    name: str | None = None,
    *,
    settled: bool = True,
    live: bool | None = None,
    score: float | None = 0.3,
    where: Face | None = None,
) -> Sighting:
    moving = SimpleNamespace(face=where or face())
    return Sighting(track, name, score, 0.5, settled, moving, live)


def note(log: Sightings, *sightings: Sighting, who: int = 3, variant: int = 0) -> None:
    """Note a frame that shows a person to the fake recognizer."""
    frame = Frame(0, 0.0, image(who=who, variant=variant)[:, :, ::-1])
    log.note(sightings, frame)


def stranger(log: Sightings, *, who: int = 3, variant: int = 0, live: bool | None = None) -> Entry:
    """Note a stranger in a watch of their own, and return the entry."""
    log.begin()
    note(log, seen(live=live), who=who, variant=variant)
    return log.entries[-1]


def test_each_appearance_is_entered_once_when_it_is_settled(log):
    note(log, seen(1, settled=False))
    assert log.entries == []
    for _ in range(3):
        note(log, seen(1), seen(2, "Ada", score=0.9))
    first, second = log.entries
    assert (first.name, first.similarity, first.probability) == (None, 0.3, 0.5)
    assert (second.name, second.similarity, second.live) == ("Ada", 0.9, None)
    assert first.time.tzinfo is not None and (first.id, second.id) == (1, 2)
    assert first.named is None and not first.undo


def test_who_is_recognised_late_keeps_the_entry_and_somebody_else_gets_another(log):
    for name in (None, "Ada", None):
        note(log, seen(1, name, score=0.9 if name else 0.2))
    (entry,) = log.entries
    assert (entry.name, entry.similarity) == ("Ada", 0.9)
    note(log, seen(1, "Bob"))
    assert [each.name for each in log.entries] == ["Ada", "Bob"]
    note(log, seen(1, settled=False))  # another face has taken over the box
    note(log, seen(1))
    assert [each.name for each in log.entries] == ["Ada", "Bob", None]


def test_another_watch_counts_its_tracks_anew(log):
    note(log, seen(1))
    log.begin()
    note(log, seen(1))
    assert len(log.entries) == 2


def test_the_best_image_is_kept(log, measured):
    measured |= {1: BAD, 3: BAD}
    for variant in (1, 2, 3):
        note(log, seen(1), variant=variant)
    (entry,) = log.entries
    assert entry.image_rgb[0, 0, 2] == 2 and entry.quality == GOOD


def test_an_image_from_before_a_face_was_seen_to_live_is_replaced(log, measured):
    measured[2] = BAD
    for live, variant in ((False, 1), (True, 2), (None, 3)):
        note(log, seen(1, live=live), variant=variant)
    (entry,) = log.entries
    assert (entry.live, int(entry.image_rgb[0, 0, 2])) == (None, 2)


def test_a_better_image_is_not_taken_before_the_face_was_looked_at(log, gallery, measured):
    measured[1] = BAD
    note(log, seen(live=True), variant=1)
    note(log, replace(seen(live=True), looked=False), who=4)  # a photograph before the face
    (entry,) = log.entries
    assert int(entry.image_rgb[0, 0, 1]) == int(image(who=3)[0, 0, 1])


def test_an_image_shows_the_face_with_a_margin_and_is_small(log):
    picture = np.zeros((1000, 1600, 3), dtype=np.uint8)
    box = np.array([800, 300, 1200, 900], dtype=np.float32)
    points = np.array([[900, 500]] * 5, dtype=np.float32)
    frame = Frame(0, 0.0, picture)
    log.note([seen(where=Face(box, points, 0.9))], frame)
    (entry,) = log.entries
    # The margin of 300 ends at the top and the bottom of the image: 1000 by 1000 is left.
    assert entry.image_rgb.shape == (320, 320, 3)
    np.testing.assert_allclose(entry.face.box_xyxy, np.array([300, 300, 700, 900]) * 0.32, atol=1)
    np.testing.assert_allclose(entry.face.landmarks[0], np.array([400, 500]) * 0.32, atol=1)


def test_an_image_that_was_named_stays_as_it_was(log, measured):
    measured[1] = replace(GOOD, sharpness=0.12)
    entry = stranger(log, variant=1)
    named = log.name(entry.id, "Cid")
    note(log, seen(1, "Ada"), variant=2)  # another name is another appearance, as ever
    note(log, seen(1), variant=2)
    assert log.find(entry.id).image_rgb is named.image_rgb
    first = stranger(log, who=4, variant=1)
    log.dismiss(first.id)
    note(log, seen(1), variant=2)
    assert log.find(first.id).image_rgb is first.image_rgb


def test_the_oldest_go(log, monkeypatch):
    monkeypatch.setattr(sightings, "MOST", 3)
    for _ in range(5):
        stranger(log)
    assert [entry.id for entry in log.entries] == [3, 4, 5]
    with pytest.raises(StoreError, match="no longer in the log"):
        log.find(1)


def test_what_is_forgotten_does_not_come_back_with_the_next_frame(log):
    note(log, seen(1), seen(2, "Ada"))
    log.forget()
    note(log, seen(1), seen(2, "Ada"), seen(3))
    assert [entry.id for entry in log.entries] == [3]


def test_a_stranger_is_registered_by_a_name_and_forgotten_by_undo(log, gallery):
    entry = stranger(log)
    before = [person.name for person in gallery.people()]
    named = log.name(entry.id, "Zoë\tQuist")
    assert (named.named, named.undo, named.id) == ("Zoë Quist", True, entry.id)
    made = gallery.find("zoë quist")
    np.testing.assert_allclose(made.embedding, embedding(3), atol=1e-6)
    assert made.samples == 1 and len(gallery.images("Zoë Quist")) == 1
    undone = log.undo(entry.id)
    assert (undone.named, undone.undo) == (None, False)
    assert [person.name for person in gallery.people()] == before
    left = opened(gallery)
    assert "Zoë".encode() not in left and made.embedding.tobytes() not in left
    assert check(gallery)[1] == []
    assert log.find(entry.id).named is None


def test_a_sample_is_added_to_who_is_registered_and_taken_away_again(log, gallery):
    ada = gallery.find("Ada")
    entry = stranger(log, who=1)
    assert log.name(entry.id, "ada").named == "Ada"
    more = gallery.find("Ada")
    assert more.samples == 2 and len(gallery.images("Ada")) == 2
    log.undo(entry.id)
    left = gallery.find("Ada")
    np.testing.assert_array_equal(left.sample_embeddings, ada.sample_embeddings)
    np.testing.assert_allclose(left.embedding, ada.embedding, atol=1e-6)
    assert more.sample_embeddings[1].tobytes() not in opened(gallery)
    assert len(gallery.images("Ada")) == 1 and check(gallery)[1] == []


def test_nobody_i_know(log, gallery):
    entry = stranger(log)
    with pytest.raises(StoreError, match="nothing to undo"):
        log.undo(entry.id)
    dismissed = log.dismiss(entry.id)
    assert dismissed.named is False and dismissed.undo
    with pytest.raises(StoreError, match="undo that first"):
        log.name(entry.id, "Cid")
    assert log.undo(entry.id).named is None
    log.name(entry.id, "Cid")
    for again in (lambda: log.name(entry.id, "Cid"), lambda: log.dismiss(entry.id)):
        with pytest.raises(StoreError, match="undo that first"):
            again()
    assert gallery.find("Cid").samples == 1


@pytest.mark.parametrize(
    ("quality", "why"),
    [
        (replace(GOOD, size=69), "too small"),
        (replace(GOOD, sharpness=0.09), "blurred"),
        (replace(GOOD, brightness=40), "too dark"),
        (replace(GOOD, pose=Pose(60, 0, 0)), "turned too far"),
    ],
)
def test_a_poor_image_is_not_taken(log, gallery, measured, quality, why):
    measured[7] = quality
    entry = stranger(log, variant=7)
    with pytest.raises(ImageError, match=f"^the image cannot be a sample: {why}; nothing is store"):
        log.name(entry.id, "Cid")
    assert gallery.find("Cid") is None and log.find(entry.id).named is None


@pytest.mark.parametrize(
    ("live", "why"), [(None, "not watched long enough"), (False, "a photograph or a screen")]
)
def test_only_who_is_seen_to_live_is_named_where_that_is_asked(log, gallery, live, why):
    log.liveness = True
    entry = stranger(log, live=live)
    with pytest.raises(NotAlive, match=why):
        log.name(entry.id, "Cid")
    assert gallery.find("Cid") is None
    assert log.name(stranger(log, live=True).id, "Cid").named == "Cid"


def test_a_doubt_is_raised_and_its_answer_allows_it(log, gallery):
    entry = stranger(log)
    with pytest.raises(Doubt, match="not the face registered as Ada") as doubt:
        log.name(entry.id, "Ada")
    assert doubt.value.allowed_by == "same_person" and gallery.find("Ada").samples == 1
    with pytest.raises(Doubt, match="already registered as Ada"):
        log.name(stranger(log, who=1).id, "Cid")
    with pytest.raises(Doubt) as doubt:
        log.name(entry.id, "\u0410d\u0430")
    assert doubt.value.allowed_by == "similar_name"
    assert log.name(entry.id, "\u0410d\u0430", similar_name=True).named == "\u0410d\u0430"
    log.undo(entry.id)
    assert log.name(entry.id, "Ada", same_person=True).named == "Ada"
    with pytest.raises(StoreError, match="a name needs at least one"):
        log.name(stranger(log, who=4).id, " \u200b")


def test_undo_follows_a_sample_that_has_moved(log, gallery):
    entry = stranger(log)
    log.name(entry.id, "Cid")
    gallery.rename("Cid", "Dan")
    assert log.find(entry.id).named == "Dan"
    gallery.merge("Ada", "Dan")
    assert log.find(entry.id).named == "Ada"
    log.undo(entry.id)
    assert gallery.find("Ada").samples == 1 and len(gallery.images("Ada")) == 1


def test_undo_is_refused_where_the_sample_was_changed_since(log, gallery):
    entry = stranger(log, who=1)
    log.name(entry.id, "Ada")
    gallery.register(
        Person("Ada", embedding(1, 9), "model-b", now(), 1, None, embedding(1, 9)[None],
               np.float32([1])), [image()], replace=True,
    )  # fmt: skip
    with pytest.raises(StoreError, match=r"the sample of Ada was changed since"):
        log.undo(entry.id)
    assert gallery.find("Ada").samples == 1 and log.find(entry.id).named == "Ada"


def test_what_cannot_be_taken_back_does_not_offer_it(log, gallery):
    """Format 1 kept no single samples: the mean cannot be as it was."""
    gallery.register(Person("Old", embedding(5), "model-a", now(), 2), [image(who=5)] * 2)
    entry = log.name(stranger(log, who=5).id, "Old")
    assert entry.named == "Old" and not entry.undo
    with pytest.raises(StoreError, match="nothing to undo"):
        log.undo(entry.id)


def test_who_is_deleted_disappears_from_the_log(log, gallery):
    note(log, seen(1, "Ada"), seen(2, "Bob"), seen(3))
    named = log.name(log.entries[2].id, "Cid")
    gallery.delete("Ada")
    assert [(each.name, each.named) for each in log.entries] == [("Bob", None), (None, "Cid")]
    gallery.delete("Cid")
    assert [each.name for each in log.entries] == ["Bob"]
    with pytest.raises(StoreError, match="no longer in the log"):
        log.find(named.id)


def test_entries_follow_a_new_name(log, gallery):
    note(log, seen(1, "Ada"), seen(2, "Bob"))
    gallery.rename("Ada", "Eva")
    log.renamed("ADA", "Eva")
    assert [entry.name for entry in log.entries] == ["Eva", "Bob"]


def test_nothing_is_written_until_a_face_is_named(log, gallery):
    before = {path: path.stat().st_mtime_ns for path in gallery.faces.parent.rglob("*")}
    note(log, seen(1), seen(2, "Ada"))
    log.dismiss(1)
    log.undo(1)
    after = {path: path.stat().st_mtime_ns for path in gallery.faces.parent.rglob("*")}
    assert after == before


def test_an_error_leaves_the_entry_as_it_was(log, gallery, monkeypatch):
    entry = stranger(log)

    def full(*args, **kwargs):
        raise StoreError("the disk is full")

    monkeypatch.setattr(gallery, "register", full)
    with pytest.raises(FaceSyncError, match="disk is full"):
        log.name(entry.id, "Cid")
    assert log.find(entry.id).named is None


def test_a_real_face_is_named_and_recognised_from_then_on(shared, gallery):
    """Tony Blair walks past, is named, and is known in another photograph."""
    recognizer = Recognizer(AppSettings(model="embedded", offline=True))
    folder = shared / "data" / "lfw" / "Tony_Blair"
    first, *_, other = sorted(folder.iterdir())
    log, watcher = Sightings(gallery, recognizer, liveness=False), Watcher(recognizer, [], 0.05)
    photo_rgb = read_image_rgb(first)
    for number in range(8):
        shifted = np.roll(photo_rgb, number, axis=1)
        frame = Frame(number, number * 0.2, shifted[:, :, ::-1])
        log.note(watcher.look(frame), frame)
    (entry,) = log.entries
    log.name(entry.id, "Tony")
    whole = recognizer.look(photo_rgb).embedding
    assert float(gallery.find("Tony").embedding @ whole) > 0.95
    face_of_other = recognizer.look(read_image_rgb(other)).embedding
    decided = Matcher(gallery.people()).decide(face_of_other, recognizer.threshold)
    assert decided.name == "Tony"
    log.undo(entry.id)
    assert gallery.people() == []
