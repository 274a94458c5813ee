from __future__ import annotations

import pickle

import pytest
import torch

from facesync.errors import DataError
from facesync.faces.crops import ALIGNED_112
from facesync.training.batches import EpochOrder, Pictures, collate, load_split, make_loader
from facesync.training.transforms import strong_transform, validation_transform
from tests.training.stand_ins import draw_identity, forks


def load(data, transform=None, train=True, workers=0, epoch=1, batch_size=4):
    loader, order = make_loader(
        data,
        transform or strong_transform(ALIGNED_112),
        train=train,
        batch_size=batch_size,
        workers=workers,
        device=torch.device("cpu"),
    )
    order.epoch = epoch
    return list(loader)


def test_split_is_80_to_20_without_overlap(small_split):
    assert (len(small_split.train), len(small_split.validation)) == (14, 4)
    assert not set(small_split.train) & set(small_split.validation)


def test_split_is_the_same_from_a_pack(small_split, pack):
    from_pack = load_split(pack, seed=42, min_images=5, max_images=100)
    for attribute in ("train", "validation", "labels"):
        assert getattr(from_pack, attribute) == getattr(small_split, attribute)


def test_one_identity_is_refused(tmp_path):
    draw_identity(tmp_path / "alone", 0, 6)
    with pytest.raises(DataError, match="'alone'; telling faces apart takes two"):
        load_split(tmp_path, seed=42, min_images=5, max_images=100)


def test_too_few_pictures_to_split_are_refused(tmp_path):
    for number in range(2):
        draw_identity(tmp_path / str(number), number, 1)
    with pytest.raises(DataError, match="2 pictures, too few"):
        load_split(tmp_path, seed=42, min_images=1, max_images=1)


def test_one_picture_an_identity_works(tmp_path):
    for number in range(8):
        draw_identity(tmp_path / str(number), number, 1)
    data = load_split(tmp_path, seed=42, min_images=1, max_images=1)
    assert len(load(data)) == 2


def test_order_depends_on_seed_and_epoch_and_holds_every_picture():
    order = EpochOrder(range(30), seed=42, shuffle=True)
    passes = {}
    for epoch in (1, 2, 1):
        order.epoch = epoch
        keys = list(order)
        assert sorted(keys) == [(index, epoch) for index in range(30)]
        assert passes.setdefault(epoch, keys) == keys
    assert [i for i, _ in passes[1]] != [i for i, _ in passes[2]]
    assert passes[1] != list(EpochOrder(range(30), seed=43, shuffle=True))
    assert [i for i, _ in EpochOrder([5, 3], seed=42, shuffle=False)] == [5, 3]


@forks
def test_batches_do_not_depend_on_the_number_of_workers(small_split):
    for one, other in zip(load(small_split), load(small_split, workers=2), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_augmentation_differs_between_epochs(small_split):
    pictures = Pictures(small_split, strong_transform(ALIGNED_112))
    assert torch.equal(pictures[0, 1][0], pictures[0, 1][0])
    assert not torch.equal(pictures[0, 1][0], pictures[0, 2][0])


def test_augmentation_leaves_the_global_generator_alone(small_split):
    before = torch.get_rng_state()
    load(small_split)
    assert torch.equal(torch.get_rng_state(), before)


@forks
@pytest.mark.parametrize("workers", [0, 2])
def test_undecodable_pictures_are_named_and_not_in_the_batch(pictures, damaged_picture, workers):
    damaged_picture(pictures / "1" / "12.jpg")
    data = load_split(pictures, seed=42, min_images=5, max_images=100)
    got = load(data, validation_transform(ALIGNED_112), workers=workers)
    got += load(data, validation_transform(ALIGNED_112), train=False, workers=workers)
    (line,) = [line for batch in got for line in batch.undecodable]
    assert "12.jpg" in line and "\n" not in line
    images = torch.cat([batch.images for batch in got])
    assert len(images) == 17
    assert all(image.std() > 0.01 for image in images)  # none is a black square


def test_a_batch_may_be_all_undecodable():
    batch = collate(["a.jpg: damaged", "b.jpg: damaged"])
    assert (len(batch.images), len(batch.labels)) == (0, 0)
    assert batch.undecodable == ["a.jpg: damaged", "b.jpg: damaged"]


def test_can_be_pickled_for_spawned_workers(small_split):
    copy = pickle.loads(pickle.dumps(Pictures(small_split, strong_transform(ALIGNED_112))))
    assert copy[3, 1][0].shape == (3, 160, 160)
