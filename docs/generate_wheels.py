"""Write the table of wheels in docs/install.md: what the app needs, and built for what.

    python -m pip install uv            # needed for this alone
    python docs/generate_wheels.py

It resolves requirements-app.txt with constraints.txt for each system and Python as pip would there,
with wheels alone: what had to be compiled ends it with an error. It asks the package index.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tomllib

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "install.md"
TABLE = re.compile(r"(?<=<!-- wheels -->\n).*?(?=<!-- end -->)", re.DOTALL)

SYSTEMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux aarch64 (Raspberry Pi)": "aarch64-manylinux_2_28",
    "macOS 14, arm64": "aarch64-apple-darwin",
    "Windows x64": "x86_64-pc-windows-msvc",
}
PYTHONS = ("3.11", "3.13")


def resolved(system: str, python: str) -> list[dict[str, Any]]:
    """Return the packages for a system and a Python, each with its wheels."""
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "pylock.toml"
        command = [
            *("uv", "pip", "compile", "--quiet", "requirements-app.txt", "-c", "constraints.txt"),
            *("--python-platform", SYSTEMS[system], "--python-version", python),
            *("--only-binary", ":all:", "--format", "pylock.toml", "--output-file", str(lock)),
        ]
        target = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
        if subprocess.run(command, cwd=ROOT, env=target, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit(f"requirements-app.txt has no wheels for {system}, Python {python}")
        packages: list[dict[str, Any]] = tomllib.loads(lock.read_text())["packages"]
    return packages


def described(packages: dict[str, dict[str, Any]], name: str) -> str:
    """Say what wheel of a package a system has, of what each Python has there."""
    found = {python: of[name] for python, of in packages.items() if name in of}
    if not found:
        return "not needed"
    pure = all("-none-any.whl" in wheel["url"] for p in found.values() for wheel in p["wheels"])
    only = "" if len(found) == len(PYTHONS) else f", Python {' and '.join(found)}"
    return ("any" if pure else "its own") + only


def table() -> str:
    """Return the table in Markdown."""
    wheels = {
        system: {
            python: {package["name"]: package for package in resolved(system, python)}
            for python in PYTHONS
        }
        for system in SYSTEMS
    }
    each = [of for pythons in wheels.values() for of in pythons.values()]
    versions: dict[str, set[str]] = {}
    for packages in each:
        for name, package in packages.items():
            versions.setdefault(name, set()).add(package["version"])
    lines = [f"| package | version | {' | '.join(SYSTEMS)} |", "|---" * (len(SYSTEMS) + 2) + "|"]
    for name, found in sorted(versions.items()):
        cells = [described(wheels[system], name) for system in SYSTEMS]
        lines.append(f"| {name} | {', '.join(sorted(found))} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: table(), text), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
