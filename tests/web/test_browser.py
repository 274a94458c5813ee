"""The page as a person uses it: real Chromium, the real app, real faces; nothing is replaced."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.web.browser import Browser, app, axe, film, needed
from tests.web.servers import write_certificate

pytestmark = pytest.mark.slow

SCREENS = ("People", "Register", "Live", "Log", "Compare", "Settings", "Privacy", "Doctor")

CHROMIUM_SECONDS = 60_000  # milliseconds: a busy machine is slow


@pytest.fixture(scope="module")
def playwright():
    needed()
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=CHROMIUM_SECONDS)
    with sync_playwright() as running:
        yield running


def _frames(path: Path, most: int) -> list[np.ndarray]:
    video = cv2.VideoCapture(str(path))
    frames = [video.read()[1] for _ in range(most)]
    video.release()
    return [frame_bgr for frame_bgr in frames if frame_bgr is not None]


@pytest.fixture(scope="module")
def films(shared, tmp_path_factory):
    """Return films: somebody who turns their head, or does not, a replay of them, somebody else."""
    folder = tmp_path_factory.mktemp("films")
    videos = shared / "data" / "videos"
    live = _frames(videos / "one_face_head_turns_live.mp4", 700)
    replay = _frames(videos / "one_face_screen_replay.mp4", 60)
    other = cv2.imread(str(_images(shared, "David_Beckham", 1)[0]))
    other = cv2.copyMakeBorder(cv2.resize(other, (480, 480)), 0, 0, 80, 80, cv2.BORDER_REPLICATE)
    return {
        "turns": film(folder / "turns.mjpeg", live),
        "still": film(folder / "still.mjpeg", live[250:300] + live[300:250:-1]),
        "replay": film(folder / "replay.mjpeg", replay + replay[::-1]),
        "other": film(folder / "other.mjpeg", [other] * 10),
    }


@pytest.fixture(scope="module")
def opened(playwright):
    """Browsers by what their cameras show."""
    browsers: dict[str, Browser] = {}
    yield browsers
    for each in browsers.values():
        each.close()


@pytest.fixture(scope="module")
def browsers(playwright, films, opened):
    """Open a browser once for each film."""

    def browser(shows: str = "still") -> Browser:
        if shows not in opened:
            opened[shows] = Browser(playwright, needed(), films[shows])
        return opened[shows]

    return browser


@pytest.fixture(autouse=True)
def quiet(opened):
    """Check that no page asked another host for anything, and that no browser complained."""
    yield
    for each in opened.values():
        each.close_pages()
    # What one test left is not the next one's.
    heard = {shows: each.forget() for shows, each in opened.items()}
    assert heard == {shows: ([], []) for shows in opened}


def _images(shared: Path, name: str, count: int, start: int = 0) -> list[Path]:
    return sorted((shared / "data" / "lfw" / name).iterdir())[start : start + count]


@pytest.fixture(scope="module")
def home(browsers, tmp_path_factory):
    """Serve a store in which Ada was registered with the page, by the camera."""
    with app(tmp_path_factory.mktemp("home"), "--liveness", "passive") as running:
        page = browsers("turns").open(running)
        page.get_by_role("button", name="Register yourself").click()
        page.get_by_label("Name").fill("Ada")
        page.get_by_role("button", name="Start camera").click()
        assert page.evaluate("document.querySelector('input:invalid').type") == "checkbox"
        page.get_by_label("they have agreed").check()
        page.get_by_role("button", name="Start camera").click()
        page.get_by_role("heading", name="Ada is registered").wait_for(timeout=CHROMIUM_SECONDS)
        page.context.close()
        yield running


@pytest.fixture(scope="module")
def town(browsers, shared, tmp_path_factory):
    """Serve a store with three people, registered from images by a program."""
    with app(tmp_path_factory.mktemp("town"), "--liveness", "off") as running:
        for name in ("Andre_Agassi", "Hillary_Clinton", "Hu_Jintao"):
            running.register(name.replace("_", " "), _images(shared, name, 3))
        yield running


def _card(page, name: str):
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))


def test_the_first_person_registers_and_is_accepted(browsers, home):
    assert home.people() == {"Ada": 5}
    page = browsers().open(home, "live")
    verdict = page.get_by_role("region", name="Verdict")
    for _ in range(2):  # some of anybody's looks seem less alive than others
        page.get_by_role("button", name="Verify").click()
        verdict.wait_for()
        if "not a live face" not in verdict.inner_text():
            break
    assert verdict.inner_text().startswith("Accepted: Ada"), verdict.inner_text()
    page.get_by_text("1 face in view, 1 known").wait_for()  # it goes on watching
    home.check()


@pytest.mark.parametrize(("shows", "why"), [("other", "similar"), ("replay", "not a live face")])
def test_somebody_else_and_a_replay_are_refused(browsers, home, shows, why):
    page = browsers(shows).open(home, "live")
    page.get_by_role("button", name="Verify").click()
    page.get_by_role("heading", name=re.compile("^(Access denied|Denied)")).wait_for()
    assert why in page.get_by_role("region", name="Verdict").inner_text()


def test_a_second_name_for_one_face_is_asked_about_at_the_first_sample(browsers, home):
    page = browsers().open(home, "register")
    page.get_by_label("Name").fill("Eve")
    page.get_by_label("they have agreed").check()
    page.get_by_role("button", name="Start camera").click()
    page.get_by_role("dialog").filter(has_text="already registered as Ada").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("alert").filter(has_text="othing is stored").wait_for()
    assert home.people() == {"Ada": 5}
    page.get_by_role("button", name="Start camera").click()
    page.get_by_role("button", name="Yes, go on").click()
    page.get_by_text(re.compile("[2-5] of 5 samples")).wait_for()
    page.get_by_role("button", name="Stop").click()
    assert home.people() == {"Ada": 5}


def test_a_tab_that_is_closed_gives_the_camera_back(browsers, home):
    first, second = (browsers().open(home, "live") for _ in range(2))
    first.get_by_role("button", name="Start camera").click()
    first.get_by_text("in view").filter(has_text="known").wait_for()
    second.get_by_role("button", name="Start camera").click()
    second.get_by_role("alert").filter(has_text="in use in another window").wait_for()
    first.close()
    second.get_by_role("button", name="Start camera").click()
    second.get_by_text("in view").filter(has_text="known").wait_for()
    second.get_by_role("link", name="Compare").click()  # leaving the screen gives it back, too
    third = browsers().open(home, "live")
    third.get_by_role("button", name="Start camera").click()
    third.get_by_text("in view").filter(has_text="known").wait_for()


def test_a_camera_that_may_not_be_used_says_what_to_do(playwright, home):
    chromium = playwright.chromium.launch(
        executable_path=needed(),
        args=["--no-sandbox", "--use-fake-device-for-media-stream", "--deny-permission-prompts"],
    )
    page = chromium.new_context(storage_state=home.state).new_page()
    page.goto(f"{home.served.origin}/#/live")
    page.get_by_role("button", name="Start camera").click()
    page.get_by_role("alert").filter(has_text="Allow it with the camera symbol").wait_for()
    page.get_by_role("button", name="Start camera").wait_for()
    chromium.close()


def test_somebody_is_renamed_merged_and_deleted_with_proof(browsers, town, shared):
    town.register("Howard Dean", _images(shared, "Howard_Dean", 3))
    more = _images(shared, "Howard_Dean", 3, start=3)
    town.register("H. Dean", more, "same_person")
    page = browsers().open(town)

    _card(page, "H. Dean").get_by_role("button", name="Rename").click()
    page.get_by_label("New name").fill("هوارد دين")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    page.get_by_role("heading", name="هوارد دين").wait_for()
    assert town.people()["هوارد دين"] == 3

    _card(page, "Howard Dean").get_by_role("button", name="Merge").click()
    page.get_by_label("Who is the same person?").select_option("هوارد دين")
    page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    page.get_by_role("status").filter(has_text="6 samples").wait_for()
    assert "هوارد دين" not in town.people()

    with page.expect_download() as saved:
        _card(page, "Howard Dean").get_by_role("button", name="Export").click()
    with zipfile.ZipFile(saved.value.path()) as file:
        assert len([name for name in file.namelist() if name.endswith(".jpg")]) == 6

    _card(page, "Howard Dean").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert town.people()["Howard Dean"] == 6
    _card(page, "Howard Dean").get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    said = page.get_by_role("status").filter(has_text="Howard Dean is deleted").inner_text()
    assert "nothing about them is left" in said
    assert "Howard Dean" not in town.people()
    town.check()


@pytest.mark.parametrize("name", [".", "..", "%2e%2e", "a/../b", "?#&=", '<img src=x onerror="a">'])
def test_any_name_is_shown_as_text_and_reached(browsers, town, shared, name):
    town.register(name, _images(shared, "Tiger_Woods", 3), "same_person", "similar_name")
    page = browsers().open(town)
    card = page.get_by_role("listitem").filter(has=page.get_by_text(name, exact=True))
    card.locator("img").evaluate("(image) => image.decode()")  # fails where there is none
    card.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("nothing about them is left").wait_for()
    assert name not in town.people()


@pytest.mark.parametrize("place", ["#//", "#/constructor", "#//example.org/live", "#", "#nothing"])
def test_an_address_without_a_screen_shows_the_people(browsers, town, place):
    page = browsers().open(town, "log")
    page.goto(f"{town.served.origin}/{place}")
    page.get_by_role("heading", name="People", level=1).wait_for()


def test_a_face_that_is_registered_under_another_name_is_asked_about(browsers, town, shared):
    page = browsers().open(town, "register")
    page.get_by_label("Name").fill("Stefanie")
    page.get_by_label("they have agreed").check()
    images = _images(shared, "Andre_Agassi", 3, start=3)
    page.get_by_label("Choose images").set_input_files(images)
    page.get_by_role("button", name="Register from images").click()
    page.get_by_role("dialog").filter(has_text="Andre Agassi").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Nothing is stored").wait_for()
    assert "Stefanie" not in town.people()


def test_images_that_cannot_be_used_say_why(browsers, town, tmp_path):
    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.full((200, 200, 3), 128, np.uint8))
    page = browsers().open(town, "register")
    page.get_by_label("Name").fill("Grey")
    page.get_by_label("they have agreed").check()
    page.get_by_label("Choose images").set_input_files(grey)
    page.get_by_role("button", name="Register from images").click()
    page.get_by_text("No image shows a usable face").wait_for()
    page.get_by_text("grey.png: left out, no face").wait_for()


def test_an_unknown_face_gets_a_name_from_the_log_and_loses_it(browsers, town):
    page = browsers().open(town, "live")
    page.get_by_role("button", name="Start camera").click()
    page.get_by_text("1 face in view, 0 known").wait_for()
    page.wait_for_timeout(1500)  # the best image of several is kept
    page.get_by_role("link", name="Log").click()
    entry = page.get_by_role("listitem").filter(has_text="Unknown").first
    entry.get_by_role("button", name="This is").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Grace")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Named Grace").wait_for()
    assert "Grace" in town.people()
    page.get_by_role("button", name="Undo").first.click()
    page.get_by_role("status").filter(has_text="Undone").wait_for()
    assert "Grace" not in town.people()
    page.get_by_role("button", name="Nobody I know").first.click()
    page.get_by_role("heading", name="Nobody you know").wait_for()
    town.check()


def test_somebody_registered_gets_more_samples_or_starts_over(browsers, town, shared):
    town.register("Jacques Rogge", _images(shared, "Jacques_Rogge", 3))
    page = browsers().open(town, "register")
    for how, says, samples in (("Add samples", "has more", 5), ("Start over", "is registered", 2)):
        page.get_by_label("Name").fill("Jacques Rogge")
        page.get_by_label("they have agreed").check()
        more = _images(shared, "Jacques_Rogge", 2, start=3)
        page.get_by_label("Choose images").set_input_files(more)
        page.get_by_role("button", name="Register from images").click()
        page.get_by_role("dialog").get_by_label(how).check()
        page.get_by_role("dialog").get_by_role("button", name="Go on").click()
        page.get_by_role("heading", name=f"Jacques Rogge {says}").wait_for()
        assert town.people()["Jacques Rogge"] == samples
        page.get_by_role("link", name="People").click()
        page.get_by_role("link", name="Register").click()


def test_settings_are_kept(browsers, town):
    page = browsers().open(town, "settings")
    page.get_by_label("1 stranger in 1,000").check()
    page.get_by_role("status").filter(has_text="Saved").wait_for()
    page.reload()
    strict = page.get_by_label("1 stranger in 1,000")
    strict.wait_for()
    assert strict.is_checked()
    assert page.get_by_label("Do not ask").is_disabled()  # the command line says so
    assert re.search(r"owners refused: \d", strict.locator("..").inner_text())
    page.get_by_label("The default").check()
    page.get_by_role("status").filter(has_text="Saved").wait_for()
    page.get_by_role("link", name="Privacy").click()  # what was said is gone with its screen
    page.get_by_role("heading", level=1, name="Privacy").wait_for()
    assert not page.get_by_text("Saved.").is_visible()


def test_everything_stored_is_named_encrypted_taken_along_and_deleted(browsers, shared, tmp_path):
    with app(tmp_path, "--no-encrypt") as running:
        running.register("Hugo", _images(shared, "Hugo_Chavez", 2))
        page = browsers().open(running, "privacy")
        stored = page.get_by_role("region", name="What is stored")
        assert str(tmp_path / "s.pkl") in stored.inner_text()
        assert "not encrypted" in stored.inner_text()

        page.get_by_role("button", name="Encrypt").click()
        page.get_by_role("dialog").get_by_role("button", name="Encrypt").click()
        page.get_by_role("status").filter(has_text="1 person is encrypted").wait_for()
        assert "not encrypted" not in stored.inner_text()

        with page.expect_download() as saved:
            page.get_by_role("button", name="Back up").click()
        assert saved.value.suggested_filename.startswith("facesync-backup-")

        page.get_by_role("button", name="Delete everything").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("To go on").fill("delete")
        dialog.get_by_role("button", name="Delete everything").click()
        assert running.people() == {"Hugo": 2}  # the words are not there
        dialog.get_by_label("To go on").fill("delete everything")
        dialog.get_by_role("button", name="Delete everything").click()
        page.get_by_role("status").filter(has_text="nothing about them is left").wait_for()
        assert running.people() == {}
        page.get_by_text("Nobody is stored yet").wait_for()  # and nothing is offered for it
        assert not page.get_by_role("button", name=re.compile("Encrypt|Back up")).is_visible()
        running.check()


def test_another_device_comes_in_with_the_passphrase(browsers, tmp_path):
    certificate, key = write_certificate(tmp_path)
    files = "--certfile", certificate, "--keyfile", key
    secret = {"FACESYNC_WEB_PASSPHRASE": "correct horse battery"}
    with app(tmp_path, "--host", "0.0.0.0", *files, env=secret) as running:
        running.state = {}  # no cookie
        origin = f"https://127.0.0.1:{running.served.port}"
        page = browsers().open(running, origin=origin, ignore_https_errors=True)
        page.get_by_label("Passphrase").fill("a guess that is wrong")
        page.get_by_role("button", name="Open").click()
        page.get_by_role("status").filter(has_text="wrong").wait_for()
        page.get_by_label("Passphrase").fill(secret["FACESYNC_WEB_PASSPHRASE"])
        page.get_by_role("button", name="Open").click()
        page.get_by_role("link", name="Live").click()
        page.get_by_role("button", name="Start camera").click()
        page.get_by_text("1 face in view").wait_for()


def test_a_sample_is_taken_at_the_press_of_a_button(browsers, town):
    page = browsers().open(town, "register")
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda data: sent.append(data)))
    page.get_by_label("Name").fill("Dave")
    page.get_by_label("they have agreed").check()
    page.get_by_role("button", name="Start camera").click()
    page.get_by_text(re.compile("[1-4] of 5 samples")).wait_for()
    page.get_by_role("button", name="Take sample").click()
    page.get_by_text(re.compile("[2-5] of 5 samples")).wait_for()
    assert '{"type":"key","key":"c"}' in sent
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Start camera").wait_for()
    assert "Dave" not in town.people()


def test_two_images_are_compared(browsers, town, shared):
    page = browsers().open(town, "compare")
    first, second = _images(shared, "David_Beckham", 2)
    page.get_by_label("Choose the first image").set_input_files(first)
    dropped = page.evaluate_handle(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "b.jpg", {type: "image/jpeg"}));
            return data;
        }""",
        list(second.read_bytes()),
    )
    page.locator(".drop").nth(1).dispatch_event("drop", {"dataTransfer": dropped})
    page.get_by_role("main").get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="The same person").wait_for()


def _barriers(page) -> list[str]:
    """Return what axe-core finds wrong with a page as it is."""
    page.evaluate(axe())
    found = page.evaluate("axe.run()")["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_from_using_a_screen(browsers, town, scheme):
    page = browsers().open(town, color_scheme=scheme)
    found = {}
    for screen in SCREENS:
        page.get_by_role("navigation").get_by_role("link", name=screen).click()
        page.get_by_role("heading", level=1, name=screen).wait_for()
        if screen == "Live":
            page.get_by_role("button", name="Start camera").click()
            page.get_by_text("in view").filter(has_text="known").wait_for()
        found[screen] = _barriers(page)
    page.get_by_role("link", name="People").click()
    page.get_by_role("button", name="Rename").first.click()
    found["a dialog"] = _barriers(page)
    assert {screen: wrong for screen, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("width", [360, 640], ids=["phone", "200 %"])
def test_a_narrow_screen_needs_no_scrolling_sideways(browsers, town, width):
    page = browsers().open(town)
    page.set_viewport_size({"width": width, "height": 400 if width == 640 else 740})
    for screen in SCREENS:
        link = page.get_by_role("navigation").get_by_role("link", name=screen, exact=True)
        if not link.is_visible():
            page.get_by_role("button", name="More").click()
        link.click()
        page.get_by_role("heading", level=1, name=screen).wait_for()
        inner = page.evaluate("document.documentElement.scrollWidth")
        assert inner <= width, screen


def test_a_person_is_renamed_with_the_keyboard_alone(browsers, town):
    page = browsers().open(town)
    _card(page, "Hu Jintao").wait_for()

    def press_until(name: str, key: str = "Tab") -> None:
        """Move the focus until it is on something with this name."""
        for _ in range(40):
            page.keyboard.press(key)
            focused = page.evaluate("document.activeElement.textContent")
            if focused == name:
                return
        raise AssertionError(f"the focus never came to {name}")

    press_until("Skip to content")
    page.keyboard.press("Enter")
    for _ in range(3):  # of the third card
        press_until("Rename")
    page.keyboard.press("Enter")
    page.keyboard.type("Hú Jǐntāo")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Hú Jǐntāo").wait_for()
    assert "Hú Jǐntāo" in town.people()
    outline = page.evaluate(
        "getComputedStyle(document.querySelector('nav a.brand'), null).outlineStyle"
    )
    assert outline == "none"  # only what is focused with the keyboard is outlined
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_an_app_that_is_away_is_missed_in_words_and_found_again(browsers, tmp_path):
    with app(tmp_path) as running:
        page = browsers().open(running)
        page.get_by_role("button", name="Register yourself").wait_for()
        assert _barriers(page) == []
        page.context.set_offline(True)
        page.get_by_role("link", name="Settings").click()
        page.get_by_role("alert").filter(has_text="does not answer").wait_for()
        page.context.set_offline(False)
        page.get_by_label("1 stranger in 1,000").wait_for()  # by itself
        assert not page.get_by_role("alert").is_visible()
    page.get_by_role("link", name="People").click()
    page.get_by_role("alert").filter(has_text="does not answer").wait_for()
    with app(tmp_path, "--port", str(running.served.port)):  # it knows the page no more
        page.get_by_role("alert").filter(has_text="Open the address that it printed").wait_for()


def test_a_camera_that_is_on_when_the_app_ends_says_so(browsers, tmp_path):
    with app(tmp_path) as running:
        page = browsers().open(running, "live")
        page.get_by_role("button", name="Start camera").click()
        page.get_by_text("1 face in view").wait_for()
    page.get_by_role("alert").filter(has_text="The connection to FaceSync broke off").wait_for()
    page.get_by_role("button", name="Start camera").wait_for()


def test_without_javascript_the_page_says_so(playwright, browsers, town):
    browsers().open(town)  # signed in
    without = ["--no-sandbox", "--blink-settings=scriptEnabled=false"]
    chromium = playwright.chromium.launch(executable_path=needed(), args=without)
    page = chromium.new_page(viewport={"width": 1280, "height": 650})
    page.context.add_cookies(town.state["cookies"])
    page.goto(f"{town.served.origin}/")
    place = page.locator("noscript p").bounding_box()
    chromium.close()
    assert place["y"] + place["height"] <= 650


@pytest.mark.parametrize("screen", ["register", "live"])
def test_the_buttons_below_the_camera_are_in_sight(browsers, town, screen):
    page = browsers().open(town, screen)
    page.set_viewport_size({"width": 1366, "height": 650})  # a small laptop, less its browser
    button = page.get_by_role("button", name="Start camera").bounding_box()
    assert button["y"] + button["height"] <= 650


def test_the_page_works_where_there_is_no_network(shared):
    unshare = shutil.which("unshare")
    alone = [str(unshare), "-rn", "sh", "-c"]
    if unshare is None or subprocess.run([*alone, "ip link set lo up"]).returncode:
        pytest.skip("this system allows no network namespace (unshare -rn, ip)")
    names = "test_the_first_person_registers_and_is_accepted or test_two_images_are_compared"
    command = f"ip link set lo up && {sys.executable} -m pytest -q {__file__} -k '{names}'"
    found = subprocess.run([*alone, command], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    assert "2 passed" in found.stdout
