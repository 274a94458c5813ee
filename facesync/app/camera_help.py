"""Why a camera of this machine may not open, and what helps, for each system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

OTHERS = "try --camera 1, 2, …, or use a video or an image instead of a camera"


def why_not(camera: int | str) -> str:
    """Say in one line why a camera may not open on this system, and what to do."""
    if sys.platform.startswith("linux"):
        return _why_not_on_linux(Path("/dev"), camera)
    if sys.platform == "darwin":
        settings = (
            "macOS also asks once: System Settings > Privacy & Security > Camera must allow the "
            "terminal, which then has to be restarted"
        )
    elif sys.platform == "win32":
        settings = "Settings > Privacy & security > Camera must let desktop apps use the camera"
    else:
        settings = "does your system allow access to the camera?"
    return f"is it plugged in, and is no other program using it? {settings}; {OTHERS}"


def _why_not_on_linux(devices: Path, camera: int | str) -> str:
    device = devices / (f"video{camera}" if isinstance(camera, int) else camera)
    if not device.exists():
        found = sorted(path.name for path in devices.glob("video[0-9]*"))
        others = f", only {', '.join(found)}" if found else " or any other camera"
        return f"there is no {device}{others}: is it plugged in? Or {OTHERS}"
    if not os.access(device, os.R_OK | os.W_OK):
        return (
            f"no permission for {device}: sudo usermod -aG video $USER, then log out and in again"
        )
    return (
        f"{device} exists: another program may be using it (fuser {device} shows which), or it is "
        f"not the camera's image device (v4l2-ctl --list-devices shows which is); {OTHERS}"
    )
