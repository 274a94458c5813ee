"""Who is before the camera, in tests of screens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facesync.app.cameras import Frame
from facesync.app.drawing import View
from facesync.app.live import Result
from facesync.app.screens import Screen
from facesync.faces.recognizer import Seen
from tests.app.fakes import FakeRecognizer, embedding, image, quality
from tests.liveness.fakes import face, head


def result(number: int, faces: int = 1, who: int = 1) -> Result:
    image_rgb = image(faces, who, variant=number)
    frame = Frame(number, number / 10, image_rgb[:, :, ::-1])
    return Result(frame, FakeRecognizer().look(image_rgb))


class Somebody:
    """Somebody before the camera, ten frames a second, who sees the screen and answers it.

    Args:
        screen: what they look at.
        answers: where they turn, from where the ring says: right and down in the frame, -1…1.
        shape: landmarks from yaw and pitch.
    """

    def __init__(
        self,
        screen: Screen,
        answers: Callable[[tuple[int, int]], tuple[int, int]] = lambda side: side,
        shape: Callable[[float, float], np.ndarray] = head,
    ) -> None:
        self.screen, self.answers, self.shape = screen, answers, shape
        self.who, self.turned, self.number = 1, np.zeros(2), 0
        self.views: list[View] = []

    def look(self, frames: int = 1) -> None:
        """Show so many frames, each a little further in the direction asked for."""
        for _ in range(frames):
            seen = None
            if self.who:
                landmarks = self.shape(self.turned[0], -self.turned[1])
                image_rgb = np.full((480, 640, 3), 99, np.uint8)
                embedded = embedding(self.who, self.number % 50)
                seen = Seen(image_rgb, [face(landmarks)], embedded, quality())
            frame = Frame(self.number, self.number / 10, np.zeros((480, 640, 3), np.uint8))
            shown = Result(frame, seen)
            self.screen.update(shown)
            self.views.append(self.screen.view(shown, frame.seconds))
            ring = self.views[-1].ring
            wanted = 40 * np.array(self.answers(ring.side if ring else (0, 0)))
            self.turned += np.clip(wanted - self.turned, -6, 6)
            self.number += 1

    def said(self) -> list[str]:
        """What stood on the screen, without the time left; each once in a row."""
        words = [view.status.split(" (")[0] for view in self.views]
        return [one for one, before in zip(words, ["", *words], strict=False) if one != before]
