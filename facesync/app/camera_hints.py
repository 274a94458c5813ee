"""Why a camera does not open, and what to do about it on this system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_OTHERS = "other cameras are --camera 1, 2, …; a video or an image can stand in for one"


def why_not(number: int) -> str:
    """Say why camera `number` does not open, as far as can be told, and what helps: one line."""
    if sys.platform.startswith("linux"):
        return _linux(number)
    if sys.platform == "darwin":
        return (
            "is it plugged in and not in use by another program? macOS also asks once: System "
            "Settings > Privacy & Security > Camera must allow the terminal, which is then to be "
            f"started anew; {_OTHERS}"
        )
    if sys.platform == "win32":
        return (
            "is it plugged in and not in use by another program? Settings > Privacy & security > "
            f"Camera must let desktop apps use the camera; {_OTHERS}"
        )
    return f"is it plugged in, allowed and not in use by another program? {_OTHERS}"


def _linux(number: int, devices: Path = Path("/dev")) -> str:
    """Tell from the device file: it is missing, forbidden, or there and busy."""
    device = devices / f"video{number}"
    if not device.exists():
        there = sorted(path.name for path in devices.glob("video[0-9]*"))
        have = f"there are {', '.join(there)}" if there else "no camera is plugged in"
        return f"there is no {device}: is it plugged in? {have}; {_OTHERS}"
    if not os.access(device, os.R_OK | os.W_OK):
        return (
            f"no permission for {device}: sudo usermod -aG video $USER, then log out and in again"
        )
    return (
        f"{device} is there: another program may be using it (fuser {device} says which), or it "
        "gives no images of itself (v4l2-ctl --list-devices names the one that does); " + _OTHERS
    )
