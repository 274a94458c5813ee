"""Nothing leaves the machine, from native code either: every system call is looked at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytest.importorskip("pty")

from facesync.images import save_jpeg
from tests.conftest import ROOT
from tests.end_to_end.driving import Display

WATCHED_SECONDS = 60  # the vendor of ONNX Runtime would be told after about 11


@pytest.fixture
def traced(tmp_path):
    """Start a program of the repository under strace, in a home folder of its own."""
    strace = ["strace", "-f", "-qq", "-e", "trace=socket,connect,sendto,sendmsg"]
    if (
        not shutil.which("strace")
        or subprocess.run([*strace, "true"], capture_output=True).returncode
    ):
        pytest.skip("strace is not installed (apt-get install strace), or not permitted here")
    (tmp_path / "home").mkdir()
    started = []

    def start(name: str, *command: object, display: str = "") -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
        environment = {**kept, "HOME": str(tmp_path / "home"), "DISPLAY": display}
        words = [*strace, "-o", tmp_path / f"{name}.trace", sys.executable, *command]
        with open(tmp_path / f"{name}.out", "w") as out:
            process = subprocess.Popen(
                list(map(str, words)), cwd=ROOT, env=environment, stdout=out, stderr=out
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def slow_video(path, image_rgb) -> None:
    """Write a video of one image, one frame a second, which a window shows for as long."""
    import cv2

    height, width = image_rgb.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 1, (width, height))
    for _ in range(WATCHED_SECONDS):
        writer.write(image_rgb[:, :, ::-1])
    writer.release()


@pytest.mark.slow
@pytest.mark.window
def test_no_connection_and_nothing_kept_for_one(traced, shared, tmp_path, monkeypatch):
    """`watch` runs for a minute, and beside it what else computes with a model."""
    from skimage import data

    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
    save_jpeg(data.astronaut(), tmp_path / "image.jpg")
    slow_video(tmp_path / "camera.avi", data.astronaut())
    app = ["faceid_app.py", "--no-encrypt", "--embeddings", tmp_path / "people.pkl",
           "--faces", tmp_path / "faces", "--camera", tmp_path / "camera.avi"]  # fmt: skip
    image = tmp_path / "image.jpg"
    assert traced("register", *app, "register", "Eileen", "--images", image).wait(300) == 0
    demo = ("demo", ["-m", "facesync.demo", "--output", tmp_path / "demo"])
    with Display() as display:
        watch = traced("watch", *app, "watch", display=display.name)
        for name, command in (
            ("verify", [*app, "verify", "--image", image]),
            ("doctor", [*app, "doctor"]),
            *([demo] if find_spec("torch") else []),
        ):
            assert traced(name, *command).wait(300) == 0, (tmp_path / f"{name}.out").read_text()
        assert watch.wait(300) == 0
    assert "s  Eileen" in (tmp_path / "watch.out").read_text()
    traces = list(tmp_path.glob("*.trace"))
    assert len(traces) >= 4
    for path in traces:
        lines = path.read_text().splitlines()
        assert [line for line in lines if "AF_INET" in line] == [], path.stem
    caches = {path.name for path in (tmp_path / "home").glob(".*/*")}
    assert caches <= {"facesync", "matplotlib"}, sorted((tmp_path / "home").rglob("*"))


@pytest.mark.slow
def test_a_connection_is_noticed(traced, tmp_path):
    code = "import socket; socket.socket(socket.AF_INET)"
    assert traced("socket", "-c", code).wait(60) == 0
    assert "AF_INET" in (tmp_path / "socket.trace").read_text()
