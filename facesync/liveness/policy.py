"""The policy: from the evidence of an attempt to whether somebody is alive, and why.

It fails closed: what cannot be said is not live.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from facesync.liveness.camera import CameraLiveness
from facesync.liveness.challenge import Challenge, State
from facesync.liveness.evidence import Evidence
from facesync.liveness.flatness import DEPTH
from facesync.liveness.passive import PassiveModel
from facesync.liveness.settings import LOOKS, SURROUNDINGS

NEEDED, PASSED = "needed", "passed"
"""States of `Liveness.challenge`, besides None and `failed: …`."""

_KINDS = {"print": "a print, not a live face", "replay": "a screen, not a live face"}


@dataclass(frozen=True)
class Liveness:
    """Whether the face of an attempt is alive.

    Attributes:
        live: None where it cannot be said: a still image, or too few looks.
        score: median of the passive model, 0…1; None for too few looks.
        reason: in words, for the person.
        evidence: what was seen, in words.
        challenge: None if none was asked for; `needed`, `passed` or `failed: …`.
    """

    live: bool | None
    score: float | None
    reason: str
    evidence: tuple[str, ...] = ()
    challenge: str | None = None


def still() -> Liveness:
    """Return what is said of an image that is not one of a camera."""
    return Liveness(None, None, "a still image cannot show that somebody is alive")


class Policy:
    """Decides by a mode.

    Args:
        mode: `passive`, `auto` or `challenge`.
        passive: the model that the evidence is from.
        camera: what is known of the camera; None for a new one.
    """

    def __init__(self, mode: str, passive: PassiveModel, camera: CameraLiveness | None) -> None:
        if mode not in ("passive", "auto", "challenge"):
            raise ValueError(f"no policy {mode}")
        self._mode = mode
        self._thresholds = passive.thresholds
        self._camera = camera

    def judge(self, evidence: Evidence, *, recorded: bool) -> Liveness:
        """Judge the looks of a verification.

        Args:
            evidence: of the frames so far.
            recorded: they are from a file, which cannot be asked to turn its head.

        Returns:
            With `challenge` `needed` where that has to decide.
        """
        refusal = self.refusal(evidence)
        if refusal is not None:
            return refusal
        sure = self._camera is not None and self._surely_live(evidence)
        if self._mode == "challenge" or (self._mode == "auto" and not sure and not recorded):
            return _said(evidence, None, "turns of the head are needed", NEEDED)
        if _score(evidence) >= self._thresholds.threshold:
            return _said(evidence, True, "the face looks live")
        return _said(evidence, False, f"it may be {_KINDS[evidence.attack]}")

    def after(self, evidence: Evidence, challenge: Challenge) -> Liveness:
        """Judge a challenge that is over, or was broken off."""
        if challenge.state is State.PASSED:
            refusal = self.refusal(evidence)
            passed = _said(evidence, True, "the head turned as asked", PASSED)
            return passed if refusal is None else replace(refusal, challenge=PASSED)
        failed = challenge.reason or "it was broken off"
        return _said(evidence, False, failed, f"failed: {failed}")

    def enrolled(self, evidence: Evidence, *, recorded: bool) -> Liveness:
        """Judge the frames of an enrolment: a face with depth, or one that surely looks live."""
        refusal = self.refusal(evidence)
        if refusal is not None:
            return refusal
        held = evidence.moves_with_background and _score(evidence) < self._thresholds.threshold
        if evidence.depth >= DEPTH and not held:
            return _said(evidence, True, "the face has depth")
        if self._surely_live(evidence):
            return _said(evidence, True, "the face looks live")
        hint = "the head must turn in it" if recorded else "turn your head to each side"
        return _said(evidence, False, f"nothing shows that this is no photograph: {hint}")

    def refusal(self, evidence: Evidence) -> Liveness | None:
        """Judge what is the same in every mode; None if the face may be live."""
        if not evidence.same:
            return _said(evidence, False, "more than one person was in front of the camera")
        if evidence.score is None:
            reason = f"too few looks at the face: {evidence.looks} of {LOOKS}"
            return _said(evidence, None, reason)
        if not evidence.score >= self._thresholds.spoof_below:
            return _said(evidence, False, f"it looks like {_KINDS[evidence.attack]}")
        return None

    def _surely_live(self, evidence: Evidence) -> bool:
        """Return whether the passive model alone is enough; where the face fills the frame, no."""
        seen = evidence.surroundings >= SURROUNDINGS and not evidence.moves_with_background
        return seen and _score(evidence) >= self._thresholds.live_from


def _score(evidence: Evidence) -> float:
    assert evidence.score is not None
    return evidence.score


def _said(
    evidence: Evidence, live: bool | None, reason: str, challenge: str | None = None
) -> Liveness:
    return Liveness(live, evidence.score, reason, evidence.in_words(), challenge)
