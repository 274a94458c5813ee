from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from facesync.faces.crops import ALIGNED_112, SQUARE
from facesync.training import teacher
from facesync.training.batches import load_split
from facesync.training.step import take_step
from facesync.training.teacher import Targets, similarity_loss, teach
from tests.training.stand_ins import drawn_batch, known_model, tiny_learner


@pytest.fixture
def split(images):
    return load_split(images, seed=42, min_images=5, max_images=100)


def test_similarities_are_compared_not_embeddings():
    rows = normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)))
    turned = rows[:, torch.arange(7, -1, -1)]
    assert similarity_loss(rows, torch.nn.functional.pad(turned, (0, 4))).item() < 1e-12
    one, other = torch.eye(2), torch.tensor([[1.0, 0], [0.6, 0.8]])
    assert similarity_loss(one, other).item() == pytest.approx(2 * 0.6**2 / 4)


def test_a_teacher_is_asked_once_and_goes_on_where_it_was_interrupted(split, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher, "BLOCK", 5)
    calls: list[int] = []
    first = teach(split, ALIGNED_112, known_model(calls), tmp_path)
    assert sum(calls) == 2 * len(split.train)  # and the mirror images
    blocks = sorted((tmp_path / "teacher").rglob("*.npy"))
    assert len(blocks) == 3
    blocks[1].unlink()
    calls.clear()
    again = teach(split, ALIGNED_112, known_model(calls), tmp_path)
    assert sum(calls) == 2 * 5
    index = torch.tensor([split.train[7], split.train[0]])
    found = again.of(index, torch.device("cpu"))
    assert torch.equal(found, first.of(index, torch.device("cpu")))
    expected = known_model([]).embed_crops([split.faces.image_rgb(split.train[7])])[0]
    assert float(found[0] @ torch.from_numpy(expected)) > 0.5
    assert found.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-3)
    # Other images are other files.
    assert len(list((tmp_path / "teacher").iterdir())) == 1
    teach(split, SQUARE, known_model([]), tmp_path)
    assert len(list((tmp_path / "teacher").iterdir())) == 2


def test_images_without_a_face_or_content_are_trained_on_without_it(
    images, tmp_path, damaged_image, caplog
):
    split = load_split(images, seed=42, min_images=5, max_images=100)
    damaged_image(images / f"{split.faces.names[split.train[0]]}.jpg")
    with caplog.at_level(logging.WARNING):
        targets = teach(split, ALIGNED_112, known_model([]), tmp_path)
    assert "no face in 1 of 14 images" in caplog.text
    found = targets.of(torch.tensor(split.train[:2]), torch.device("cpu"))
    assert found.any(dim=1).tolist() == [False, True]


def similarities(learner, batch) -> torch.Tensor:
    with torch.no_grad():
        rows = normalize(learner.model.backbone.eval()(learner.inputs(batch.images, batch.draws)))
    return rows @ rows.T


def test_the_term_draws_similarities_to_the_teachers():
    """Without a teacher, images of one class grow alike; here the teacher says they are not."""
    batch = drawn_batch(6, classes=2)._replace(indices=torch.arange(6))
    rows = torch.eye(6, 512)
    rows[5] = 0  # no face
    errors = {}
    for weight in (0.0, 50.0):
        learner = tiny_learner(classes=2)
        learner.model.teacher_weight = weight
        learner.targets = Targets(list(range(6)), rows.numpy().astype(np.float16))
        for _ in range(60):
            take_step(learner, [batch])
        errors[weight] = (similarities(learner, batch)[:5, :5] - torch.eye(5)).square().mean()
    assert errors[50.0] < 0.5 * errors[0.0]


def test_a_batch_that_the_teacher_does_not_know_has_no_term():
    learner, plain = tiny_learner(), tiny_learner()
    learner.model.teacher_weight = 50.0
    learner.targets = Targets(list(range(6)), np.zeros((6, 512), np.float16))
    batch = drawn_batch(6)._replace(indices=torch.arange(6))
    torch.manual_seed(1)
    first = take_step(learner, [batch])
    torch.manual_seed(1)
    assert take_step(plain, [batch]) == first
