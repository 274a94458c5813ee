"""Vectors survive interruption, damage and company, and are found again without loading them."""

import pickle
import tracemalloc

import numpy as np
import pytest

from facesync.errors import FileError
from facesync.evaluation import cache as cache_module
from facesync.evaluation.cache import Rows, VectorCache, content_id


def ids(*numbers):
    return [content_id(str(number).encode()) for number in numbers]


def vectors(*numbers, width=3):
    return np.array([[number] * width for number in numbers], np.float32)


def filled(folder, numbers):
    cache = VectorCache(folder, 3)
    cache.add(ids(*numbers), vectors(*numbers))
    cache.flush()
    return cache


def found(folder, numbers):
    """The numbers whose vectors are there, and right."""
    cache = VectorCache(folder, 3)
    places = cache.find(ids(*numbers))
    there = np.array(numbers)[places >= 0]
    np.testing.assert_array_equal(cache.take(places[places >= 0]), vectors(*there).reshape(-1, 3))
    return there.tolist()


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(cache_module, "_SHARD_BYTES", 50 * 3 * 4)
    monkeypatch.setattr(cache_module, "_ROWS_PER_WRITE", 16)


@pytest.mark.usefixtures("small_shards")
def test_vectors_are_found_again_in_any_order(tmp_path):
    cache = VectorCache(tmp_path, 3)
    for start in range(0, 130, 10):
        numbers = range(start, start + 10)
        cache.add(ids(*numbers), vectors(*numbers))
        places = cache.find(ids(start, start + 5, -1))  # written or not
        np.testing.assert_array_equal(cache.take(places[:2]), vectors(start, start + 5))
        assert places[2] == -1
    cache.flush()
    assert len(list(tmp_path.glob("*.vectors"))) == 3 and len(list(tmp_path.iterdir())) == 6
    other = VectorCache(tmp_path, 3)
    rows = Rows(other, other.find(ids(99, -1, 3, 3, 127)))
    np.testing.assert_array_equal(rows, vectors(99, np.nan, 3, 3, 127))
    np.testing.assert_array_equal(rows[[0, 4]], vectors(99, 127))
    np.testing.assert_array_equal(rows[1:, 0], [np.nan, 3, 3, 127])
    assert rows[[]].shape == rows[:0].shape == rows[rows[:, 0] < 0].shape == (0, 3)
    assert rows[4].tolist() == [127, 127, 127] and len(rows) == 5


@pytest.mark.usefixtures("small_shards")
def test_what_is_sorted_in_later_keeps_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_RECENT", 20)
    cache = filled(tmp_path, range(40))
    before = cache.find(ids(*range(40)))
    filled(tmp_path, range(100, 140))  # another run, meanwhile
    cache.add(ids(*range(40, 80)), vectors(*range(40, 80)))
    np.testing.assert_array_equal(cache.find(ids(*range(40))), before)
    cache.find(ids(0))  # the other run's shard now comes after the one that is being written
    late = cache.add(ids(80, 81, 82), vectors(80, 81, 82))
    np.testing.assert_array_equal(cache.take(late), vectors(80, 81, 82))
    both = cache.find(ids(*range(80), *range(100, 140)))
    np.testing.assert_array_equal(cache.take(both), vectors(*range(80), *range(100, 140)))


@pytest.mark.parametrize("what", ["vectors", "keys"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "zeros"])
def test_damage_costs_its_own_rows_and_is_said(tmp_path, caplog, what, damage):
    filled(tmp_path, range(40))
    filled(tmp_path, range(40, 50))
    path = next(p for p in tmp_path.glob(f"*.{what}") if p.stat().st_size >= 40 * 12)
    whole = path.read_bytes()
    row = len(whole) // 40
    at = 30 * row
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {
                "cut": whole[: at + 5],
                "flipped": whole[: at + row - 1]
                + bytes([whole[at + row - 1] ^ 4])
                + whole[at + row :],
                "zeros": whole[:at] + bytes(len(whole) - at),  # as after a power cut
            }[damage]
        )
    left = {"cut": range(30), "zeros": range(30), "gone": [], "flipped": {*range(40)} - {30}}
    assert found(tmp_path, range(50)) == [*left[damage], *range(40, 50)]
    # Rows of zeros have no id to find; all else is said.
    assert (damage, what) == ("zeros", "keys") or str(path.with_suffix("")) in caplog.text
    lost = sorted({*range(40)} - {*left[damage]})
    filled(tmp_path, lost)
    assert found(tmp_path, range(50)) == list(range(50))


def test_a_killed_run_keeps_all_but_its_newest(tmp_path, caplog):
    cache = VectorCache(tmp_path, 3)
    cache.add(ids(*range(600)), vectors(*range(600)))  # and no flush
    assert found(tmp_path, range(600)) == list(range(512))


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path):
    one, other = VectorCache(tmp_path, 3), VectorCache(tmp_path, 3)
    for number in range(0, 40, 2):
        one.add(ids(number), vectors(number))
        other.add(ids(number + 1, number), vectors(number + 1, number))
        one.flush()
        other.flush()
    assert found(tmp_path, range(40)) == list(range(40))


def test_a_full_disk_is_one_line_and_the_next_attempt_mends_it(tmp_path, monkeypatch):
    cache = filled(tmp_path, range(5))
    cache.add(ids(5, 6), vectors(5, 6))

    def full(path, offset, data):
        with open(path, "ab") as file:
            file.write(data[: len(data) // 2])
        raise FileError(f"cannot write {path}: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache_module, "_write_at", full)
        with pytest.raises(FileError, match="No space left"):
            cache.flush()
    cache.flush()
    assert found(tmp_path, range(7)) == list(range(7))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    cache = VectorCache(tmp_path / "file", 3)
    cache.add(ids(1), vectors(1))
    with pytest.raises(FileError, match="cannot write"):
        cache.flush()


def test_other_kinds_in_the_folder_are_not_read(tmp_path):
    filled(tmp_path, range(5))
    for other in (VectorCache(tmp_path, 4), VectorCache(tmp_path, 3, np.float16)):
        assert other.find(ids(1)).tolist() == [-1]
    halves = VectorCache(tmp_path, 3, np.float16)
    halves.add(ids(1), vectors(0.5))
    assert halves.take(halves.find(ids(1))).dtype == np.float16
    assert found(tmp_path, range(5)) == list(range(5))


def test_another_process_maps_the_files_itself(tmp_path):
    cache = VectorCache(tmp_path, 3)
    places = cache.add(ids(*range(3000)), vectors(*range(3000)))
    sent = pickle.dumps(Rows(cache, places[:10]))
    assert len(sent) < 3000
    np.testing.assert_array_equal(pickle.loads(sent), vectors(*range(10)))
    filled(tmp_path, range(3000, 3010))
    assert (pickle.loads(pickle.dumps(cache)).find(ids(*range(3010))) >= 0).all()


def test_opening_takes_memory_for_ids_alone(tmp_path):
    cache = VectorCache(tmp_path, 512)
    cache.add(ids(*range(20_000)), np.zeros((20_000, 512)))
    cache.flush()
    tracemalloc.start()
    other = VectorCache(tmp_path, 512)
    assert other.find(ids(7))[0] >= 0
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now < 20_000 * 16 * 1.5 and peak < 20_000 * 60  # the vectors are 41 MB


def old_files(folder, numbers, width=3):
    names = np.array([key.hex() for key in ids(*numbers)], "S")
    folder.mkdir(exist_ok=True)
    path = folder / f"{numbers[0]:016d}.npz"
    np.savez(path, ids=names, vectors=vectors(*numbers, width=width))
    return path


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", None], ids=["empty", "zip", "half"])
def test_the_former_layout_is_taken_over(tmp_path, caplog, damage):
    caplog.set_level("INFO", "facesync")
    old_files(tmp_path, range(5))
    kept = old_files(tmp_path, range(5, 10))
    kept.write_bytes(kept.read_bytes()[:300] if damage is None else damage)
    other = old_files(tmp_path, range(10, 15), width=4)
    assert found(tmp_path, range(15)) == list(range(5))
    assert sorted(tmp_path.glob("*.npz")) == [kept, other]  # what is not understood stays
    assert "5 vectors of the former layout" in caplog.text and "is damaged" in caplog.text
    assert found(tmp_path, range(15)) == list(range(5))


def test_nothing_in_an_old_file_is_run(tmp_path):
    evil = tmp_path / "evil.npz"
    np.savez(evil, ids=np.array([print], dtype=object), vectors=np.zeros((1, 3)))
    assert found(tmp_path, range(3)) == [] and evil.exists()
