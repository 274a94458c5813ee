from __future__ import annotations

import pickle
from collections import Counter

import pytest
import torch

from facesync.errors import DataError
from facesync.faces.crops import ALIGNED_112, SQUARE
from facesync.processes import Ranks
from facesync.training.augment import DRAWS
from facesync.training.batches import EpochOrder, TrainingImages, collate, load_split, make_loader
from facesync.training.transforms import sized
from tests.training.stand_ins import draw_identity


def loader_of(data, crop=ALIGNED_112, workers=0):
    return make_loader(data, crop, 4, workers=workers, device=torch.device("cpu"))


def load(data, indices=None, shuffle=True, workers=0, epoch=1, batch_size=4, crop=ALIGNED_112):
    indices = data.train if indices is None else indices
    order = EpochOrder(indices, data.seed, batch_size, shuffle=shuffle)
    order.epoch = epoch
    return list(loader_of(data, crop, workers).batches(order))


def order_of(images=30, seed=42, batch_size=4, epoch=1, shuffle=True, **more):
    """Return an epoch's batches of indices."""
    order = EpochOrder(range(images), seed, batch_size, shuffle=shuffle, **more)
    order.epoch = epoch
    return [[index for index, _ in batch] for batch in order]


def flat(batches):
    return [index for batch in batches for index in batch]


# The split


def test_split_is_80_to_20_without_overlap(small_split):
    assert (len(small_split.train), len(small_split.validation)) == (14, 4)
    assert not set(small_split.train) & set(small_split.validation)
    assert small_split.holdout == []


def test_split_is_the_same_from_a_pack(small_split, pack):
    from_pack = load_split(pack, seed=42, min_images=5, max_images=100)
    for attribute in ("train", "validation", "labels"):
        assert getattr(from_pack, attribute) == getattr(small_split, attribute)


def test_one_identity_is_refused(tmp_path):
    draw_identity(tmp_path / "alone", 0, 6)
    with pytest.raises(DataError, match="'alone'; training needs two"):
        load_split(tmp_path, seed=42, min_images=5, max_images=100)


def test_too_few_images_to_split_are_refused(tmp_path):
    for number in range(2):
        draw_identity(tmp_path / str(number), number, 1)
    with pytest.raises(DataError, match="2 images, too few"):
        load_split(tmp_path, seed=42, min_images=1, max_images=1)


def test_one_image_an_identity_works(tmp_path):
    for number in range(8):
        draw_identity(tmp_path / str(number), number, 1)
    data = load_split(tmp_path, seed=42, min_images=1, max_images=1)
    assert len(load(data)) == 2


def held_out(folder, identities=8, share=0.25, seed=42):
    for number in range(identities):
        draw_identity(folder / f"{number}", number, 5)
    return load_split(folder, seed, min_images=5, max_images=100, holdout_identities=share)


def test_held_out_identities_are_in_no_other_part_and_have_no_class(tmp_path):
    data = held_out(tmp_path)
    assert sorted(data.train + data.validation + data.holdout) == list(range(40))
    assert len(data.holdout) == 10 and len(data.label_map) == 6
    names = data.faces.class_names
    unseen = {names[data.faces.labels[index]] for index in data.holdout}
    known = {names[data.faces.labels[index]] for index in data.train + data.validation}
    assert len(unseen) == 2 and not unseen & known and known == set(data.label_map)
    assert {data.labels[index] for index in data.holdout} == {6, 7}
    assert {data.labels[index] for index in data.train} == set(range(6))
    for index in data.train + data.validation:
        assert data.labels[index] == data.label_map[names[data.faces.labels[index]]]


def test_who_is_held_out_depends_only_on_the_seed(tmp_path):
    one, again = held_out(tmp_path), held_out(tmp_path)
    others = [held_out(tmp_path, seed=seed).holdout for seed in range(5)]
    assert one.holdout == again.holdout and one.labels == again.labels
    assert any(other != one.holdout for other in others)


def test_at_least_two_identities_are_held_out_and_two_are_left(tmp_path):
    assert len(held_out(tmp_path, share=0.01).label_map) == 6
    for number in range(3):
        draw_identity(tmp_path / "few" / str(number), number, 5)
    with pytest.raises(DataError, match="3 identities, too few to hold some out"):
        load_split(tmp_path / "few", 42, 5, 100, holdout_identities=0.1)


# The order


def test_order_depends_on_seed_and_epoch_and_holds_every_image():
    passes = {}
    order = EpochOrder(range(30), 42, 4, shuffle=True)
    for epoch in (1, 2, 1):
        order.epoch = epoch
        keys = list(order)
        assert [len(batch) for batch in keys] == [4] * 7 + [2] and len(order) == len(keys)
        assert sorted(flat(keys)) == [(index, epoch) for index in range(30)]
        assert passes.setdefault(epoch, keys) == keys
    assert order_of(epoch=1) != order_of(epoch=2)
    assert order_of(epoch=1) != order_of(epoch=1, seed=43)
    assert list(EpochOrder([5, 3], 42, 4, shuffle=False)) == [[(5, 0), (3, 0)]]
    assert flat(order_of()) != list(range(30)) == flat(order_of(shuffle=False))


@pytest.mark.parametrize("done", [0, 1, 5, 7, 8])
def test_an_epoch_resumes_after_the_batches_that_are_done(done):
    whole = order_of()
    order = EpochOrder(range(30), 42, 4, shuffle=True)
    order.epoch, order.first = 1, done
    assert [[index for index, _ in batch] for batch in order] == whole[done:]
    assert len(order) == 8 - done and order.batches == 8


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("images", [24, 30, 31])
def test_processes_share_each_batch_without_overlap(size, images):
    alone = order_of(images, batch_size=12)
    parts = [order_of(images, batch_size=12, ranks=Ranks(rank, size)) for rank in range(size)]
    assert {len(part) for part in parts} == {len(alone)}  # all take as many steps
    for batch, *shares in zip(alone, *parts, strict=True):
        assert flat(shares) == batch
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_groups_put_several_images_of_each_identity_into_a_batch():
    groups = [index // 8 for index in range(80)]  # 10 identities of 8 images
    batches = order_of(80, batch_size=12, groups=groups, group_size=4)
    assert sorted(flat(batches)) == list(range(80))
    for batch in batches:
        for start in range(0, len(batch), 4):
            assert len({groups[index] for index in batch[start : start + 4]}) == 1
    assert all(len({groups[index] for index in batch}) > 1 for batch in batches[:-1])
    again = order_of(80, batch_size=12, groups=groups, group_size=4, epoch=2)
    assert again != batches


def test_groups_that_are_not_whole_come_last_and_none_is_lost():
    groups = [0] * 7 + [1] * 4 + [2] * 2 + [3] * 9
    batches = order_of(22, batch_size=8, groups=groups, group_size=4)
    assert sorted(flat(batches)) == list(range(22))
    for batch in batches[:2]:  # 0, 1 and 3 have four whole groups
        assert set(Counter(groups[index] for index in batch).values()) <= {4, 8}


# The images


def test_batches_do_not_depend_on_the_number_of_workers(small_split):
    for one, other in zip(load(small_split), load(small_split, workers=2), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
        assert torch.equal(one.draws, other.draws)


def test_a_batch_is_bytes_classes_and_draws(small_split):
    first, *_, last = load(small_split)
    assert first.images.dtype == torch.uint8 and first.images.shape == (4, 3, 160, 160)
    assert first.labels.dtype == torch.int64 and first.undecodable == []
    assert first.draws.dtype == torch.float32 and first.draws.shape == (4, DRAWS)
    assert len(last.images) == 2  # the rest of 14


def test_images_are_those_of_the_dataset(small_split):
    image, label, _, index = TrainingImages(small_split, SQUARE)[7, 1]
    assert index == 7
    assert torch.equal(image, sized(small_split.faces.image_rgb(7), SQUARE))
    assert label == small_split.labels[7]


def test_draws_differ_between_epochs_and_images_and_not_between_processes(small_split):
    images, elsewhere = (TrainingImages(small_split, ALIGNED_112) for _ in range(2))
    assert (images[0, 1][2] == elsewhere[0, 1][2]).all()
    assert (images[0, 1][2] != images[0, 2][2]).any()
    assert (images[0, 1][2] != images[1, 1][2]).any()


def test_loading_leaves_the_global_generator_alone(small_split):
    before = torch.get_rng_state()
    load(small_split)
    assert torch.equal(torch.get_rng_state(), before)


def test_undecodable_images_are_named_and_not_in_the_batch(images, damaged_image):
    damaged_image(images / "1" / "12.jpg")
    data = load_split(images, seed=42, min_images=5, max_images=100)
    got = load(data)
    got += load(data, data.validation, shuffle=False)
    (line,) = [line for batch in got for line in batch.undecodable]
    assert "12.jpg" in line and "\n" not in line
    loaded = torch.cat([batch.images for batch in got])
    assert len(loaded) == sum(len(batch.labels) for batch in got) == 17
    assert all(image.float().std() > 1 for image in loaded)  # none is a black square


def test_a_batch_may_be_empty(small_split):
    batch = collate(["a.jpg: damaged", "b.jpg: damaged"])
    assert (len(batch.images), len(batch.labels), len(batch.draws)) == (0, 0, 0)
    assert batch.undecodable == ["a.jpg: damaged", "b.jpg: damaged"]
    # Two images are left for three processes.
    order = EpochOrder([0, 1], 42, 6, shuffle=False, ranks=Ranks(0, 3))
    (batch,) = loader_of(small_split).batches(order)
    assert len(batch.labels) == 0 and batch.undecodable == []


def test_a_worker_gets_little(small_split):
    pickled = pickle.dumps(TrainingImages(small_split, ALIGNED_112))
    assert len(pickled) < 60 * len(small_split.labels) + 1000
    assert pickle.loads(pickled)[3, 1][0].shape == (160, 160, 3)
