"""`doctor`: what works on this machine, and which model, threshold and store are in use.

It ends with a verdict. It says nothing personal: no names, no images, no home folder.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import stat
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facesync import cli
from facesync.app.cameras import open_camera
from facesync.app.settings import AppSettings
from facesync.app.window import why_no_window
from facesync.errors import FaceSyncError
from facesync.faces.recognizer import Recognizer
from facesync.gallery.keys import place_in_words
from facesync.gallery.matching import comparable
from facesync.gallery.on_files import FileGallery
from facesync.gallery.reembedding import has_images
from facesync.gallery.server.gallery import ServerGallery
from facesync.gallery.store import Gallery
from facesync.liveness.passive import load_passive

PACKAGES = ("onnxruntime", "opencv-python", "opencv-python-headless", "numpy", "pillow",
            "cryptography", "psycopg", "faiss-cpu", "starlette", "uvicorn", "websockets", "torch",
            "torchvision", "facenet-pytorch", "scipy")  # fmt: skip

_CAMERAS = 4  # numbers that are tried: 0 to 3
_TEST_SECONDS, _TEST_FRAMES = 3.0, 30
_DARK = 40  # of 255
_OPEN = "others may read"


def examine(settings: AppSettings, gallery: Gallery, recognizer: Recognizer) -> dict[str, Any]:
    """Examine everything and return it as plain data for JSON."""
    sources = [str(number) for number in range(_CAMERAS)]
    if settings.camera not in sources:
        sources.insert(0, settings.camera)
    cameras = [_camera(source, settings) for source in sources]
    store = _store(gallery)
    model = _model(settings, recognizer, store.get("people", 1))
    if "people" in store and "problem" not in model:
        people = gallery.people()
        others = [p for p in people if not comparable([p], recognizer.fingerprint)]
        store["of_this_model"] = len(people) - len(others)
        store["to_embed_again"] = sum(has_images(gallery, person) for person in others)
    facts = {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": _packages(),
        "window": why_no_window() or "can be opened",
        "cameras": [
            camera
            for source, camera in zip(sources, cameras, strict=True)
            if camera["opens"] or source == settings.camera
        ],
        "model": model,
        "liveness": _liveness(settings.liveness),
        "store": store,
    }
    return {**facts, "faults": _faults(facts, shown_source(settings.camera))}


def _faults(facts: dict[str, Any], chosen: str) -> list[str]:
    """Say what keeps the app from working or the data from being private; nothing if all is well.

    A missing window is not a fault: the app then uses the terminal.
    """
    faults = []
    cameras = {camera["camera"]: camera for camera in facts["cameras"]}
    camera = cameras.pop(chosen)
    if not camera["opens"]:
        instead = " or ".join(f"--camera {other}" for other in cameras)
        faults.append(f"camera {chosen} cannot be used" + (f": try {instead}" if instead else ""))
    elif camera["brightness"] < _DARK:
        faults.append(f"camera {chosen} sees next to nothing")
    if "problem" in facts["model"]:
        faults.append("the model cannot be loaded")
    if "problem" in facts["liveness"]:
        faults.append("the liveness model cannot be loaded")
    store = facts["store"]
    if "problem" in store:
        faults.append("the store cannot be read")
    elif "of_this_model" in store:
        if lost := store["people"] - store["of_this_model"] - store["to_embed_again"]:
            made = cli.count(lost, "person was", "people were")
            faults.append(f"{made} registered with another model: register them again")
    for file, mode in (("path", "mode"), ("faces", "faces_mode")):
        if _OPEN in store.get(mode, ""):
            faults.append(f"{_OPEN} {store[file]}")
    return faults


def in_words(facts: dict[str, Any]) -> str:
    """Write the facts as text, one a line."""
    lines = [f"system     {facts['system']}, Python {facts['python']}"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    alone = "" if "torch" in facts["packages"] else "; without torch, as the app may be"
    lines.append(f"packages   {packages}{alone}")
    lines.append(f"window     {facts['window']}")
    for camera in facts["cameras"]:
        if camera["opens"]:
            width, height = camera["size_wh"]
            lines.append(
                f"camera     {camera['camera']}: {width} x {height}, {camera['rate']} frames/s, "
                f"brightness {camera['brightness']:.0f} of 255{_light(camera['brightness'])}"
            )
        else:
            lines.append(f"camera     {camera['camera']}: {camera['problem']}")
    model = facts["model"]
    if "problem" in model:
        lines.append(f"model      {model['problem']}")
    else:
        why = f", {model['why']}" if model["why"] else ""
        lines.append(f"model      {model['source']} ({model['fingerprint']}){why}")
        lines.append(f"trusted    {'yes' if model['trusted'] else 'no'}: {model['trust']}")
        lines.append(f"crop       {model['crop']}")
        lines.append(f"threshold  {model['threshold_in_words']}, margin {model['margin']}")
    lines.append(f"liveness   {_liveness_in_words(facts['liveness'])}")
    store = facts["store"]
    what = "does not exist yet"
    if store["exists"]:
        if "problem" in store:
            what = store["problem"].removeprefix(f"{store['path']} ")
            what += f", {store['mode']}" if "mode" in store else ""
        else:
            people = cli.count(store["people"], "person", "people")
            kept = store.get("mode") or store["server"]
            what = f"{people}, {kept}, {store['encryption']}"
        if again := store.get("to_embed_again"):
            what += f"; {again} of another model, embedded again at the next use"
    lines.append(f"store      {store['path']}: {what}")
    if "faces" in store:
        lines.append(f"faces      {store['faces']}: {store['faces_mode']}")
    verdict = "all is well"
    if facts["faults"]:
        verdict = f"not everything works: {'; '.join(facts['faults'])}"
    elif not model["trusted"]:
        verdict = "everything works, but the model is not trusted"
    lines.append(f"verdict    {verdict}")
    return "\n".join(lines)


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _camera(source: str, settings: AppSettings) -> dict[str, Any]:
    """Open a camera, read frames for a moment and say what they are like."""
    facts: dict[str, Any] = {"camera": shown_source(source), "opens": False}
    try:
        with open_camera(source, offline=settings.offline) as camera:
            last = camera.read()
            begun = time.monotonic()
            passed, count = 0.0, 0
            while last is not None and count < _TEST_FRAMES and passed < _TEST_SECONDS:
                if (following := camera.read()) is None:
                    break
                last, count, passed = following, count + 1, time.monotonic() - begun
    except FaceSyncError as error:
        return {**facts, "problem": _without_home(str(error).replace(source, shown_source(source)))}
    if last is None:
        return {**facts, "problem": "it delivers no frames"}
    if not camera.live:
        passed = last.seconds
    return {
        **facts,
        "opens": True,
        "size_wh": list(last.frame_bgr.shape[1::-1]),
        "rate": round(count / passed, 1) if passed else 0.0,
        "brightness": round(float(last.frame_bgr.mean()), 1),
    }


def _light(brightness: float) -> str:
    if brightness < _DARK:
        return ": too dark, turn on a light or uncover the lens"
    return ": very bright" if brightness > 220 else ""


def _model(settings: AppSettings, recognizer: Recognizer, people: int) -> dict[str, Any]:
    try:
        facts = {**recognizer.facts(people), "margin": settings.margin}
    except FaceSyncError as error:
        return {"problem": _without_home(str(error))}
    return {
        key: _without_home(each) if isinstance(each, str) else each for key, each in facts.items()
    }


def _liveness(mode: str) -> dict[str, Any]:
    if mode == "off":
        return {"mode": mode}
    try:
        passive = load_passive()
    except FaceSyncError as error:
        return {"mode": mode, "problem": _without_home(str(error))}
    return {
        "mode": mode,
        "model": _without_home(passive.name),
        "thresholds": asdict(passive.thresholds),
    }


def _liveness_in_words(facts: dict[str, Any]) -> str:
    if "thresholds" not in facts:
        return facts.get("problem", "off: photographs and screens are not refused")
    scores = {name: cli.decimals(score) for name, score in facts["thresholds"].items()}
    return (
        f"{facts['mode']}, model {facts['model']}: a score under {scores['spoof_below']} is an "
        f"attack, from {scores['live_from']} live; {scores['threshold']} where it alone decides"
    )


def _store(gallery: Gallery) -> dict[str, Any]:
    facts: dict[str, Any] = {"path": _without_home(gallery.where), "exists": True}
    facts |= _files(gallery) if isinstance(gallery, FileGallery) else {"server": "does not answer"}
    try:
        content = gallery.content()
        facts["encryption"] = "not encrypted"
        facts["people"] = len(content.people)
        if isinstance(gallery, ServerGallery):
            facts |= {"server": gallery.about(), "exists": content.plain is not None}
        if content.key is not None:
            facts["encryption"] = f"encrypted with {place_in_words(content.key.header)}"
            facts["encryption"] = _without_home(facts["encryption"])
    except FaceSyncError as error:
        facts["problem"] = _without_home(str(error))
    return facts


def _files(gallery: FileGallery) -> dict[str, Any]:
    return {
        "path": _without_home(str(gallery.path)),
        "exists": gallery.path.exists(),
        "mode": _mode(gallery.path, private=0o600),
        "folder_mode": _mode(gallery.path.parent, private=0o700),
        "faces": _without_home(str(gallery.faces)),
        "faces_mode": _mode(gallery.faces, private=0o700),
    }


def _mode(path: Path, private: int) -> str:
    """Permissions, such as `0600`, and whether others may read it."""
    if not path.exists():
        return "missing"
    mode = stat.S_IMODE(path.stat().st_mode)
    if sys.platform != "win32" and mode & ~private:
        return f"{mode:04o}: {_OPEN} it (should be {private:04o})"
    return f"{mode:04o}"


def shown_source(source: str) -> str:
    """Write a camera's source without passwords and the name of the home folder."""
    return _without_home(cli.masked(source))


def _without_home(text: str) -> str:
    """Write ~ for the home folder, whose name may be the user's."""
    home = os.path.expanduser("~")  # stays ~ where it is unknown, unlike Path.home()
    return text.replace(home, "~") if home != "/" else text
