from __future__ import annotations

import logging
import os
import pickle
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facesync.data.conversion import convert_pack
from facesync.data.datasets import FaceDataset, natural_key, split_fingerprint, split_indices
from facesync.data.left_out import list_path, write_list
from facesync.data.recordio import write_pack
from facesync.errors import DataError, ImageError
from facesync.images import read_image_rgb
from tests.data.packs import image, images, index_of, many_images, overwrite, write_im2rec

NAMES = [f"{who}/{key}" for who in range(50) for key in range(20)]


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_order_is_natural_and_comes_before_the_cut(tmp_path):
    sizes = {"10": 3, "2": 4, "b": 3, "a10": 3, "a9": 3}
    fill(
        tmp_path,
        {f"{who}/{key}.jpg": image(key) for who, n in sizes.items() for key in range(8, 8 + n)},
    )
    dataset = FaceDataset(tmp_path, min_images=1, max_images=2)
    assert dataset.class_names == ["2", "10", "a9", "a10", "b"]
    assert dataset.label_map == {"2": 0, "10": 1, "a9": 2, "a10": 3, "b": 4}
    assert dataset.names == [f"{who}/{key}" for who in dataset.class_names for key in (8, 9)]
    assert dataset.labels == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert dataset.image_paths == [f"{tmp_path}/{name}.jpg" for name in dataset.names]
    assert len(dataset) == 10 and dataset.left_out == []


def test_a_sample_is_the_image_in_rgb_and_its_label(tmp_path):
    red = Image.new("RGB", (6, 4), "red")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    red.save(tmp_path / "a" / "1.png")
    red.convert("L").save(tmp_path / "b" / "1.png")
    dataset = FaceDataset(tmp_path, min_images=1)
    sample, label = dataset[0]
    assert (sample.mode, sample.size, label) == ("RGB", (6, 4), 0)
    assert sample.getpixel((0, 0)) == (255, 0, 0)
    assert dataset[1][0].mode == "RGB" and dataset[1][1] == 1
    assert FaceDataset(tmp_path, lambda p: p.size, min_images=1)[1] == ((6, 4), 1)
    with pytest.raises(IndexError):
        _ = dataset[2]


def test_identities_with_too_few_readable_images_are_left_out(tmp_path):
    fill(tmp_path, {f"few/{key}.jpg": image(key) for key in range(4)} | {"few/9.jpg": b""})
    fill(tmp_path, {f"enough/{key}.jpg": image(key) for key in range(5)})
    dataset = FaceDataset(tmp_path)
    assert dataset.label_map == {"enough": 0}
    assert dataset.left_out == [("few/9", "empty")]


def test_other_files_are_passed_over_and_counted(tmp_path, caplog):
    good = {"a/1.jpg": image(1), "a/2.PNG": image(2, "PNG"), "a/3.webp": image(3, "WEBP")}
    good |= {"a/4.jfif": image(4), "a/5.pgm": image(5, "PPM"), "a/6": image(6)}
    other = dict.fromkeys(
        [".hidden/1.jpg", "a/.2.jpg", "a/.x.jpg.tmp", "a/notes.txt", "top.jpg", "b/deeper/1.jpg"],
        b"",
    )
    dataset = FaceDataset(fill(tmp_path, good | other), min_images=1)
    assert dataset.names == [f"a/{key}" for key in range(1, 7)]
    assert dataset.left_out == []
    assert all(sample.size == (24, 16) for sample, _ in (dataset[i] for i in range(6)))
    assert caplog.messages == [
        f"{tmp_path}: passed over as not being images: 3 (the first: a/notes.txt)"
    ]


def test_who_has_too_few_images_and_how_many_are_too_many_is_said(tmp_path, caplog):
    pack = write_pack(tmp_path / "pack", [*images(2, 8), *((who, image(who)) for who in (7, 8))])
    convert_pack(pack, tmp_path / "folder", workers=1)
    for source in (pack, tmp_path / "folder"):
        caplog.clear()
        FaceDataset(source, min_images=2, max_images=5)
        assert caplog.messages == [
            f"{source}: 2 identities left out for having fewer than 2 images (the first: 7)",
            f"{source}: 6 images left out: of each identity the first 5 are used",
        ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_pipe_is_no_image(tmp_path):
    fill(tmp_path, {"a/1.jpg": image(1)})
    os.mkfifo(tmp_path / "a" / "2.jpg")
    os.mkfifo(tmp_path / "a" / "pipe")
    dataset = FaceDataset(tmp_path, min_images=1)
    assert dataset.names == ["a/1"]
    assert dataset.left_out == [("a/2", "cannot be read (it is not a regular file)")]


@pytest.mark.parametrize("name", ["a:b", "line\nbreak", os.fsdecode(b"caf\xe9"), "-x", "a\\b"])
def test_any_name_will_do(tmp_path, name):
    fill(tmp_path, {f"{name}/{name}.jpg": image(1), f"{name}/2.jpg": image(2)})
    write_list(list_path(tmp_path), {f"{name}/2": "blurred"})
    dataset = FaceDataset(tmp_path, min_images=1)
    assert dataset.names == [f"{name}/{name}"] and dataset.class_names == [name]
    assert dataset[0][0].size == (24, 16)
    assert split_fingerprint(dataset.names)
    assert dataset.left_out == [(f"{name}/2", "blurred")]


@pytest.mark.parametrize("trailer", [b"SEFH" * 25, bytes(4000)], ids=["Samsung", "padding"])
@pytest.mark.parametrize("source", ["folder", "pack"])
def test_what_phones_append_makes_no_image_unreadable(tmp_path, source, trailer):
    files = [(0, image(1) + trailer), (0, image(2, "PNG") + trailer)]
    if source == "pack":
        where = write_pack(tmp_path, files)
    else:
        where = fill(tmp_path, {f"0/{key}": data for key, (_, data) in enumerate(files, 1)})
    dataset = FaceDataset(where, min_images=1)
    assert dataset.names == ["0/1", "0/2"] and dataset.left_out == []
    assert [np.asarray(sample).tolist() for sample, _ in (dataset[0], dataset[1])] == [
        read_image_rgb(image(1)).tolist(),
        read_image_rgb(image(2, "PNG")).tolist(),
    ]


def test_the_fields_photographs_with_trailers(shared):
    cases = shared / "cases" / "trailers"
    assert_same(FaceDataset(cases / "samsung"), FaceDataset(cases / "plain"))


def test_the_fields_pack_of_half_images(shared, tmp_path):
    pack = shared / "cases" / "packs" / "lost_middle"
    report = convert_pack(pack, tmp_path, workers=1, decode_check=True)
    assert [fault["key"] for fault in report.corrupt] == [3, 4, 5]
    dataset = FaceDataset(pack, min_images=1)
    for index, name in enumerate(dataset.names):
        if name.endswith(("/3", "/4", "/5")):
            with pytest.raises(ImageError, match=rf"train.rec/{name}: damaged image"):
                dataset.image_rgb(index)
        else:
            assert dataset.image_rgb(index).shape == (112, 112, 3)


def test_unreadable_images_are_reported_in_one_line(tmp_path, caplog):
    jpeg, png = image(1), image(1, "PNG")
    bad = {
        "a/2.jpg": b"",
        "a/3.jpg": jpeg[:-2],
        "a/4.jpg": b"\0\0" + jpeg[2:],
        "a/5.png": png[: len(png) // 2],
        "a/10.jpg": b"a text",
    }
    fill(tmp_path, bad | {"a/1.jpg": jpeg, "a/6.jpg": jpeg + bytes(9)})
    with caplog.at_level(logging.INFO, logger="facesync"):
        dataset = FaceDataset(tmp_path, min_images=1)
    assert dataset.names == ["a/1", "a/6"]
    assert dict(dataset.left_out) == {
        "a/2": "empty",
        "a/3": "end marker missing: truncated JPEG",
        "a/4": "start marker missing: not an image of a known encoding",
        "a/5": "end marker missing: truncated PNG",
        "a/10": "start marker missing: not an image of a known encoding",
    }
    assert [name for name, _ in dataset.left_out] == ["a/2", "a/3", "a/4", "a/5", "a/10"]
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        (
            "facesync.data.datasets",
            f"{tmp_path}: 5 images left out as unusable (the first: a/2: empty)",
        )
    ]


def test_two_files_of_one_name(tmp_path):
    fill(tmp_path, {"a/1.jpg": image(1), "a/1.png": image(1, "PNG"), "a/2.jpg": image(2)})
    dataset = FaceDataset(tmp_path, min_images=1)
    assert dataset.names == ["a/1", "a/2"]
    assert dataset.left_out == [("a/1.png", "has the same name as 1.jpg")]


@pytest.mark.parametrize("source", ["folder", "pack"])
def test_a_damaged_image_is_named(tmp_path, source):
    damaged = image(1, "PNG")
    damaged = damaged[:60] + bytes(40) + damaged[100:]
    if source == "folder":
        data_dir, where = fill(tmp_path / "data", {"7/0.png": damaged}), "data/7/0.png"
    else:
        write_im2rec(tmp_path / "a.rec", [((7.0,), damaged)])
        data_dir, where = tmp_path / "a.rec", "a.rec/7/0"
    dataset = FaceDataset(data_dir, min_images=1)
    with pytest.raises(ImageError, match=rf"{where}: .*damaged"):
        _ = dataset[0]


@pytest.mark.parametrize("source", ["folder", "pack"])
def test_a_file_that_disappears(tmp_path, source):
    if source == "folder":
        dataset = FaceDataset(fill(tmp_path, {"7/0.jpg": image(1)}), min_images=1)
        (tmp_path / "7" / "0.jpg").unlink()
    else:
        rec = write_pack(tmp_path, [(7, image(1))])
        dataset = FaceDataset(rec, min_images=1)
        overwrite(rec, index_of(rec)[1], b"\0")
    with pytest.raises(ImageError, match="7/"):
        _ = dataset[0]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (None, "no such file or folder"),
        ({}, "neither images"),
        ({"1.jpg": b"pictures", "2.jpg": b"without folders"}, "neither images"),
        ({"a/notes.txt": b""}, "neither images"),
        ({"a/1.jpg": image(1)}, "no identity with at least 5 readable images"),
        ({"a/1.jpg": b"", "a/2.jpg": b""}, r"\(2 unreadable\)"),
        ({"a.rec": b""}, "the file is empty"),
    ],
    ids=["missing", "empty", "flat", "no images", "too few", "all unreadable", "empty pack"],
)
def test_a_dataset_without_usable_images(tmp_path, files, said):
    if files is not None:
        fill(tmp_path / "data", files).mkdir(exist_ok=True)
    with pytest.raises(DataError, match=said) as raised:
        FaceDataset(tmp_path / "data")
    assert "\n" not in str(raised.value)


def assert_same(one: FaceDataset, other: FaceDataset) -> None:
    assert one.names == other.names
    assert one.labels == other.labels
    assert one.label_map == other.label_map
    assert split_indices(one.names) == split_indices(other.names)
    assert split_fingerprint(one.names) == split_fingerprint(other.names)
    for index in range(0, len(one), max(1, len(one) // 50)):
        assert one.labels[index] == other.labels[index]
        assert np.array_equal(pixels(one, index), pixels(other, index))


def pixels(dataset: FaceDataset, index: int) -> np.ndarray:
    try:
        return dataset.image_rgb(index)
    except ImageError:
        return np.zeros(0)


@pytest.mark.parametrize("layout", ["insightface", "im2rec", "no index", "one level down"])
def test_a_pack_and_its_folder_are_the_same_data(tmp_path, layout):
    samples = [(who * 5, data) for who, data in images(12, 7)]
    samples += [(9, image(i)) for i in range(900, 904)]  # too few
    source = tmp_path / "pack"
    if layout == "im2rec":
        random.Random(2).shuffle(samples)
        source = source / "a.rec"
        source.parent.mkdir()
        write_im2rec(source, [((float(who),), data) for who, data in samples])
    else:
        rec = write_pack(source / "down" if layout == "one level down" else source, samples)
        if layout == "no index":
            rec.with_suffix(".idx").unlink()
    convert_pack(source, tmp_path / "folder", workers=1)
    of_pack, of_folder = FaceDataset(source), FaceDataset(tmp_path / "folder")
    assert len(of_pack) == 12 * 7
    assert_same(of_pack, of_folder)
    assert of_pack.image_paths[0].endswith(f".rec/{of_pack.names[0]}")
    assert (
        FaceDataset(source, max_images=6).names
        == FaceDataset(tmp_path / "folder", max_images=6).names
    )


@pytest.mark.parametrize("name", ["celeba_pack", "recordio/corrupt.rec", "recordio/multipart.rec"])
def test_real_packs_and_their_folders_are_the_same_data(shared, tmp_path, name):
    source = shared / "data" / name
    convert_pack(source, tmp_path)
    assert_same(FaceDataset(source, min_images=2), FaceDataset(tmp_path, min_images=2))


def test_what_cannot_be_read_in_a_pack_is_left_out(shared, tmp_path):
    dataset = FaceDataset(shared / "data" / "recordio" / "corrupt.rec", min_images=1)
    assert len(dataset) == 10 and len(dataset.left_out) == 30
    assert dataset.left_out[0] == ("0/2", "end marker missing: truncated JPEG")
    rec = write_pack(tmp_path, images(2, 3))
    overwrite(rec, index_of(rec)[2], b"\0")
    assert FaceDataset(rec, min_images=1).left_out == [("record 2", "no record starts here")]


def test_a_pack_whose_index_does_not_fit_is_read_whole(shared, tmp_path):
    source = shared / "cases" / "packs" / "idx_one_key"
    convert_pack(source, tmp_path)
    dataset = FaceDataset(source)
    assert len(dataset) == 18
    assert_same(dataset, FaceDataset(tmp_path))


@pytest.mark.parametrize("source", ["folder", "pack"])
def test_what_a_worker_gets_is_small(tmp_path, source):
    data_dir = write_pack(tmp_path / "pack", many_images(10, 100))
    size = data_dir.stat().st_size
    if source == "folder":
        convert_pack(data_dir, tmp_path / "folder", workers=1)
        data_dir = tmp_path / "folder"
    dataset = FaceDataset(data_dir)
    paths, first = dataset.image_paths, dataset.image_rgb(0)
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 50 * len(dataset) < size / 10
    copy = pickle.loads(pickled)
    assert copy.image_paths == paths and np.array_equal(copy.image_rgb(0), first)


@pytest.mark.parametrize("source", ["folder", "pack"])
def test_workers_of_a_dataloader(tmp_path, source):
    from torch.utils.data import DataLoader, Subset

    data_dir = write_pack(tmp_path / "pack", images(4, 6))
    if source == "folder":
        convert_pack(data_dir, tmp_path / "folder", workers=1)
        data_dir = tmp_path / "folder"
    dataset = FaceDataset(data_dir, np.asarray)
    train, _ = split_indices(dataset.names)
    loader = DataLoader(
        Subset(dataset, train),
        batch_size=4,
        num_workers=2,
        multiprocessing_context="spawn",
        collate_fn=list,
    )
    loaded = [sample for batch in loader for sample in batch]
    assert [label for _, label in loaded] == [dataset.labels[i] for i in train]
    assert all(np.array_equal(loaded[n][0], dataset[i][0]) for n, i in enumerate(train))


def test_the_sizes_of_the_known_split():
    train, validation = split_indices([str(i) for i in range(402_113)])
    assert (len(train), len(validation)) == (321_690, 80_423)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.2, 0.3, 0.5, 0.9, 0.99])
def test_a_split_is_a_partition_of_the_exact_size(fraction):
    for size in (0, 1, 2, 5, 10, 99, 100, 1000):
        train, validation = split_indices(NAMES[:size], 42, fraction)
        assert sorted(train + validation) == list(range(size))
        assert train == sorted(train) and validation == sorted(validation)
        assert len(train) == int(size * (1 - Fraction(str(fraction))))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5])
def test_an_invalid_fraction(fraction):
    with pytest.raises(ValueError, match="validation_fraction"):
        split_indices(NAMES, 42, fraction)


def validation_names(names: list[str], seed: int = 42) -> set[str]:
    return {names[i] for i in split_indices(names, seed)[1]}


def test_the_split_never_changes():
    """Checkpoints rely on these values, which were drawn once."""
    assert split_indices([f"0/{i}" for i in range(1, 21)])[1] == [9, 11, 15, 16]
    assert split_fingerprint([f"0/{i}" for i in range(1, 21)]) == "da4fefe658141d0f"


def test_the_split_depends_on_names_and_seed_not_on_their_order():
    shuffled = random.Random(5).sample(NAMES, len(NAMES))
    assert validation_names(shuffled) == validation_names(NAMES)
    assert validation_names(NAMES, 43) != validation_names(NAMES)
    assert split_fingerprint(shuffled) == split_fingerprint(NAMES)


@pytest.mark.parametrize("gone", range(0, 1000, 97))
def test_adding_or_removing_an_image_moves_at_most_one_other(gone):
    before = validation_names(NAMES)
    after = validation_names(NAMES[:gone] + NAMES[gone + 1 :])
    assert len((before - {NAMES[gone]}) ^ after) <= 1


def test_the_fingerprint_tells_splits_apart():
    fingerprints = {
        split_fingerprint(NAMES),
        split_fingerprint(NAMES[1:]),
        split_fingerprint(NAMES, 43),
        split_fingerprint(NAMES, 42, 0.25),
        split_fingerprint(["ab", "c"]),
        split_fingerprint(["a", "bc"]),
    }
    assert len(fingerprints) == 6
    assert split_fingerprint(NAMES, 42, 0.2) == split_fingerprint(NAMES)


def test_names_that_are_not_valid_text_are_split_too():
    names = ["caf\udce9/1", "café/1"]
    assert len(split_indices(names)[0]) == 1
    assert split_fingerprint(names) != split_fingerprint(names[:1])


def test_natural_order():
    ordered = ["01", "1", "2", "10", "a", "a1", "a1b", "a2", "a10", "b"]
    assert sorted(reversed(ordered), key=natural_key) == ordered
