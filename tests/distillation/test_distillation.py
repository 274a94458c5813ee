"""Distillation: the cached faces, the samples, training with resume, and the packed model."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import distill_model
from facesync.data.recordio import write_pack
from facesync.distillation import checkpoint, distill
from facesync.distillation import faces as faces_module
from facesync.distillation.checkpoint import TrainingState
from facesync.distillation.distill import Samples, loss_of, split
from facesync.distillation.faces import all_images, collect, images_in
from facesync.distillation.packing import pack
from facesync.distillation.student import CROP, FEATURES, Student, from_vggface2, start_head
from facesync.errors import DataError, FileError
from facesync.faces.crops import ALIGNED_112
from facesync.faces.embedding import FaceModel
from facesync.faces.onnx_export import to_onnx
from facesync.faces.onnx_files import read_description
from facesync.faces.onnx_runtime import open_net
from facesync.faces.torch_model import new_network
from facesync.images import read_image_rgb, save_jpeg
from tests.evaluation.conftest import MiddleDetector


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def aligned(tmp_path: Path) -> Path:
    """Folder of ten generated 112 x 112 images that are taken for aligned faces."""
    folder = tmp_path / "aligned"
    random = np.random.default_rng(0)
    for number in range(10):
        drawn = random.integers(0, 256, (7, 7, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
        save_jpeg(drawn, folder / f"{number % 2}" / f"{number}.jpg")
    return folder


class Teacher:
    """Embeds by mean colour; counts the crops it embeds."""

    def __init__(self) -> None:
        self.embedded = 0
        self.model = FaceModel(self._network, ALIGNED_112, "teacher", "a stand-in")

    def _network(self, batch: np.ndarray) -> np.ndarray:
        self.embedded += len(batch)
        means = batch.reshape(len(batch), 3, -1).mean(axis=2)
        embeddings = np.zeros((len(batch), 512), np.float32)
        embeddings[:, :3] = means
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


@pytest.fixture
def middle_detector():
    return MiddleDetector()


def test_faces_are_embedded_once_and_cached(aligned, tmp_path, monkeypatch):
    monkeypatch.setattr(faces_module, "_BATCH", 4)
    teacher = Teacher()
    images = all_images([], [aligned], None)
    faces = collect(images, teacher.model, tmp_path / "cache")
    assert (len(faces), teacher.embedded) == (10, 20)  # and their mirror images
    assert faces.crop(9).shape == (112, 112, 3) and faces.rows().shape == (10, 112 * 112 * 3)
    faces_9, targets = faces.crop(9), faces.targets
    (kept,) = (tmp_path / "cache").glob("kept-*/*.keys")
    kept.write_bytes(kept.read_bytes()[: 7 * 20])  # as after an interruption
    again = collect(images, teacher.model, tmp_path / "cache")
    assert teacher.embedded == 20 + 2 * 3
    np.testing.assert_array_equal(again.targets, targets)
    np.testing.assert_array_equal(again.target(5), targets[5])
    np.testing.assert_array_equal(again.crop(9), faces_9)
    pickled = pickle.dumps(again)  # for a worker: it maps the files itself
    assert len(pickled) < 3000
    np.testing.assert_array_equal(pickle.loads(pickled).crop(5), again.crop(5))


def test_the_same_images_elsewhere_are_in_the_cache_too(aligned, tmp_path, caplog):
    caplog.set_level("INFO", "facesync")
    teacher = Teacher()
    collect(all_images([], [aligned], None), teacher.model, tmp_path / "cache")
    files = sorted(aligned.rglob("*.jpg"))
    pack = write_pack(tmp_path / "pack", [(int(f.parent.name), f.read_bytes()) for f in files])
    old = tmp_path / "cache" / "0123456789abcdef" / "0000000.teacher.npy"
    old.parent.mkdir()
    old.touch()
    faces = collect(all_images([], [pack, aligned], None), teacher.model, tmp_path / "cache")
    assert (len(faces), teacher.embedded) == (20, 20)
    assert "0123456789abcdef is of a former layout and not read; delete it" in caplog.text


def test_photographs_come_first_and_their_faces_are_found_once(
    aligned, tmp_path, monkeypatch, middle_detector
):
    monkeypatch.setattr(faces_module, "FaceDetector", lambda: middle_detector)
    photographs = tmp_path / "photographs"
    for number in range(3):
        save_jpeg(np.full((64, 64, 3), 60 * number, np.uint8), photographs / f"{number}.jpg")
    images = all_images([photographs], [aligned], None)
    for _ in range(2):
        faces = collect(images, Teacher().model, tmp_path / "cache")
        assert len(faces) == 2 + 10  # the black one shows nobody
        assert faces.crop(1).mean() > faces.crop(0).mean() > 30
        np.testing.assert_array_equal(faces.crop(2), read_image_rgb(aligned / "0" / "0.jpg"))
    assert middle_detector.looks == 3


def test_an_image_that_cannot_be_read_is_left_out(aligned, tmp_path, caplog):
    (aligned / "0" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    faces = collect(all_images([], [aligned], None), Teacher().model, tmp_path)
    assert len(faces) == 10
    assert "damaged.jpg" in caplog.text


def test_images_without_a_face_are_an_error(tmp_path):
    save_jpeg(np.full((200, 200, 3), 90, np.uint8), tmp_path / "grey" / "wall.jpg")
    with pytest.raises(DataError, match="no face was found"):
        collect(all_images([tmp_path / "grey"], [], None), Teacher().model, tmp_path)


def test_images_of_a_pack_are_named_as_in_a_folder_without_suffix(aligned, tmp_path):
    files = sorted(aligned.rglob("*.jpg"))
    write_pack(tmp_path / "pack", [(int(f.parent.name), f.read_bytes()) for f in files])
    names = [image.name for image in images_in(tmp_path / "pack", aligned=True)]
    assert len(names) == 10 and names[0] == "0/1"
    assert images_in(aligned, aligned=True)[0].name == "0/0.jpg"


def test_images_can_be_left_out(aligned, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("0/0.jpg\n1/3.jpg\n")
    kept = [image.name for image in all_images([], [aligned], listed)]
    assert len(kept) == 8 and "0/0.jpg" not in kept
    with pytest.raises(FileError, match="no-such"):
        all_images([], [aligned], tmp_path / "no-such")
    with pytest.raises(DataError, match="no images"):
        images_in(tmp_path / "nothing", aligned=True)


def test_augmentation_depends_on_the_seed_the_epoch_and_the_face(aligned, tmp_path):
    faces = collect(all_images([], [aligned], None), Teacher().model, tmp_path)
    samples = Samples(faces, np.arange(4), seed=1)
    crop, numbers, target = samples[3]
    np.testing.assert_array_equal(crop.permute(1, 2, 0), faces.crop(3))
    np.testing.assert_array_equal(target, faces.targets[3])
    np.testing.assert_array_equal(samples[3][1], numbers)
    others = [samples[2][1], Samples(faces, np.arange(4), seed=2)[3][1]]
    samples.epoch.fill_(1)
    others.append(samples[3][1])
    assert all((other != numbers).any() for other in others)


def test_workers_know_the_epoch(aligned, tmp_path):
    faces = collect(all_images([], [aligned], None), Teacher().model, tmp_path)
    samples = Samples(faces, np.arange(4), seed=1)
    batches = distill.loader_of(samples, 2, 1, torch.device("cpu")).batches([[0, 1], [2, 3]])
    for epoch in (1, 2):
        samples.epoch.fill_(epoch)
        for number, (crops, numbers, targets) in enumerate(batches):
            for part, wanted in zip(
                (crops, numbers, targets), samples[2 * number + 1], strict=True
            ):
                np.testing.assert_array_equal(part[1], wanted)


def test_the_loss_is_zero_where_student_and_teacher_agree():
    targets = torch.nn.functional.normalize(torch.randn(8, 512))
    assert loss_of(targets, targets).item() == pytest.approx(0, abs=1e-6)
    assert loss_of(-targets, targets).item() == pytest.approx(2, abs=1e-5)


def test_the_split_depends_on_the_seed():
    training, validation = split(100, 0.1, seed=3)
    assert sorted([*training, *validation]) == list(range(100)) and len(validation) == 10
    assert (split(100, 0.1, seed=3)[1] == validation).all()
    assert (split(100, 0.1, seed=4)[1] != validation).any()


def test_a_student_starts_from_the_layers_of_vggface2_and_keeps_the_stem_frozen():
    teacher = new_network().eval()
    student = from_vggface2(teacher, blocks=1).train()
    frozen = [p for p in student.parameters() if not p.requires_grad]
    assert sum(p.numel() for p in frozen) == sum(p.numel() for p in student.stem.parameters())
    assert torch.equal(student.mixed_6a.branch0.conv.weight, teacher.mixed_6a.branch0.conv.weight)
    means = student.stem[0].bn.running_mean.clone()
    embeddings = student(torch.randn(4, 3, 112, 112))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    assert torch.equal(student.stem[0].bn.running_mean, means)


def test_the_last_layer_starts_as_the_best_linear_map():
    torch.manual_seed(0)
    student = Student(1).eval()
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (3000, FEATURES)).astype(np.float32)
    map_ = rng.normal(size=(FEATURES, 512)).astype(np.float32)
    targets = features @ map_ / 100 + 1
    start_head(student, features, targets)
    with torch.inference_mode():
        found = student.linear(student.norm(torch.from_numpy(features))).numpy()
    # What the ridge takes away is little, and the mean is kept.
    np.testing.assert_allclose(found.mean(axis=0), targets.mean(axis=0), atol=1e-3)
    assert np.corrcoef(found.ravel(), targets.ravel())[0, 1] > 0.99


def test_packed_weights_are_a_fifth_of_the_size_and_embed_alike(tmp_path):
    torch.manual_seed(0)
    student = Student(1).eval()
    path = pack(student, tmp_path, "random weights")
    assert path.stat().st_size < 0.2 * len(to_onnx(student, (2, 3, 112, 112)))
    stored = onnx.load(path).graph.initializer
    floats = [t for t in stored if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]
    assert all(np.prod(t.dims) < 30_000 for t in floats)
    assert any(t.data_type == onnx.TensorProto.INT4 for t in stored)
    assert read_description(path)["crop"] == CROP.to_dict()
    batch = np.random.default_rng(0).normal(size=(3, 3, 112, 112)).astype(np.float32)
    (packed,) = open_net(path)(batch)
    with torch.inference_mode():
        expected = student(torch.from_numpy(batch)).numpy()
    assert (packed * expected).sum(axis=1).min() > 0.97


class Interrupted(Exception):
    """Stands for Ctrl-C after an epoch was saved."""


@pytest.mark.slow
def test_the_script_trains_stops_and_resumes(aligned, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(distill, "load_face_model", lambda *a, **k: Teacher().model)
    torch_model = type("Loaded", (), {"network": new_network().eval()})
    monkeypatch.setattr(distill, "load_torch_model", lambda *a, **k: torch_model)
    common = ["--aligned", str(aligned), "--batch-size", "4", "--blocks", "1", "--device", "cpu"]
    output = ["--output", str(tmp_path / "student"), *common, "--epochs", "2"]
    save = checkpoint.TrainingState.save

    def save_and_stop(*arguments):
        save(*arguments)
        raise Interrupted

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(checkpoint.TrainingState, "save", save_and_stop)
        distill_model.main(output)
    assert distill_model.main(output) == 1
    assert "use --resume" in capsys.readouterr().err
    assert distill_model.main([*output, "--resume"]) == 0
    lines = (tmp_path / "student" / "distill_history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2"]
    assert (tmp_path / "student" / "embedded.onnx").exists()
    assert distill_model.main([*output[:-1], "3", "--resume"]) == 1
    assert "--epochs 2" in capsys.readouterr().err
    student = tmp_path / "student" / "student.pth"
    whole = torch.load(student, weights_only=True)
    weights = {key: torch.full_like(v, torch.nan) for key, v in whole["model_state_dict"].items()
               if v.is_floating_point()}  # fmt: skip
    spoilt = {**whole, "model_state_dict": {**whole["model_state_dict"], **weights}}
    for odd in (spoilt, {**whole, "history": ["text"]}, {**whole, "settings": None}):
        torch.save(odd, student)
        assert distill_model.main([*output, "--resume"]) == 1
        says = "holds values that are not finite" if odd is spoilt else "not a checkpoint of this"
        assert says in capsys.readouterr().err
    torch.save({"model_state_dict": new_network().state_dict()}, student)
    assert distill_model.main([*output, "--resume"]) == 1
    assert "student.pth is not a FaceSync student" in capsys.readouterr().err


def test_a_student_can_start_from_another(aligned, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(distill, "load_face_model", lambda *a, **k: Teacher().model)
    begun: list[Student] = []
    monkeypatch.setattr(distill, "start_head", None)  # the last layer is not fitted again
    monkeypatch.setattr(TrainingState, "save", lambda state, _: begun.append(state.student))
    monkeypatch.setattr(distill, "pack", lambda *_: None)
    before, file = Student(1), tmp_path / "earlier.pth"
    written = {"blocks": 1, "model_state_dict": before.state_dict()}
    common = ["--aligned", str(aligned), "--batch-size", "4", "--epochs", "1", "--device", "cpu"]
    common += ["--output", str(tmp_path / "student"), "--start", str(file), "--lr", "1e-9"]
    torch.save(written, file)
    assert distill_model.main([*common, "--blocks", "1"]) == 0
    torch.testing.assert_close(begun[0].linear.weight, before.linear.weight)
    torch.testing.assert_close(begun[0].stem.state_dict(), before.stem.state_dict())
    assert distill_model.main([*common, "--blocks", "2"]) == 1
    assert "earlier.pth is a student of 1 blocks: use --blocks 1" in capsys.readouterr().err
    state = written["model_state_dict"]
    for odd, says in (
        ({**state, "linear.bias": torch.full((512,), torch.nan)}, "linear.bias holds values that"),
        ({**state, "linear.bias": torch.ones(128)}, "is not a FaceSync student: linear.bias is"),
        ({"text": 1}, "holds no weights"),
    ):
        torch.save({"model_state_dict": odd}, file)
        assert distill_model.main([*common, "--blocks", "1"]) == 1
        error = capsys.readouterr().err.strip()
        assert says in error.splitlines()[-1] and "Traceback" not in error
    file.unlink()
    assert distill_model.main([*common, "--blocks", "1"]) == 1
    assert "earlier.pth" in capsys.readouterr().err


def test_wrong_usage(tmp_path, capsys):
    assert distill_model.main(["--output", str(tmp_path)]) == 2
    assert "--data" in capsys.readouterr().err
    assert distill_model.main(["--data", str(tmp_path), "--batch-size", "1"]) == 2
    assert "--batch-size" in capsys.readouterr().err
    for option in (["--resume"], ["--start", "student.pth"]):
        head = ["--data", str(tmp_path), "--student", "vggface2-head", *option]
        assert distill_model.main(head) == 2
        assert "--start and --resume cannot be used" in capsys.readouterr().err
    for option in ("--workers", "--seed"):
        with pytest.raises(SystemExit) as error:
            distill_model.main(["--data", str(tmp_path), option, "-1"])
        assert error.value.code == 2 and option in capsys.readouterr().err
