"""Colab's module `google.colab`, as far as the notebook uses it; a test sets what it answers."""

from __future__ import annotations

import sys
import types
from pathlib import Path

MODULES = {
    "__init__": "",
    "drive": """
import os, pathlib
def mount(place):
    if os.environ.get("FAKE_DRIVE") == "refused":
        raise ValueError("mount failed")
    (pathlib.Path(place) / "MyDrive").mkdir(parents=True, exist_ok=True)
""",
    "userdata": """
import os
class SecretNotFoundError(Exception): pass
class NotebookAccessError(Exception): pass
class TimeoutException(Exception): pass
def get(name):
    answer = os.environ.get("FAKE_SECRET", "SecretNotFoundError")
    if answer in globals():
        raise globals()[answer](name)
    return answer
""",
    "files": """
def download(path):
    print("downloaded", path)
""",
    "output": """
import base64, os, pathlib
def eval_js(expression):
    answer = os.environ.get("FAKE_CAMERA", "NotAllowedError: Permission denied")
    if answer == "gone":
        raise RuntimeError("the tab was closed")
    if not os.path.isdir(answer):
        return {"error": answer}
    encoded = [base64.b64encode(path.read_bytes()).decode()
               for path in sorted(pathlib.Path(answer).iterdir())]
    return {"images": ["data:image/jpeg;base64," + each for each in encoded]}
""",
}


def write(folder: Path) -> Path:
    """Write the module below a folder and return that folder, for `sys.path`."""
    for name, text in MODULES.items():
        path = folder / "google" / "colab" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def install(monkeypatch) -> None:
    """Make the module importable in this process, for one test."""
    package = types.ModuleType("google.colab")
    monkeypatch.setitem(sys.modules, "google.colab", package)
    for name, text in MODULES.items():
        module = types.ModuleType(f"google.colab.{name}")
        exec(text, module.__dict__)
        setattr(package, name, module)
