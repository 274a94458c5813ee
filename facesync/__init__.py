"""FaceSync: train a face recognition model and use it, on your own machine.

`facesync.api` has the public names and a program to start from; they are loaded when first used,
so that importing the package costs nothing.
"""

from __future__ import annotations

import getpass
import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING

from facesync.version import __version__

if TYPE_CHECKING:
    from facesync.api import (
        CameraError,
        Comparison,
        DataError,
        DownloadError,
        Face,
        FaceSyncError,
        FileError,
        Gallery,
        ImageError,
        Liveness,
        Match,
        Model,
        ModelError,
        Person,
        Quality,
        StoreError,
        UsageError,
        load_model,
        open_gallery,
    )

# ONNX Runtime 1.29 and later report to their vendor unless this is set before they are imported;
# this module is imported before any other of the package.
if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
    warnings.warn(
        "onnxruntime was imported before facesync and may report to its vendor: import facesync "
        "first, or set ORT_DISABLE_TELEMETRY=1",
        RuntimeWarning,
        stacklevel=2,
    )
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# FFmpeg inside OpenCV reads it once, at the first video; our errors say what is wrong with one.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET

# Torch asks for the user's name when it is imported, which a user id without an account lacks.
try:
    getpass.getuser()
except (KeyError, OSError, ImportError):
    os.environ["LOGNAME"] = f"user-{os.getuid()}" if hasattr(os, "getuid") else "user"

__all__ = [
    "CameraError", "Comparison", "DataError", "DownloadError", "Face", "FaceSyncError",
    "FileError", "Gallery", "ImageError", "Liveness", "Match", "Model", "ModelError", "Person",
    "Quality", "StoreError", "UsageError", "__version__", "load_model", "open_gallery",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module("facesync.api"), name)
    raise AttributeError(f"module 'facesync' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
