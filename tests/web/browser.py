"""A real browser before the real app: `web` as a person starts it, a video as the camera."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from facesync.web.access import Keys
from tests.conftest import ROOT
from tests.web.servers import API_TOKEN, Served, web_running


def needed() -> str:
    """Return where Chromium is; without it, or without what drives it, the test is skipped."""
    pytest.importorskip("playwright", reason="Playwright (requirements-dev.txt) is not installed")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    return found


def axe() -> str:
    """Return the source of axe-core, which looks for what keeps people from using a page."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python (requirements-dev.txt) is not installed")
    return next(Path(found.origin).parent.rglob("axe.min.js")).read_text()


def film(path: Path, images_bgr: Iterable[np.ndarray]) -> Path:
    """Write what Chromium's camera shall show, again and again; uint8 BGR."""
    with path.open("wb") as file:
        for image_bgr in images_bgr:
            file.write(cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1])
    return path


@dataclass
class App:
    """The app, serving its page.

    Attributes:
        served: raw clients with the token for programs.
        folder: where its store is.
        address: with the one-time token.
        state: cookies, once a browser has opened the address.
    """

    served: Served
    folder: Path
    address: str
    state: Any = None

    def people(self) -> dict[str, int]:
        """Return everybody who is registered, with the number of their samples."""
        people = self.served.ask("GET", "/api/people").json["people"]
        return {each["name"]: each["samples"] for each in people}

    def register(self, name: str, images: Iterable[Path], *allowed: str) -> None:
        """Register somebody as a program does."""
        files = [("images", (image.name, image.read_bytes())) for image in images]
        flags = [(each, "true") for each in allowed]
        answer = self.served.form("/api/people", ("name", name), *files, *flags)
        assert answer.status == 201, answer.body

    def check(self) -> None:
        """Check that the store is in order."""
        store = ["--embeddings", str(self.folder / "s.pkl"), "--faces", str(self.folder / "f")]
        command = [sys.executable, str(ROOT / "faceid_app.py"), *store, "store", "check"]
        found = subprocess.run(
            command, env={**os.environ, **_environment(self.folder)}, capture_output=True, text=True
        )
        assert found.returncode == 0, found.stdout + found.stderr


def _environment(home: Path) -> dict[str, str]:
    homes = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA")}
    return {**homes, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


@contextmanager
def app(folder: Path, *options: object, env: Mapping[str, str] | None = None) -> Iterator[App]:
    """Run `web` with a folder and a home of its own."""
    token = folder / "token"
    token.touch(0o600)
    token.write_text(API_TOKEN)
    always = "--model", "embedded", "--api-token", token
    with web_running(folder, *always, *options, env={**_environment(folder), **(env or {})}) as web:
        port = urlsplit(web.address).port
        assert port is not None
        yield App(Served(port, Keys(), None), folder, web.address)  # type: ignore[arg-type]


class Browser:
    """Chromium with a film as its camera; it notes requests to anywhere but the app."""

    def __init__(self, playwright: Any, chromium: str, film: Path | None = None) -> None:
        camera = [
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            *([f"--use-file-for-fake-video-capture={film}"] if film else []),
        ]
        self._browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", *camera]
        )
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []

    def close(self) -> None:
        """Close the browser."""
        self._browser.close()

    def forget(self) -> tuple[list[str], list[str]]:
        """Return the requests to elsewhere and the complaints until now, and begin anew."""
        noted = self.elsewhere, self.complaints
        self.elsewhere, self.complaints = [], []
        return noted

    def close_pages(self) -> None:
        """Close all pages, whatever happened on them."""
        for context in self._browser.contexts:
            context.close()

    def open(self, app: App, screen: str = "people", origin: str = "", **how: Any) -> Any:
        """Open a screen in a context of its own, signed in."""
        origin = origin or app.served.origin
        context = self._browser.new_context(
            viewport={"width": 1280, "height": 800}, storage_state=app.state, locale="en-GB", **how
        )
        context.on("request", lambda request: self._note(origin, request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._hear(said.type, said.text))
        if app.state is None:
            page.goto(app.address)
            app.state = context.storage_state()
        page.goto(f"{origin}/#/{screen}")
        page.get_by_role("heading", level=1).wait_for()
        return page

    def _note(self, origin: str, url: str) -> None:
        if not url.startswith((f"{origin}/", f"blob:{origin}/")):
            self.elsewhere.append(url)

    def _hear(self, kind: str, text: str) -> None:
        # A refusal that the page shows in words is logged by the browser as well.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.complaints.append(text)
