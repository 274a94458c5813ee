"""Attempts that were nearly accepted: an image of the last is kept, to be offered as a sample.

Once the same person is accepted within minutes, the app may ask whether to add the image to their
samples. It stays in memory and is never stored unasked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from facesync.faces.quality import CAMERA, complaint
from facesync.faces.recognizer import Seen

OFFER_SECONDS = 300.0
"""How long after an attempt its image may be offered."""


@dataclass(frozen=True)
class NearMiss:
    """An image of an attempt that was nearly accepted.

    Attributes:
        seen: the image, which shows one face, well.
        at: when it was seen, in the seconds of `time.monotonic`.
    """

    seen: Seen
    at: float


class NearMisses:
    """What a session remembers of such attempts.

    Attributes:
        offer: the image to ask about, and whose it is; None unless the last attempt was theirs.
    """

    def __init__(self) -> None:
        self.offer: tuple[str, NearMiss] | None = None
        self._last: NearMiss | None = None

    def keep(self, frames: Sequence[Seen]) -> None:
        """Keep the best of an attempt's frames in place of an earlier one's, if any is good."""
        good = [f for f in frames if len(f.faces) == 1 and not complaint(f.quality, CAMERA)]
        best = max(good, key=lambda frame: frame.quality.overall, default=None)
        self._last = None if best is None else NearMiss(best, time.monotonic())

    def recent(self) -> NearMiss | None:
        """Return the last one, unless that was too long ago."""
        if self._last is not None and time.monotonic() - self._last.at > OFFER_SECONDS:
            self._last = None
        return self._last

    def take_offer(self) -> tuple[str, NearMiss] | None:
        """Return the offer, if any; it is not made twice."""
        offer, self.offer = self.offer, None
        if offer is not None:
            self._last = None
        return offer
