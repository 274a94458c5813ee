"""How much liveness is asked for, and the numbers behind it."""

from __future__ import annotations

LIVENESS = ("off", "passive", "auto", "challenge")
"""Nothing; the passive model alone; a challenge where it is not sure; always a challenge."""

LOOKS = 5
"""Frames that an attempt must have before anything is said of it."""

SURROUNDINGS = 0.6
"""Share of the context crop, 0…1, below which the face fills the frame and is no proof."""
