"""Drive the app as a person does: a terminal to type in, a display to press keys on."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image, ImageGrab

from tests.conftest import ROOT, _shared

PATIENCE = 120.0
"""Seconds to wait for anything: the models load slowly on a busy machine."""


class Terminal:
    """A script of the repository in a terminal of its own."""

    def __init__(self, script: str, *args: object, env: dict[str, str | None]) -> None:
        whole = {**os.environ, **env}
        self._main, side = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *map(str, args)],
            stdin=side,
            stdout=side,
            stderr=side,
            cwd=ROOT,
            env={name: value for name, value in whole.items() if value is not None},
        )
        os.close(side)
        self.text = ""
        self._seen = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        data = b""
        while True:
            try:
                block = os.read(self._main, 65536)
            except OSError:  # the other side is closed
                return
            if not block:
                return
            data += block
            self.text = data.decode("utf-8", "replace").replace("\r\n", "\n")

    def expect(self, pattern: str) -> str:
        """Wait until something new is written that matches, and return it."""
        end = time.monotonic() + PATIENCE
        while not (match := re.compile(pattern).search(self.text, self._seen)):
            assert time.monotonic() < end, f"no {pattern!r} in:\n{self.text[self._seen :]}"
            assert self._reader.is_alive(), f"no {pattern!r} before the end of:\n{self.text}"
            time.sleep(0.02)
        self._seen = match.end()
        return match.group()

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        os.write(self._main, line.encode() + b"\n")

    def end_of_input(self) -> None:
        """Press Ctrl-D."""
        os.write(self._main, b"\x04")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def exit_code(self) -> int:
        """Wait for the end."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(10)
        os.close(self._main)


class Display:
    """An X server without a screen, and somebody at its keyboard.

    With the file of a cookie (see `write_cookie`), it lets in only who has that.
    """

    def __init__(self, cookie: Path | None = None) -> None:
        for tool in ("Xvfb", "xdotool"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed (apt-get install xvfb xdotool)")
        read, write = os.pipe()
        self._server = subprocess.Popen(
            # Without -noreset it restarts when its last client leaves, and a window that is
            # just then being opened finds no display.
            [
                "Xvfb",
                "-displayfd",
                str(write),
                "-screen",
                "0",
                "1366x768x24",
                "-noreset",
                *(("-auth", str(cookie)) if cookie else ()),
            ],
            pass_fds=(write,),
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as file:
            self.name = f":{file.readline().strip()}"

    def press(self, key: str) -> None:
        """Press a key in the app's window, once it is there and painted."""
        end = time.monotonic() + PATIENCE
        while self.screenshot().getbbox() is None:
            assert time.monotonic() < end, "no window, or a black one"
            time.sleep(0.05)
        self._window("windowfocus")
        # Without naming the window, so that the key goes through the X server as a keyboard's
        # does; a window that closes at the press does not get the release, and that is no error.
        self._xdotool("key", key)

    def close_window(self) -> None:
        """Ask the window to close, as the button in its frame does."""
        _ask_to_close(self.name, int(self._window()))

    def screenshot(self) -> Image.Image:
        """Return what stands on the screen, without the empty part."""
        whole = ImageGrab.grab(xdisplay=self.name)
        return whole.crop(whole.getbbox())

    def _window(self, *actions: str) -> str:
        return self._xdotool("search", "--sync", "--onlyvisible", "--name", "^FaceSync$", *actions)

    def _xdotool(self, *words: str) -> str:
        done = subprocess.run(
            ["xdotool", *words],
            env={**os.environ, "DISPLAY": self.name},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.terminate()
        self._server.wait(20)


class _ClientMessage(ctypes.Structure):
    """XClientMessageEvent of Xlib.h, padded to the size of an XEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 24),
    )


def write_cookie(path: Path) -> Path:
    """Write an Xauthority file with a cookie for every display (Xau(3): big-endian counts)."""
    kind, cookie = b"MIT-MAGIC-COOKIE-1", bytes(range(16))
    anything = b"\xff\xff" + 2 * b"\0\0"
    counted = (len(part).to_bytes(2, "big") + part for part in (kind, cookie))
    path.write_bytes(anything + b"".join(counted))
    return path


def _ask_to_close(display_name: str, window: int) -> None:
    """Send WM_DELETE_WINDOW (ICCCM 4.2.8), which a window manager would send."""
    library = ctypes.util.find_library("X11")
    if library is None:
        pytest.skip("libX11 is not installed")
    x11 = ctypes.CDLL(library)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    display = ctypes.c_void_p(x11.XOpenDisplay(display_name.encode()))
    protocols, delete = (
        x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
    )
    client_message = 33
    event = _ClientMessage(type=client_message, window=window, message_type=protocols, format=32)
    event.data[0] = delete
    x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
    x11.XCloseDisplay(display)


def app_weights(folder: Path) -> tuple[list[str], dict[str, str | None]]:
    """Arguments and environment for the app: real weights where they are, else random ones."""
    home = _shared() / "torch_home"
    if (home / "checkpoints").is_dir():
        return ["--model", "vggface2", "--offline"], {"TORCH_HOME": str(home)}
    return ["--model", str(random_model(folder / "random.pth")), "--offline"], {}


def random_model(path: Path) -> Path:
    """Write a checkpoint of an untrained model, which tells images apart but not people."""
    import torch

    from facesync.faces.torch_model import new_network

    torch.manual_seed(1)
    torch.save({"epoch": 1, "model_state_dict": new_network(2).state_dict()}, path)
    return path
