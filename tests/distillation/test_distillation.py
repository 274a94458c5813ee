"""A student from its teacher: the faces it learns from, what it is shown, the loop, the packing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import distill_model
from facesync.data.recordio import write_pack
from facesync.distillation import faces as faces_module
from facesync.distillation import runs
from facesync.distillation.augment import plain, varied
from facesync.distillation.faces import CANVAS, all_images, canvas_of, collect, images_in
from facesync.distillation.fit import loss_of, split
from facesync.distillation.packing import load_student, pack, with_whole_weights
from facesync.distillation.student import CROP, Student, from_teacher
from facesync.errors import DataError, FileError, ModelError
from facesync.faces.crops import ALIGNED_112, TEMPLATE_112
from facesync.faces.embedding import FaceModel
from facesync.faces.onnx_export import to_onnx
from facesync.faces.onnx_files import read_description
from facesync.faces.onnx_runtime import open_net
from facesync.faces.torch_model import new_network
from facesync.images import save_jpeg


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def aligned(tmp_path: Path) -> Path:
    """Folder of ten drawn images of 112 x 112, which count as aligned faces."""
    folder = tmp_path / "aligned"
    random = np.random.default_rng(0)
    for number in range(10):
        drawn = random.integers(0, 256, (7, 7, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
        save_jpeg(drawn, folder / f"{number % 2}" / f"{number}.jpg")
    return folder


class Teacher:
    """Embeds by mean colour; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.model = FaceModel(self._network, ALIGNED_112, "teacher", "a drawn teacher")

    def _network(self, batch: np.ndarray) -> np.ndarray:
        self.asked += len(batch)
        means = batch.reshape(len(batch), 3, -1).mean(axis=2)
        embeddings = np.zeros((len(batch), 512), np.float32)
        embeddings[:, :3] = means
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def test_faces_are_asked_about_once_and_found_again(aligned, tmp_path, monkeypatch):
    monkeypatch.setattr(faces_module, "BLOCK", 4)
    teacher = Teacher()
    images = all_images([], [aligned], None)
    faces = collect(images, teacher.model, tmp_path / "cache")
    assert (len(faces), teacher.asked) == (10, 10)
    assert faces.canvas(9).shape == (CANVAS, CANVAS, 3)
    (written,) = (tmp_path / "cache").iterdir()
    (written / "0000004.teacher.npy").unlink()  # as an interruption would leave it
    again = collect(images, teacher.model, tmp_path / "cache")
    assert teacher.asked == 14
    np.testing.assert_array_equal(again.targets, faces.targets)
    np.testing.assert_array_equal(again.canvas(5), faces.canvas(5))


def test_a_image_that_cannot_be_read_is_left_out(aligned, tmp_path, caplog):
    (aligned / "0" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    faces = collect(all_images([], [aligned], None), Teacher().model, tmp_path)
    assert len(faces) == 10
    assert "damaged.jpg" in caplog.text


def test_a_image_without_a_face_teaches_nothing(tmp_path):
    save_jpeg(np.full((200, 200, 3), 90, np.uint8), tmp_path / "grey" / "wall.jpg")
    with pytest.raises(DataError, match="not one face"):
        collect(all_images([tmp_path / "grey"], [], None), Teacher().model, tmp_path)


def test_a_pack_and_its_folder_name_the_same_images_but_for_the_suffix(aligned, tmp_path):
    files = sorted(aligned.rglob("*.jpg"))
    write_pack(tmp_path / "pack", [(int(f.parent.name), f.read_bytes()) for f in files])
    names = [image.name for image in images_in(tmp_path / "pack", aligned=True)]
    assert len(names) == 10 and names[0] == "0/1"
    assert images_in(aligned, aligned=True)[0].name == "0/0.jpg"


def test_what_is_left_out_is_not_learnt_from(aligned, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("0/0.jpg\n1/3.jpg\n")
    kept = [image.name for image in all_images([], [aligned], listed)]
    assert len(kept) == 8 and "0/0.jpg" not in kept
    with pytest.raises(FileError, match="no-such"):
        all_images([], [aligned], tmp_path / "no-such")
    with pytest.raises(DataError, match="no images"):
        images_in(tmp_path / "nothing", aligned=True)


def test_a_canvas_holds_the_aligned_crop_in_its_middle():
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (30, 30, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    landmarks = TEMPLATE_112 + 60
    crop = ALIGNED_112.cut(image, faces_module.Face(np.zeros(4), landmarks, 1.0))
    np.testing.assert_allclose(plain(canvas_of(image, landmarks)), crop, atol=2)


def test_variations_differ_and_repeat_with_their_seed(aligned):
    canvas = np.random.default_rng(2).integers(0, 256, (CANVAS, CANVAS, 3), dtype=np.uint8)
    views = [varied(canvas, np.random.default_rng(seed)) for seed in range(30)]
    assert all(view.shape == (112, 112, 3) and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) == 30
    np.testing.assert_array_equal(views[7], varied(canvas, np.random.default_rng(7)))


def test_the_loss_is_nothing_where_student_and_teacher_agree():
    targets = torch.nn.functional.normalize(torch.randn(8, 512))
    assert loss_of(targets, targets).item() == pytest.approx(0, abs=1e-6)
    assert loss_of(-targets, targets).item() == pytest.approx(2, abs=1e-5)


def test_the_split_is_drawn_from_the_seed():
    training, validation = split(100, 0.1, seed=3)
    assert sorted([*training, *validation]) == list(range(100)) and len(validation) == 10
    assert (split(100, 0.1, seed=3)[1] == validation).all()
    assert (split(100, 0.1, seed=4)[1] != validation).any()


def test_a_student_has_its_teachers_first_layers_and_keeps_the_frozen_ones():
    teacher = new_network().eval()
    student = from_teacher(teacher, blocks=1).train()
    frozen = [p for p in student.parameters() if not p.requires_grad]
    assert sum(p.numel() for p in frozen) == sum(p.numel() for p in student.stem.parameters())
    assert torch.equal(student.mixed_6a.branch0.conv.weight, teacher.mixed_6a.branch0.conv.weight)
    means = student.stem[0].bn.running_mean.clone()
    embeddings = student(torch.randn(4, 3, 112, 112))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    assert torch.equal(student.stem[0].bn.running_mean, means)


def test_packed_weights_are_a_quarter_and_embed_alike(tmp_path):
    torch.manual_seed(0)
    student = Student(1).eval()
    path = pack(student, tmp_path, "drawn at random")
    whole = to_onnx(student, (2, 3, 112, 112))
    assert path.stat().st_size < 0.3 * len(whole)
    assert read_description(path)["crop"] == CROP.to_dict()
    batch = np.random.default_rng(0).normal(size=(3, 3, 112, 112)).astype(np.float32)
    (packed,) = open_net(path)(batch)
    with torch.inference_mode():
        expected = student(torch.from_numpy(batch)).numpy()
    assert (packed * expected).sum(axis=1).min() > 0.99


def test_packing_names_no_weight_twice():
    content = with_whole_weights(to_onnx(Student(1).eval(), (2, 3, 112, 112)))
    import onnx

    model = onnx.load_from_string(content)
    kept = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert all(len(t.dims) < 2 or np.prod(t.dims) < 30_000 for t in kept)


@pytest.mark.slow
def test_the_script_teaches_stops_and_goes_on(aligned, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "load_face_model", lambda *a, **k: Teacher().model)
    torch_model = type("Loaded", (), {"network": new_network().eval()})
    monkeypatch.setattr(runs, "load_torch_model", lambda *a, **k: torch_model)
    common = ["--aligned", str(aligned), "--batch-size", "4", "--blocks", "1", "--device", "cpu"]
    output = ["--output", str(tmp_path / "student"), *common, "--epochs", "2"]

    class Enough(Exception):
        pass

    real = runs.distill

    def cut_short(student, *arguments):
        from facesync.distillation import fit

        write = fit._write_history

        def stop(*history):
            write(*history)
            raise Enough

        monkeypatch.setattr(fit, "_write_history", stop)
        try:
            real(student, *arguments)
        finally:
            monkeypatch.setattr(fit, "_write_history", write)

    monkeypatch.setattr(runs, "distill", cut_short)
    with pytest.raises(Enough):
        distill_model.main(output)
    monkeypatch.setattr(runs, "distill", real)
    assert distill_model.main(output) == 1
    assert "--resume goes on" in capsys.readouterr().err
    assert distill_model.main([*output, "--resume"]) == 0
    lines = (tmp_path / "student" / "distill_history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2"]
    assert (tmp_path / "student" / "embedded.onnx").exists()
    assert distill_model.main([*output[:-1], "3", "--resume"]) == 1
    assert "--epochs 2" in capsys.readouterr().err


def test_wrong_usage_and_foreign_checkpoints(tmp_path, capsys):
    assert distill_model.main(["--output", str(tmp_path)]) == 2
    assert "--data" in capsys.readouterr().err
    for option, value in (("--workers", "-1"), ("--batch-size", "1")):
        assert distill_model.main(["--data", str(tmp_path), option, value]) == 2
        assert option in capsys.readouterr().err
    torch.save({"epoch": 1, "model_state_dict": new_network().state_dict()}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="no student"):
        load_student(tmp_path / "a.pth")
