"""Nobody enrols from a photograph that is moved before the camera: with the real detector."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from facesync.app import pose_guide, registering
from facesync.app.cameras import open_camera
from facesync.faces.detection import FaceDetector
from facesync.faces.quality import measure
from facesync.faces.recognizer import Seen
from facesync.gallery.presence import NotAlive, Presence
from facesync.gallery.registration import Registration
from facesync.images import read_image_rgb
from facesync.liveness.evidence import Evidence
from facesync.liveness.policy import Policy
from tests.app.fakes import FakeCamera, FakeRecognizer, embedding
from tests.liveness.fakes import FakePassive


class Finder(FakeRecognizer):
    """Finds faces as the real one does; all are one person's."""

    detector = FaceDetector()

    def look(self, image_rgb: np.ndarray, *, photograph: bool = False) -> Seen | None:
        self.load()
        faces = self.detector.detect(image_rgb)
        if not faces:
            return None
        self.looks += 1
        return Seen(image_rgb, faces, embedding(1, self.looks % 90), measure(image_rgb, faces[0]))


def moved(photo_rgb: np.ndarray, degrees: float, bent: float) -> Iterator[np.ndarray]:
    """Twelve seconds, ten frames of 480 x 640 each, of a photograph that is turned to all sides.

    Args:
        photo_rgb: uint8, of any size; shown 1.4 times larger.
        degrees: how far it is turned.
        bent: angle in degrees over which it is bent around a vertical cylinder.
    """
    focal = 600.0
    photo_rgb = cv2.resize(photo_rgb, None, fx=1.4, fy=1.4)
    high, wide = photo_rgb.shape[:2]
    across, down = np.meshgrid(np.arange(41) / 40 - 0.5, np.arange(41) / 40 - 0.5)
    x, y, z = across * wide, down * high, np.zeros_like(across)
    if bent:
        radius = wide / np.radians(bent)
        x, z = radius * np.sin(x / radius), radius * (1 - np.cos(x / radius))
    sheet = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    for number in range(120):
        phase = number / 9
        turn = np.radians(degrees) * np.array([0.7 * np.sin(0.6 * phase), np.sin(phase), 0.0])
        points = sheet @ cv2.Rodrigues(turn)[0].T + [0, 0, focal]
        grid = (focal * points[:, :2] / points[:, 2:] + [320, 240]).reshape(41, 41, 2)
        canvas = np.full((480, 640, 3), 110, np.uint8)
        yield _painted(canvas, photo_rgb, grid.astype(np.float32))


def _painted(canvas: np.ndarray, photo_rgb: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Paint a photograph where a grid of its points is seen, strip by strip."""
    high, wide = photo_rgb.shape[:2]
    for column in range(0, 40, 4):
        left, right = column * wide / 40, (column + 4) * wide / 40
        here = np.float32([[left, 0], [right, 0], [right, high], [left, high]])
        corners = grid[[0, 0, 40, 40], [column, column + 4, column + 4, column]]
        to = cv2.getPerspectiveTransform(here, corners)
        strip = np.zeros((high, wide), np.uint8)
        strip[:, int(left) : int(np.ceil(right)) + 1] = 255
        inside = cv2.warpPerspective(strip, to, (640, 480)) > 127
        canvas[inside] = cv2.warpPerspective(photo_rgb, to, (640, 480))[inside]
    return canvas


def enrol(gallery, camera, scores=(0.6,)) -> None:
    passive = FakePassive(scores)

    def presence() -> Presence:
        return Presence(Policy("auto", passive, None), Evidence(passive, 0.6), recorded=True)

    registering.register_camera(
        gallery, Finder(), Registration("Ada"), lambda: camera, presence=presence
    )


@pytest.mark.parametrize(
    ("photo", "degrees", "bent"),
    [
        ("lfw/Aaron_Sorkin/Aaron_Sorkin_0001.jpg", 30, 70),
        ("liveness/nuaa/live/0001_00_00_01_0.jpg", 40, 0),
    ],
)
def test_a_photograph_moved_before_the_camera(
    gallery, shared, monkeypatch, photo, degrees, bent, capsys
):
    monkeypatch.setattr(pose_guide, "TURN_SECONDS", 4.0)
    photo_rgb = read_image_rgb(shared / "data" / photo)
    with pytest.raises(NotAlive, match=r"this is no photograph.*nothing is stored"):
        enrol(gallery, FakeCamera(moved(photo_rgb, degrees, bent)))
    assert "sample 5 of 5" in capsys.readouterr().out  # all else was as wanted
    assert gallery.people() == [] and not gallery.faces.exists()


def test_the_live_video_enrols(gallery, shared):
    with open_camera(str(shared / "data" / "videos" / "one_face_head_turns_live.mp4")) as camera:
        enrol(gallery, camera)
    assert gallery.find("Ada").samples == 5
