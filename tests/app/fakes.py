"""Stand-ins for models and cameras: what is in an image is written in its colour.

Red says how many faces there are, green whose the first one is, blue tells images apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

import numpy as np

from facesync.app.cameras import Camera, Frame
from facesync.faces.detection import Face
from facesync.faces.quality import Pose, Quality
from facesync.faces.recognizer import Comparison, Recognizer, Seen

STEP = 40  # between the values that a colour can have


def image(faces: int = 1, who: int = 1, variant: int = 0) -> np.ndarray:
    """Image_rgb, (120, 160, 3), that shows so many faces to a `FakeRecognizer`."""
    return np.full((120, 160, 3), (faces * STEP, who * STEP, variant), dtype=np.uint8)


def _middle(image_rgb: np.ndarray) -> tuple[int, int, int]:
    height, width = image_rgb.shape[:2]
    red, green, blue = (int(value) for value in image_rgb[height // 2, width // 2])
    return red, green, blue


def embedding(who: int, variant: int = 0) -> np.ndarray:
    """Nearly the same for all images of one person, nearly orthogonal between people."""
    vector = np.zeros(512)
    vector[who] = 1.0
    vector[100 + variant] = 0.3
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class FakeRecognizer:
    """Reads off an image what the real one would have to find."""

    def __init__(self, settings: object = None, fingerprint: str = "model-a") -> None:
        given = getattr(settings, "threshold", None)
        self.threshold = 0.6 if given is None else given
        self.settings = settings
        self.fingerprint = fingerprint
        self.model_in_words = "fake weights"
        self.calibrated_on = self.measured = None
        self.trusted = True
        self.loaded = False
        self.looks = 0
        self.failure: Exception | None = None

    def load(self) -> None:
        self.loaded = True

    def threshold_for(self, comparisons: int) -> float:
        return self.threshold

    threshold_if_any = Recognizer.threshold_if_any

    def nearly_from(self, comparisons: int) -> float:
        return self.threshold_for(comparisons) - 0.05

    def probability(self, similarity: float) -> float | None:
        return None

    def refused_share(self, enrolled: int) -> float | None:
        return None

    def threshold_in_words(self, people: int) -> str:
        return f"{self.threshold_for(people):.3f} (for {people})"

    def compare(self, one: np.ndarray, other: np.ndarray) -> Comparison:
        similarity = float(one @ other)
        return Comparison(similarity, self.threshold, 0.75, similarity >= self.threshold)

    def trust(self) -> dict[str, object]:
        model = {"name": self.model_in_words, "trusted": self.trusted, "why": "as the test says"}
        return {"trusted": self.trusted, "model": model}

    def facts(self, people: int) -> dict[str, object]:
        return {
            "source": self.model_in_words,
            "why": "trained here",
            "trusted": self.trusted,
            "trust": "as the test says",
            "fingerprint": self.fingerprint,
            "crop": "none",
            "threshold": self.threshold,
            "threshold_in_words": self.threshold_in_words(people),
            "calibration": None,
        }

    def find(self, image_rgb: np.ndarray) -> list[Face]:
        self.load()
        if self.failure:
            raise self.failure
        return [face(index) for index in range(round(_middle(image_rgb)[0] / STEP))]

    def follow(self, image_rgb: np.ndarray, faces: list[Face]) -> list[Face]:
        return self.find(image_rgb)[: len(faces)]

    def embed(self, image_rgb: np.ndarray, faces: list[Face]) -> np.ndarray:
        """The first face is that of the person whom the image shows, the next of the next."""
        _, green, blue = _middle(image_rgb)
        who = round(green / STEP)
        rows = [embedding(who + place, blue) for place in range(len(faces))]
        return np.array(rows, dtype=np.float32).reshape(-1, 512)

    def find_and_embed(self, image_rgb: np.ndarray) -> tuple[list[Face], np.ndarray]:
        faces = self.find(image_rgb)
        return faces, self.embed(image_rgb, faces)

    def turn_to(self, seen: Seen, face: Face) -> Seen:
        _, green, blue = _middle(seen.image_rgb)
        place = [each is face for each in seen.faces].index(True)
        faces = [face, *(each for each in seen.faces if each is not face)]
        return Seen(seen.image_rgb, faces, embedding(round(green / STEP) + place, blue), quality())

    def look(self, image_rgb: np.ndarray, *, photograph: bool = False) -> Seen | None:
        self.looks += 1
        faces = self.find(image_rgb)
        if not faces:
            return None
        _, green, blue = _middle(image_rgb)
        return Seen(image_rgb, faces, embedding(round(green / STEP), blue), quality(blue))


def quality(variant: int = 0) -> Quality:
    """A good one; the poses that are asked for come in turns."""
    yaw, pitch = ((0, 0), (20, 0), (-20, 0), (0, 15), (0, -15))[variant % 5]
    return Quality(100, 0.3, 120, 40, Pose(yaw, pitch, 0))


def face(index: int = 0) -> Face:
    box = np.array([60, 40, 100 - index, 80], dtype=np.float32)
    return Face(box, np.zeros((5, 2), dtype=np.float32), 0.99)


class FakeCamera(Camera):
    """Gives frames of RGB images at 10 a second, without waiting; then ends, fails or hangs.

    Args:
        images_rgb: the frames.
        live: see `Camera`; the frames then come with a short pause.
        then: `end`, `hang`, or an error that is raised.
    """

    def __init__(
        self,
        images_rgb: Iterable[np.ndarray],
        *,
        live: bool = False,
        then: str | Exception = "end",
    ) -> None:
        self._images = iter(images_rgb)
        self.live = live
        self._then = then
        self._number = 0
        self.closed = threading.Event()

    def read(self) -> Frame | None:
        image_rgb = next(self._images, None)
        if image_rgb is None:
            if isinstance(self._then, Exception):
                raise self._then
            if self._then == "hang":
                self.closed.wait(60)
            return None
        if self.live:
            time.sleep(0.01)
        frame = Frame(self._number, self._number / 10, image_rgb[:, :, ::-1].copy())
        self._number += 1
        return frame

    def close(self) -> None:
        self.closed.set()


def no_page(session: object, options: object) -> int:
    """Serve no page: for a menu that nobody asks for one."""
    raise AssertionError("nobody has asked for the page")
