"""The trial of a model: the browser's camera, in a real browser; what becomes of its images."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from facesync.errors import CameraError, ImageError
from facesync.images import read_image_rgb, save_jpeg
from facesync.notebook import trial
from facesync.sample_images import HOPPER, photographs, vary
from tests.notebook import colab

CHROMIUM = Path("/usr/bin/chromium")

EMBEDDED = Path("embedded")


@pytest.fixture
def camera(tmp_path, monkeypatch):
    """A stand-in for Colab whose browser shows copies of a photograph."""
    colab.install(monkeypatch)
    random = np.random.default_rng(3)
    for number in range(5):
        save_jpeg(vary(photographs()[HOPPER], random), tmp_path / "camera" / f"{number}.jpg")
    monkeypatch.setenv("FAKE_CAMERA", str(tmp_path / "camera"))


def test_a_face_is_registered_recognised_and_forgotten(camera, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    trial.try_model(EMBEDDED, camera=True)
    printed = capsys.readouterr().out
    assert "Registered You with" in printed
    assert "The second time: recognised as You; similarity" in printed
    assert "Alive or an image of you? " in printed
    assert not any((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("you chose Skip", "you chose Skip"),
        ("gone", "the browser did not answer (the tab was closed)"),
    ],
)
def test_without_a_camera_it_is_sample_photographs(camera, monkeypatch, capsys, answer, said):
    monkeypatch.setenv("FAKE_CAMERA", answer)
    trial.try_model(EMBEDDED, camera=True)
    printed = capsys.readouterr().out
    assert said in printed and "Sample photographs instead" in printed
    assert "A photograph of Grace Hopper: recognised as Grace Hopper" in printed
    assert "A photograph of Eileen Collins: not recognised" in printed


def test_what_goes_wrong_is_a_line(tmp_path, capsys):
    trial.try_model(tmp_path / "none.pth", camera=False)
    printed = capsys.readouterr().out
    assert printed.startswith("This trial did not come to an end: ")
    assert len(printed.splitlines()) == 1


def test_outside_colab_there_is_no_camera():
    with pytest.raises(CameraError, match="in Colab only"):
        trial.take_images("Look")


@pytest.mark.parametrize("url", ["data:image/jpeg;base64,!", "data:image/jpeg;base64,AAAA", ""])
def test_an_answer_that_is_no_image_is_refused(url):
    with pytest.raises(ImageError):
        trial._decoded(url)


# In a real browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium with a camera that shows a moving pattern."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as run:
        found = run.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--use-fake-device-for-media-stream"],
        )
        yield found
        found.close()


@pytest.fixture
def page(browser, tmp_path):
    """A page that may use the camera, and counts the cameras that are on."""
    context = browser.new_context(permissions=["camera"])
    page = context.new_page()
    page.route("**/*", lambda route: route.fulfill(body="<div id=output-area></div>"))
    page.goto("http://localhost/")
    page.evaluate(
        """window.tracks = [];
        const media = navigator.mediaDevices, ask = media.getUserMedia.bind(media);
        media.getUserMedia = async wanted => {
            const stream = await ask(wanted);
            window.tracks.push(...stream.getTracks());
            return stream;
        };
        null"""
    )
    yield page
    context.close()


def start(page, **options):
    page.evaluate(f"window.answer = {trial.expression('Look here', **options)}; null")


def ended(page):
    """Return the answer, after checking that the camera is off and nothing is left on the page."""
    answer = page.evaluate("window.answer")
    assert page.evaluate("window.tracks.every(track => track.readyState === 'ended')")
    assert page.locator("button, video").count() == 0
    return answer


def test_the_browser_takes_images_and_lets_the_camera_go(page):
    start(page, frames=3)
    assert page.get_by_text("Look here").is_visible()
    page.wait_for_function("document.querySelector('video').videoWidth > 0")
    page.get_by_role("button", name="Take images").click()
    images = ended(page)["images"]
    assert len(images) == 3 and len(set(images)) == 3
    assert page.evaluate("window.tracks.length") == 1
    for url in images:
        decoded = read_image_rgb(base64.b64decode(url.partition(",")[2]), "it")
        assert decoded.shape == (480, 640, 3) and decoded.std() > 0


def test_skip_lets_the_camera_go(page):
    start(page)
    page.get_by_role("button", name="Skip").click()
    assert ended(page) == {"error": "you chose Skip"}


def test_nobody_there_ends_it(page):
    start(page, seconds=0.3)
    assert ended(page) == {"error": "nobody pressed Take images"}


def test_a_camera_that_is_allowed_too_late_is_let_go(page):
    page.evaluate(
        """const allowed = navigator.mediaDevices.getUserMedia;
        navigator.mediaDevices.getUserMedia = async wanted => {
            await new Promise(resolve => { window.allow = resolve; });
            return allowed(wanted);
        };
        null"""
    )
    start(page, seconds=0.1)
    assert ended(page) == {"error": "nobody pressed Take images"}
    page.evaluate("window.allow()")
    page.wait_for_function("window.tracks.length && window.tracks[0].readyState === 'ended'")


def test_a_camera_that_is_refused_is_said(page):
    page.evaluate(
        "navigator.mediaDevices.getUserMedia = "
        "async () => { throw new DOMException('Permission denied', 'NotAllowedError'); }; null"
    )
    start(page)
    assert ended(page) == {"error": "NotAllowedError: Permission denied"}


def test_what_the_person_reads_is_data():
    assert json.dumps('"); alert(1); ("') in trial.expression('"); alert(1); ("')
