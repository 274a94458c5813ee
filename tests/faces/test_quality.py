"""Quality falls with blur, darkness and distance; the pose follows a turning head."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facesync.faces import quality as module
from facesync.faces.detection import Face
from facesync.faces.quality import CAMERA, PHOTOGRAPH, appearance, complaint, measure, pose


def head(yaw: float = 0, pitch: float = 0, roll: float = 0) -> np.ndarray:
    """Project the head's five points as a distant camera sees them, (5, 2)."""
    y, p, r = np.radians((yaw, pitch, roll))
    around_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    around_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turned = module._HEAD @ (around_z @ around_x @ around_y).T
    return (turned[:, :2] * 1.2 + (225, 130)).astype(np.float32)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage import data

    return data.astronaut()


FACE = Face(np.array([175, 65, 275, 195], dtype=np.float32), head(), 1.0)


@pytest.mark.parametrize("yaw", [-40, -20, 0, 20, 40])
@pytest.mark.parametrize("pitch", [-20, 0, 20])
def test_the_pose_of_a_turned_head(yaw, pitch):
    found = pose(head(yaw, pitch))
    assert found.yaw == pytest.approx(yaw, abs=3)
    assert found.pitch == pytest.approx(pitch, abs=6)


def test_a_tilt_does_not_change_yaw_and_pitch():
    found = pose(head(roll=15))
    assert found.roll == pytest.approx(15, abs=1)
    assert abs(found.yaw) < 2 and abs(found.pitch) < 2


def test_a_good_photograph_is_accepted(photo):
    good = measure(photo, FACE)
    assert complaint(good, CAMERA) is None
    assert 0.8 < good.overall <= 1


@pytest.mark.parametrize(
    ("degrade", "words"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 6), "blurred"),
        (lambda image: (image * 0.15).astype(np.uint8), "too dark"),
        (lambda image: 255 - (255 - image) // 16, "too bright"),
        (lambda image: 120 + image // 64, "hardly any contrast"),
        (lambda image: image * 0, "too dark"),
    ],
)
def test_a_degraded_photograph_is_refused_with_the_reason(photo, degrade, words):
    degraded = measure(degrade(photo), FACE)
    for limits in (CAMERA, PHOTOGRAPH):
        assert complaint(degraded, limits).startswith(words)
    assert degraded.overall < measure(photo, FACE).overall


def test_a_small_or_turned_face_is_refused(photo):
    small = Face(np.array([200, 100, 232, 140], dtype=np.float32), head(), 1.0)
    assert complaint(measure(photo, small), CAMERA) == "too small: move closer"
    away = Face(FACE.box_xyxy, head(yaw=70), 1.0)
    assert complaint(measure(photo, away), CAMERA).startswith("turned too far")


@pytest.mark.parametrize("box", [(-50, -50, 40, 40), (600, 600, 700, 700), (10, 10, 10, 10)])
def test_a_box_outside_the_image_can_be_measured(photo, box):
    measured = measure(photo, Face(np.array(box, dtype=np.float32), head(), 1.0))
    assert 0 <= measured.overall <= 1


def test_copies_look_alike_and_other_images_do_not(photo):
    original = appearance(photo, FACE)
    darker = cv2.imdecode(cv2.imencode(".jpg", (photo * 0.8).astype(np.uint8))[1], 1)
    assert original @ appearance(darker, FACE) > 0.97
    turned = cv2.warpAffine(photo, cv2.getRotationMatrix2D((225, 130), 10, 1), (512, 512))
    assert original @ appearance(turned, FACE) < 0.97
    assert not appearance(np.full_like(photo, 90), FACE).any()


@pytest.mark.slow
def test_the_pose_follows_a_real_head(shared):
    """In the shared video the head turns left, right, down and up."""
    from facesync.app.cameras import VideoFile
    from facesync.faces.detection import FaceDetector

    detector = FaceDetector()
    wanted = {0: (0, 0), 100: (1, 0), 270: (-1, 0), 380: (0, -1), 460: (0, 1)}
    poses = {}
    with VideoFile(shared / "data" / "videos" / "one_face_head_turns_live.mp4") as video:
        for number in range(461):
            frame = video.read()
            if number in wanted:
                (face,) = detector.detect(frame.image_rgb)
                poses[number] = pose(face.landmarks)
    for number, (yaw, pitch) in wanted.items():
        if yaw:
            assert poses[number].yaw * yaw > 8
        if pitch:
            assert poses[number].pitch * pitch > 15
    assert abs(poses[0].yaw) < 8
