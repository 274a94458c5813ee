"""Nothing poisons an enrolment: each attempt is refused with its reason, in one line."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from facesync.app.pose_guide import POSE_SECONDS, PoseGuide
from facesync.faces.quality import Pose
from facesync.faces.recognizer import Seen
from facesync.gallery.enrolment import Enrolment, TwoPeople
from tests.app.fakes import embedding, face, quality


def seen(number: int, who: int = 1, faces: int = 1, same_frame: bool = False, **measured):
    """A frame of somebody; each has a texture of its own unless it is the same frame again."""
    random = np.random.default_rng(0 if same_frame else number)
    image_rgb = random.integers(0, 255, (120, 160, 3), dtype=np.uint8)
    good = replace(quality(number), **measured)
    found = [face(index) for index in range(faces)]
    return Seen(image_rgb, found, embedding(who, number % 100), good) if faces else None


@pytest.fixture
def enrolment() -> Enrolment:
    return Enrolment(0.6)


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (seen(1, faces=0), "no face: look into the camera"),
        (seen(1, faces=2), "two faces: only one person, please"),
        (seen(1, size=30), "too small: move closer"),
        (seen(1, brightness=10), "too dark: turn on a light"),
        (seen(1, sharpness=0.02), "blurred: hold still"),
        (seen(1, pose=Pose(70, 0, 0)), "turned too far: look towards the camera"),
    ],
)
def test_an_image_that_is_no_sample_says_why(enrolment, shown, reason):
    verdict = enrolment.offer(shown)
    assert (verdict.taken, verdict.reason) == (False, reason)
    assert len(enrolment) == 0


def test_five_copies_of_one_frame_are_one_sample(enrolment):
    taken = [enrolment.offer(seen(number, same_frame=True)).taken for number in range(5)]
    assert taken == [True, False, False, False, False]
    verdict = enrolment.offer(seen(9, same_frame=True))
    assert verdict.reason == "looks the same as an earlier sample: move your head a little"


def test_another_persons_photo_among_the_samples_is_dropped_and_retaken(enrolment):
    for number in range(3):
        assert enrolment.offer(seen(number)).taken
    verdict = enrolment.offer(seen(3, who=2))
    assert not verdict.taken
    assert verdict.reason == "a sample did not match the others: dropped, will be retaken"
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
    assert guide.done and len(guide.enrolment) == 5


def test_a_pose_taken_already_waits_for_another():
    guide = PoseGuide(Enrolment(0.6))
    assert guide.consider(seen(0), 0.0).taken
    assert guide.consider(seen(5), 1.0) is None  # straight again
    assert guide.prompt == "turn your head to your left"
    assert guide.consider(seen(5), 1.2, asked=True).taken  # the key takes it


def test_who_cannot_turn_the_head_is_not_stuck():
    guide = PoseGuide(Enrolment(0.6))
    seconds = (0.1 * step for step in count())
    now = 0.0
    while not guide.done:
        now = next(seconds)
        guide.consider(seen(5 * round(10 * now)), now)  # always straight, never the same
    assert now < 5 * (POSE_SECONDS + 1)
