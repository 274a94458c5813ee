"""Enrolment in front of a camera: which pose is wanted next, and when to take a sample."""

from __future__ import annotations

from facesync.faces.quality import Pose
from facesync.faces.recognizer import Seen
from facesync.gallery.enrolment import SAMPLES, Enrolment, Verdict

PROMPTS = {
    "straight": "look straight into the camera",
    "left": "turn your head to your left",
    "right": "turn your head to your right",
    "up": "lift your chin a little",
    "down": "lower your chin a little",
}

SAMPLE_SECONDS, REFUSED_SECONDS = 0.5, 0.2
"""Shortest wait after a sample, and after a frame that was refused as a sample."""

POSE_SECONDS = 6.0
"""After this long without the wanted pose, any other one will do: not everybody can turn their
head."""

TURN_SECONDS = 20.0
"""How long somebody is asked to turn the head further who has not shown that it is one: with all
samples there, a photograph would be enrolled."""

_FURTHER = "turn your head further to one side, then to the other"

_TURN, _NOD, _SKEW = 11.0, 9.0, 22.0  # degrees


class PoseGuide:
    """Takes the samples of one person from the frames of a camera.

    If it is `guided`, it asks for different poses; a recording cannot be asked. Every good frame
    is shown to the enrolment's `presence`, too.
    """

    def __init__(self, enrolment: Enrolment, *, guided: bool = True) -> None:
        self.enrolment = enrolment
        self._guided = guided
        self._next = self._now = 0.0
        self._full_since: float | None = None
        self._waiting_since: float | None = None

    @property
    def full(self) -> bool:
        """Whether all samples are there."""
        return len(self.enrolment) >= SAMPLES

    @property
    def done(self) -> bool:
        """Whether nothing more is to be had: samples, nor a turn that shows depth."""
        if self.depth is None:
            return self.full
        waited = 0.0 if self._full_since is None else self._now - self._full_since
        return waited > TURN_SECONDS or self.depth >= 1.0

    @property
    def depth(self) -> float | None:
        """How far the head has turned of what is needed, from 0; None unless only that counts."""
        presence = self.enrolment.presence
        return presence.depth if presence is not None and self.full else None

    @property
    def prompt(self) -> str:
        """What to do next."""
        if self.full:
            return _FURTHER
        missing = [pose for pose in PROMPTS if pose not in self.enrolment.poses]
        return PROMPTS[missing[0]] if missing else "move your head a little"

    def consider(self, seen: Seen | None, seconds: float, *, asked: bool = False) -> Verdict | None:
        """Take a sample if the frame is good and it is time for one.

        When somebody has `asked` for it by a key, any pose is taken, at once.

        Returns:
            What came of it; None if the frame is good, but another pose or moment is wanted.

        Raises:
            NotAlive: it is surely an attack.
            TwoPeople: too many samples did not agree with the others.
        """
        self._now = seconds
        if self.full and self._full_since is None:
            self._full_since = seconds
        fault = self.enrolment.fault(seen)
        if fault:
            return Verdict(False, fault)
        assert seen is not None
        if self.enrolment.presence is not None:
            self.enrolment.presence.look(seen)
        if self.full:
            return None
        if self._waiting_since is None:
            self._waiting_since = seconds
        pose = self._pose(seen.quality.pose)
        if not asked and seconds < self._next:
            return None
        wanted = bool(pose) and pose not in self.enrolment.poses
        patient = self._guided and seconds - self._waiting_since < POSE_SECONDS
        if not asked and patient and not wanted:
            return None
        verdict = self.enrolment.offer(seen, pose)
        self._next = seconds + (SAMPLE_SECONDS if verdict.taken else REFUSED_SECONDS)
        if verdict.taken:
            self._waiting_since = None
        return verdict

    def _pose(self, pose: Pose) -> str:
        """Name a pose, "" if it has none; turns are relative to the person's own straight pose."""
        straight = self.enrolment.poses.get("straight")
        if straight is None:
            frontal = abs(pose.yaw) <= _SKEW / 2 and abs(pose.pitch) <= _SKEW
            return "straight" if frontal else ""
        yaw, pitch = pose.yaw - straight.yaw, pose.pitch - straight.pitch
        if abs(yaw) >= _TURN and abs(pitch) <= _SKEW:
            return "left" if yaw > 0 else "right"
        if abs(pitch) >= _NOD and abs(yaw) <= _SKEW:
            return "up" if pitch > 0 else "down"
        return "straight" if abs(yaw) < _TURN and abs(pitch) < _NOD else ""
