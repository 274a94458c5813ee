"""Nothing poisons an enrolment: each attempt is refused with its reason, in one line."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from PIL import Image

from facesync.app import registering
from facesync.app.pose_guide import POSE_SECONDS, PoseGuide
from facesync.errors import ImageError, StoreError
from facesync.faces.quality import Pose
from facesync.faces.recognizer import Seen
from facesync.gallery.enrolment import Enrolment, TwoPeople
from facesync.gallery.registration import Doubt, Registration
from tests.app.fakes import FakeCamera, FakeRecognizer, embedding, face, image, quality


def seen(number: int, who: int = 1, faces: int = 1, same_frame: bool = False, **measured) -> Seen:
    """A frame of somebody; each has a texture of its own unless it is the same frame again."""
    random = np.random.default_rng(0 if same_frame else number)
    image_rgb = random.integers(0, 255, (120, 160, 3), dtype=np.uint8)
    good = replace(quality(number), **measured)
    found = [face(index) for index in range(faces)]
    return (
        Seen(image_rgb, found, embedding(who, number % 100), good) if faces else Seen(image_rgb, [])
    )


@pytest.fixture
def enrolment() -> Enrolment:
    return Enrolment(0.6)


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (seen(1, faces=0), "no face: look into the camera"),
        (seen(1, faces=2), "two faces: only you, please"),
        (seen(1, size=30), "too small: move closer"),
        (seen(1, brightness=10), "too dark: turn on a light"),
        (seen(1, sharpness=0.02), "blurred: hold still"),
        (seen(1, pose=Pose(70, 0, 0)), "turned too far: look towards the camera"),
    ],
)
def test_a_image_that_is_no_sample_says_why(enrolment, shown, reason):
    verdict = enrolment.offer(shown)
    assert (verdict.taken, verdict.reason) == (False, reason)
    assert len(enrolment) == 0


def test_five_copies_of_one_frame_are_one_sample(enrolment):
    taken = [enrolment.offer(seen(number, same_frame=True)).taken for number in range(5)]
    assert taken == [True, False, False, False, False]
    verdict = enrolment.offer(seen(9, same_frame=True))
    assert verdict.reason == "the same image as one taken before: move your head a little"


def test_another_persons_photo_among_the_samples_is_dropped_and_taken_anew(enrolment):
    for number in range(3):
        assert enrolment.offer(seen(number)).taken
    verdict = enrolment.offer(seen(3, who=2))
    assert not verdict.taken
    assert verdict.reason == "a sample did not match the others: dropped, taken anew"
    assert enrolment.offer(seen(4)).taken and enrolment.offer(seen(5)).taken
    template = enrolment.person("Ada", "model-a")
    assert template.samples == 5
    assert (template.sample_embeddings @ embedding(1) > 0.9).all()


def test_a_wrong_first_sample_is_the_one_that_goes(enrolment):
    enrolment.offer(seen(0, who=2), pose="straight")
    enrolment.offer(seen(1))
    assert enrolment.offer(seen(2)).taken
    assert len(enrolment) == 2
    assert "straight" not in enrolment.poses  # its pose is wanted again
    assert enrolment.person("Ada", "model-a").embedding @ embedding(1) > 0.9


def test_two_people_who_take_turns_are_refused(enrolment):
    with pytest.raises(TwoPeople, match="two different people; nothing is stored"):
        for number in range(20):
            enrolment.offer(seen(number, who=1 + number % 2))


def test_the_template_is_the_unit_mean_and_keeps_each_sample(enrolment):
    for number in range(5):
        enrolment.offer(seen(number))
    person = enrolment.person("Ada", "model-a")
    assert np.linalg.norm(person.embedding) == pytest.approx(1, abs=1e-6)
    mean = person.sample_embeddings.mean(axis=0)
    np.testing.assert_allclose(person.embedding, mean / np.linalg.norm(mean), atol=1e-6)
    assert person.sample_qualities.shape == (5,)
    assert ((person.sample_qualities > 0) & (person.sample_qualities <= 1)).all()


# Before a camera.


def test_each_pose_is_asked_for_and_any_order_will_do():
    guide = PoseGuide(Enrolment(0.6))
    assert guide.prompt == "look straight into the camera"
    for step, number in enumerate((0, 4, 2, 1, 3)):  # straight, down, right, left, up
        verdict = guide.consider(seen(number), seconds=step)
        assert verdict is not None and verdict.taken
    assert guide.done and guide.progress == (5, 5)


def test_a_pose_taken_already_waits_for_another():
    guide = PoseGuide(Enrolment(0.6))
    assert guide.consider(seen(0), 0.0).taken
    assert guide.consider(seen(5), 1.0) is None  # straight again
    assert guide.prompt == "turn your head a little to your left"
    assert guide.consider(seen(5), 1.2, asked=True).taken  # the key takes it


def test_who_cannot_turn_the_head_is_not_stuck():
    guide = PoseGuide(Enrolment(0.6))
    seconds = (0.1 * step for step in count())
    now = 0.0
    while not guide.done:
        now = next(seconds)
        guide.consider(seen(5 * round(10 * now)), now)  # always straight, never the same
    assert now < 5 * (POSE_SECONDS + 1)


# What may be stored. The images of `tests.app.fakes` are flat, so none is a copy of another.


@pytest.fixture
def shot(tmp_path):
    def write(name: str, **shown: int):
        path = tmp_path / f"{name}.png"
        Image.fromarray(image(**shown)).save(path)
        return path

    return write


@pytest.fixture
def register(gallery, recognizer):
    def run(name: str, *paths, ask=None, **allowed) -> None:
        request = Registration(name, **allowed)
        registering.register_images(gallery, recognizer, request, paths, ask)

    return run


def test_a_face_is_not_stored_under_a_second_name(register, gallery, shot):
    register("Ada", shot("ada"))
    with pytest.raises(Doubt, match=r"already registered as Ada \(similarity 0\.9.*--same-person"):
        register("Countess", shot("again", variant=5))
    register("Countess", shot("again", variant=5), same_person=True)
    assert len(gallery.people()) == 2


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_it_is_asked(register, gallery, shot, answer):
    register("Ada", shot("ada"))
    questions = []

    def ask(question: str) -> bool:
        questions.append(question)
        return answer

    if answer:
        register("Countess", shot("again", variant=5), ask=ask)
    else:
        with pytest.raises(StoreError, match="nothing is stored"):
            register("Countess", shot("again", variant=5), ask=ask)
    assert "Is Countess the same person under another name?" in questions[0]
    assert len(gallery.people()) == 1 + answer


def test_samples_are_added_to_a_person(register, gallery, shot, capsys):
    register("Ada", shot("one"), shot("two", variant=1))
    register("ada", shot("three", variant=2), add=True)
    (ada,) = gallery.people()
    assert (ada.name, ada.samples, len(ada.sample_embeddings)) == ("Ada", 3, 3)
    assert ada.changed is not None
    assert len(gallery.images("Ada")) == 3
    assert capsys.readouterr().out.splitlines()[-1] == "Ada has 1 more sample (3 in all)"


def test_a_stranger_is_not_added_to_a_person(register, gallery, shot):
    register("Ada", shot("ada"))
    with pytest.raises(Doubt, match="not the face stored as Ada"):
        register("Ada", shot("bob", who=2), add=True)
    with pytest.raises(StoreError, match="nobody is registered as Cid"):
        register("Cid", shot("bob"), add=True)
    assert gallery.people()[0].samples == 1


def test_images_of_two_people_are_refused(register, gallery, shot):
    with pytest.raises(ImageError, match=r"two different people .*nothing is stored"):
        register("Ada", shot("ada"), shot("bob", who=2))
    four = [shot(f"{who}{v}", who=who, variant=v) for who in (1, 2) for v in (0, 1)]
    with pytest.raises(ImageError, match="different people"):
        register("Ada", *four)
    assert gallery.people() == []


def test_one_wrong_image_of_several_is_left_out_by_name(register, gallery, shot, capsys):
    right = [shot(f"ada{v}", variant=v) for v in range(3)]
    register("Ada", right[0], shot("bob", who=2), *right[1:])
    out = capsys.readouterr().out
    assert "bob.png: a different person from the others: left out" in out
    assert gallery.people()[0].samples == 3
    assert len(gallery.images("Ada")) == 3


def test_a_second_face_that_enters_stops_the_samples(gallery, recognizer, capsys):
    alone, two = image(), image(faces=2)
    camera = FakeCamera([alone] * 5 + [two] * 100)
    with pytest.raises(Exception, match="only 1 usable sample"):
        registering.register_camera(gallery, recognizer, Registration("Ada"), lambda: camera)
    assert "two faces: only you, please" in capsys.readouterr().out
    assert gallery.people() == []


def test_a_stranger_who_takes_over_before_the_camera_is_refused(gallery):
    recognizer = FakeRecognizer()
    frames = [image(variant=i) for i in range(13)] + [image(who=2, variant=i) for i in range(99)]
    camera = FakeCamera(frames)
    with pytest.raises(TwoPeople):
        registering.register_camera(gallery, recognizer, Registration("Ada"), lambda: camera)
    assert gallery.people() == []
