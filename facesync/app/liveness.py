"""Liveness of one attempt: what its frames say, the challenge if one is needed, the outcome."""

from __future__ import annotations

from dataclasses import replace

from facesync.faces.recognizer import Seen
from facesync.gallery.matching import Decision
from facesync.liveness.challenge import Challenge, Look, State, random_order
from facesync.liveness.evidence import Evidence
from facesync.liveness.policy import NEEDED, Policy


class LivenessCheck:
    """Refuses an attempt that does not show somebody alive.

    Args:
        policy: decides.
        evidence: without any looks yet.
    """

    def __init__(self, policy: Policy, evidence: Evidence) -> None:
        self._policy = policy
        self._evidence = evidence
        self._challenge: Challenge | None = None

    def look(self, seen: Seen) -> None:
        """Take in a frame of the attempt, of its main face."""
        self._evidence.look(seen.image_rgb, seen.faces[0], seen.embedding)

    def challenge(self, *, recorded: bool) -> Challenge | None:
        """Return the challenge that has to decide; None if the looks do."""
        if self._policy.judge(self._evidence, recorded=recorded).challenge == NEEDED:
            self._challenge = Challenge(random_order())
        return self._challenge

    def watch(self, challenge: Challenge, seen: Seen | None, seconds: float) -> None:
        """Take in a frame of the challenge; None if it shows no face."""
        if seen is None:
            challenge.update(Look(seconds, None))
        else:
            glance = self._evidence.glance(
                seen.image_rgb,
                seen.faces[0],
                seen.embedding,
                seconds,
                begins=challenge.state is State.STRAIGHT,
            )
            challenge.update(glance)

    def conclude(self, decision: Decision, *, recorded: bool) -> Decision:
        """Add the liveness to a decision; whoever was not shown to be alive is refused.

        An attack is not `nearly` accepted either: its image is no sample to offer.
        """
        if self._challenge is not None:
            liveness = self._policy.after(self._evidence, self._challenge)
        else:
            liveness = self._policy.judge(self._evidence, recorded=recorded)
        decision = replace(decision, liveness=liveness)
        if liveness.live is True:
            return decision
        if decision.accepted:
            return replace(decision, accepted=False, name=None, reason=liveness.reason)
        return replace(decision, nearly=decision.nearly and liveness.live is None)
