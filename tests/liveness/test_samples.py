"""Samples of live faces and attacks: who and what they are, by folders and names."""

import numpy as np
import pytest

from facesync.errors import DataError
from facesync.images import save_jpeg
from facesync.liveness.samples import MOST_FRAMES, frames, read_samples
from tests.videos import write_video

IMAGE = np.full((40, 40, 3), 100, np.uint8)


def test_kind_person_and_video_are_read_off_the_names(tmp_path):
    names = (
        "live/ada_1_003.jpg", "live/ada_1_12.png", "live/ada_2_3.jpg", "live/bob.jpg",
        "print/ada_3.jpg", "replay/day/ada_3.jpg", "replay/day/ada_4.jpg",
    )  # fmt: skip
    for name in names:
        save_jpeg(IMAGE, tmp_path / name)
    write_video(tmp_path / "replay" / "bob_7.avi", [IMAGE])
    (tmp_path / "replay" / "notes.txt").write_text("where these are from")
    (tmp_path / ".hidden").mkdir()
    found = read_samples(tmp_path)
    assert [
        (s.path.relative_to(tmp_path).as_posix(), s.kind, s.person, s.video) for s in found
    ] == [
        ("live/ada_1_003.jpg", "live", "ada", "live/ada_1"),
        ("live/ada_1_12.png", "live", "ada", "live/ada_1"),
        ("live/ada_2_3.jpg", "live", "ada", "live/ada_2"),
        ("live/bob.jpg", "live", "bob", "live/bob.jpg"),
        ("print/ada_3.jpg", "print", "ada", "print/ada"),
        ("replay/bob_7.avi", "replay", "bob", "replay/bob_7.avi"),
        ("replay/day/ada_3.jpg", "replay", "ada", "replay/day/ada"),
        ("replay/day/ada_4.jpg", "replay", "ada", "replay/day/ada"),
    ]


def test_an_image_is_one_frame_and_a_long_video_twenty(tmp_path):
    save_jpeg(IMAGE, tmp_path / "live" / "a.jpg")
    write_video(tmp_path / "print" / "a.avi", [IMAGE] * (MOST_FRAMES + 9))
    assert [len(list(frames(sample))) for sample in read_samples(tmp_path)] == [1, MOST_FRAMES]


@pytest.mark.parametrize(
    "made, says",
    [
        ((), "needs a folder live"),
        (("print/a.jpg",), "needs a folder live"),
        (("live/a.jpg",), "one for each kind of attack"),
        (("live/a.jpg", "print/notes.txt"), "print holds neither images nor videos"),
        (("live/notes.txt", "print/a.jpg"), "live holds neither images nor videos"),
    ],
)
def test_folders_that_cannot_be_rated(tmp_path, made, says):
    for name in made:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=says):
        read_samples(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        read_samples(tmp_path / "nowhere")
