"""Nobody is enrolled from a photograph: whether the person before the camera is there alive.

It watches the frames of the enrolment itself. The poses that are asked for turn the head, and the
nose of a head moves as that of a print or a still on a screen cannot (`liveness.flatness`); whoever
does not turn has to look live beyond doubt.
"""

from __future__ import annotations

from collections.abc import Callable

from facesync.errors import ImageError
from facesync.faces.recognizer import Seen
from facesync.liveness.evidence import Evidence
from facesync.liveness.flatness import DEPTH
from facesync.liveness.policy import Policy
from facesync.liveness.settings import LOOKS

SURE_LOOKS = 2 * LOOKS
"""Frames after which an enrolment that is surely an attack ends: some of anybody score low."""


class NotAlive(ImageError):
    """Nothing shows that the person is there alive; nothing may be stored."""


class Presence:
    """Watches the frames of one enrolment.

    Args:
        policy: judges them.
        evidence: collects what they show; of this enrolment alone.
        recorded: the frames are those of a file, not of a camera.
        learn: called with the evidence once somebody was enrolled, to learn about the camera.
    """

    def __init__(
        self,
        policy: Policy,
        evidence: Evidence,
        *,
        recorded: bool = False,
        learn: Callable[[Evidence], object] = lambda evidence: None,
    ) -> None:
        self._policy = policy
        self._evidence = evidence
        self._recorded = recorded
        self._learn = learn

    @property
    def depth(self) -> float:
        """How far the turns have shown that the head is none in a photograph; from 1 on they do."""
        return self._evidence.depth / DEPTH

    def look(self, seen: Seen) -> None:
        """Take in a frame with one face.

        Raises:
            NotAlive: it is surely an attack, or another person stepped in.
        """
        self._evidence.look(seen.image_rgb, seen.faces[0], seen.embedding)
        if self._evidence.looks >= SURE_LOOKS:
            refusal = self._policy.refusal(self._evidence)
            if refusal is not None:
                raise NotAlive(f"{refusal.reason}; nothing is stored")

    def confirm(self) -> None:
        """Do nothing if the person is alive.

        Raises:
            NotAlive: they are not, or too little was seen to say so.
        """
        judged = self._policy.enrolled(self._evidence, recorded=self._recorded)
        if not judged.live:
            raise NotAlive(f"{judged.reason}; nothing is stored")

    def learn(self) -> None:
        """Learn from the person, who is enrolled now, what this camera does to the score."""
        self._learn(self._evidence)
