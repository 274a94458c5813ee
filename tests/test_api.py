"""The public interface on real photographs, with the embedded model."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facesync
from facesync.faces.recognizer import Recognizer
from facesync.images import read_image_rgb, save_jpeg
from facesync.sample_images import COLLINS, HOPPER, photographs, vary
from tests.liveness.fakes import FakePassive

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture(scope="module")
def model():
    return facesync.load_model("embedded", offline=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three photographs of Collins, one of Hopper, one of both, one of nobody."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(7)
    photos = photographs()
    collins, hopper = photos[COLLINS], photos[HOPPER]
    for number in (1, 2, 3):
        save_jpeg(vary(collins, random), folder / f"collins_{number}.jpg")
    save_jpeg(hopper, folder / "hopper.jpg")
    height = min(len(collins), len(hopper))
    save_jpeg(np.hstack([collins[:height], hopper[:height]]), folder / "group.jpg")
    save_jpeg(np.full((200, 300, 3), 127, np.uint8), folder / "nobody.jpg")
    return folder


@pytest.fixture
def gallery(tmp_path, model):
    return facesync.open_gallery(tmp_path / "people.pkl", model, encrypt=False)


def test_the_program_of_the_readme_runs(images, tmp_path, monkeypatch, capsys, model):
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for name, source in (
        ("group.jpg", "group"),
        ("ada_1.jpg", "collins_1"),
        ("ada_2.jpg", "collins_2"),
        ("ada_3.jpg", "collins_3"),
    ):
        (tmp_path / name).write_bytes((images / f"{source}.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACESYNC_PASSPHRASE", "a passphrase of the test")
    monkeypatch.setattr(facesync, "load_model", lambda: model, raising=False)
    exec(compile(program, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "the same person (similarity" in out
    assert "name='Ada'" in out and "name=None" in out


def test_what_is_found_has_the_shapes_that_are_promised(model, images):
    faces = model.find(images / "group.jpg")
    assert len(faces) == 2
    for face in faces:
        assert face.box.shape == (4,) and face.box.dtype == np.float32
        assert face.landmarks.shape == (5, 2) and 0.9 <= face.probability <= 1
        assert face.embedding.shape == (512,) and face.embedding.dtype == np.float32
        assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
        assert 0 <= face.quality.overall <= 1
    areas = [np.prod(face.box[2:] - face.box[:2]) for face in faces]
    assert areas == sorted(areas, reverse=True)
    assert model.find(images / "nobody.jpg") == []


def test_paths_bytes_and_arrays_are_one_image(model, images):
    path = images / "collins_1.jpg"
    for same in (str(path), path.read_bytes(), read_image_rgb(path)):
        assert np.array_equal(model.find(same)[0].embedding, model.find(path)[0].embedding)


def test_two_images_are_compared(model, images):
    same = model.compare(images / "collins_1.jpg", images / "collins_2.jpg")
    assert same.same_person and same.similarity >= same.threshold
    assert same.probability > 0.9 and str(same).startswith("the same person (similarity")
    other = model.compare(images / "collins_1.jpg", images / "hopper.jpg")
    assert not other.same_person and other.probability < same.probability
    assert str(other).startswith("different people")
    one, two = model.find(images / "group.jpg")
    assert model.compare(one, two) == model.compare(two, one)


def test_frames_of_a_camera_are_live_or_not(model, images, monkeypatch):
    passive = FakePassive([0.9, 0.3, 0.9, 0.3, 0.3], attack="replay")
    monkeypatch.setattr(facesync.api, "load_passive", lambda: passive)
    frames = [images / "collins_1.jpg", images / "nobody.jpg", *[images / "collins_2.jpg"] * 4]
    found = model.liveness(frames)
    assert isinstance(found, facesync.Liveness) and "a screen" in found.reason
    assert (found.live, found.score) == (False, 0.3)
    assert model.liveness(frames[:5]).live is None  # of five, one shows no face
    two = [*frames[:5], images / "hopper.jpg"]
    assert model.liveness(two).reason == "more than one person was in front of the camera"
    with pytest.raises(facesync.UsageError, match="one image cannot show it"):
        model.liveness(str(frames[0]))


def test_people_are_registered_identified_and_deleted(gallery, images, tmp_path):
    assert gallery.people() == []
    (match,) = gallery.identify(images / "collins_3.jpg")
    assert match.name is None and match.similarity is None
    person = gallery.register("Ada", [images / "collins_1.jpg", images / "collins_2.jpg"])
    assert person.name == "Ada" and person.samples == 2
    matches = gallery.identify(images / "group.jpg")
    assert sorted(match.name or "" for match in matches) == ["", "Ada"]
    assert all(match.threshold == matches[0].threshold for match in matches)
    by_name = {match.name: match for match in matches}
    assert by_name[None].probability < by_name["Ada"].probability <= 1
    assert by_name["Ada"].reason.endswith("% sure") and by_name[None].reason.endswith("% match")
    assert gallery.identify(images / "nobody.jpg") == []
    more = gallery.register("Ada", [images / "collins_3.jpg"], add=True)
    assert more.samples == 3
    gallery.delete("ada")
    assert gallery.people() == [] and list((tmp_path / "people_faces").rglob("*.jpg")) == []
    with pytest.raises(facesync.StoreError, match="nobody is registered as Ada"):
        gallery.delete("Ada")


def test_people_are_renamed_and_merged(gallery, images, tmp_path):
    for name, number in (("Ada", 1), ("Ada L.", 2)):
        gallery.register(name, [images / f"collins_{number}.jpg"], same_person=True)
    gallery.register("Bob", [images / "hopper.jpg"])
    with pytest.raises(facesync.StoreError, match="looks like Bob"):
        gallery.rename("Ada", "\u0412ob")
    assert gallery.rename("Ada", "Eva").name == "Eva"
    with pytest.raises(facesync.StoreError, match="not the face registered as Eva"):
        gallery.merge("Eva", "Bob")
    both = gallery.merge("Eva", "Ada L.")
    assert (both.name, both.samples) == ("Eva", 2)
    assert [person.name for person in gallery.people()] == ["Bob", "Eva"]
    assert [match.name for match in gallery.identify(images / "collins_3.jpg")] == ["Eva"]
    assert gallery.merge("Eva", "Bob", same_person=True).samples == 3
    assert gallery.rename("Eva", "\u0415va", similar_name=True).name == "\u0415va"
    assert len(list((tmp_path / "people_faces").rglob("*.jpg"))) == 3


def test_nobody_is_registered_twice_by_accident(gallery, images):
    gallery.register("Ada", [images / "collins_1.jpg"])
    with pytest.raises(facesync.StoreError, match="already registered"):
        gallery.register("Ada", [images / "collins_2.jpg"])
    with pytest.raises(facesync.StoreError, match="already registered as Ada"):
        gallery.register("Eve", [images / "collins_2.jpg"])
    gallery.register("Eve", [images / "collins_2.jpg"], same_person=True)
    assert [person.name for person in gallery.people()] == ["Ada", "Eve"]


def test_a_person_is_given_to_one_face_only(gallery, images, model):
    gallery.register("Ada", [images / "collins_1.jpg"])
    from facesync.images import read_image_rgb

    twice = np.hstack([read_image_rgb(images / "collins_2.jpg")] * 2)
    assert sorted(match.name or "" for match in gallery.identify(twice)) == ["", "Ada"]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((8, 8), np.uint8), "uint8 RGB of shape"),
        (np.zeros((8, 8, 3)), "uint8 RGB of shape"),
        (np.zeros((0, 8, 3), np.uint8), "uint8 RGB of shape"),
        (b"no image", "not an image that can be decoded"),
        (None, "of type NoneType: give a path"),
        (Image.new("RGB", (8, 8)), "of type Image: give a path"),
        ("no_such_file.jpg", "no_such_file.jpg"),
    ],
    ids=["grey", "float", "empty", "bytes", "none", "pil", "missing"],
)
def test_what_is_no_image_is_an_image_error(model, image, says):
    with pytest.raises(facesync.ImageError, match=re.escape(says)):
        model.find(image)


@pytest.mark.parametrize("kind", [str, Path.read_bytes, Path, read_image_rgb, lambda _: None])
def test_one_image_is_not_a_list_of_images(gallery, images, kind):
    with pytest.raises(facesync.UsageError, match="a list of images"):
        gallery.register("Ada", kind(images / "collins_1.jpg"))


def test_add_and_replace_do_not_go_together(gallery, images):
    with pytest.raises(facesync.UsageError, match="do not go together"):
        gallery.register("Ada", [images / "collins_1.jpg"], add=True, replace=True)


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_gallery_is_a_file(model, path):
    with pytest.raises(facesync.UsageError, match="which is a file"):
        facesync.open_gallery(path, model)


def test_no_face_is_an_error_where_one_is_needed(model, gallery, images):
    with pytest.raises(facesync.ImageError, match=r"nobody\.jpg: no face found"):
        model.compare(images / "nobody.jpg", images / "hopper.jpg")
    with pytest.raises(facesync.ImageError, match="no image shows a usable face"):
        gallery.register("Ada", [images / "nobody.jpg"])


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"threshold": -1}, {"fmr": 0}, {"fmr": 1}])
def test_limits_out_of_range_are_refused(wrong):
    with pytest.raises(facesync.UsageError):
        facesync.load_model("embedded", offline=True, **wrong)


def test_an_unknown_device_is_named():
    with pytest.raises(facesync.ModelError, match="device 'gpu'; choose one of auto, cpu, cuda"):
        facesync.load_model("embedded", offline=True, device="gpu")


def test_a_threshold_of_ones_own_holds(images):
    strict = facesync.load_model("embedded", offline=True, threshold=np.float64(0.999))
    found = strict.compare(images / "collins_1.jpg", images / "collins_2.jpg")
    assert found.threshold == 0.999 and found.same_person is False


def test_templates_of_another_model_without_images_are_refused(
    gallery, images, monkeypatch, tmp_path
):
    gallery.register("Ada", [images / "collins_1.jpg"])
    monkeypatch.setattr(Recognizer, "fingerprint", "another")
    shutil.rmtree(tmp_path / "people_faces")
    with pytest.raises(facesync.StoreError, match="another model"):
        gallery.identify(images / "collins_1.jpg")


def test_what_is_no_embedding_is_not_the_same_person(model, images):
    face = model.find(images / "hopper.jpg")[0]
    broken = dataclasses.replace(face, embedding=np.full(512, np.nan, np.float32))
    with pytest.raises(facesync.ModelError, match="no valid face embedding"):
        model.compare(face, broken)
