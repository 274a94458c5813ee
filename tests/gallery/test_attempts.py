"""Wrong attempts cause longer and longer pauses, across restarts, but never lock anyone out."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import stat

import pytest

from facesync.errors import StoreError
from facesync.gallery import attempts
from facesync.gallery.attempts import FREE_ATTEMPTS, LONGEST_PAUSE_SECONDS, pause_seconds


@pytest.fixture
def store(tmp_path):
    return tmp_path / "models" / "e.pkl"


def wrong(store, times: int, now: float = 1000.0, name: str = "Ada") -> None:
    for _ in range(times):
        attempts.FileAttempts(store).record(name, None, now)


def paused(store, now: float, name: str = "Ada") -> bool:
    try:
        attempts.FileAttempts(store).check(name, now)
    except StoreError as error:
        assert "try again in" in str(error) and "\n" not in str(error)
        return True
    return False


def test_pauses_grow_and_are_capped():
    assert [pause_seconds(n) for n in range(3, 9)] == [0, 0, 30, 60, 120, 240]
    assert pause_seconds(10**5) == LONGEST_PAUSE_SECONDS


def test_five_wrong_ones_pause(store):
    attempts.FileAttempts(store).check("Ada", 0)
    wrong(store, 4)
    assert not paused(store, 1000)
    wrong(store, 1)
    assert paused(store, 1000) and paused(store, 1029.9) and not paused(store, 1030)
    assert paused(store, 1000, "ADA") and not paused(store, 1000, "Bob")
    wrong(store, 1, 1030)
    assert paused(store, 1089) and not paused(store, 1090)


def test_a_right_attempt_resets_the_count(store):
    attempts.FileAttempts(store).record("Ada", "Ada", 1000)
    assert not attempts.file_of(store).exists()
    wrong(store, 4)
    attempts.FileAttempts(store).record("Ada", "Ada", 1000)
    wrong(store, 4)
    assert not paused(store, 1000)


def test_a_clock_set_back_neither_ends_nor_lengthens_a_pause(store):
    wrong(store, 5, 1_000_000)
    assert paused(store, 10)
    assert paused(store, 39) and not paused(store, 40)


def test_names_are_not_in_the_file(store):
    wrong(store, 2, name="Ada Lovelace")
    file = attempts.file_of(store)
    assert b"Ada" not in file.read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    wrong(store, 3, name=attempts.ANYBODY)
    wrong(store, 1, name="Bob")
    attempts.FileAttempts(store).keep(["ada lovelace"])
    counts = json.loads(file.read_text())["counts"].values()
    assert sorted(count["wrong"] for count in counts) == [2, 3]
    attempts.FileAttempts(store).keep([])
    (count,) = json.loads(file.read_text())["counts"].values()
    assert count["wrong"] == 3  # attempts without a name are nobody's


def test_a_pause_moves_with_a_name_and_the_worse_one_counts(store):
    attempts.FileAttempts(store).carry(["Bob"], "Ada")
    assert not attempts.file_of(store).exists()
    wrong(store, 5, 1000, "Bob")
    wrong(store, 1, 1010, "Ada")
    attempts.FileAttempts(store).carry(["Bob"], "Ada")
    assert paused(store, 1039, "Ada") and not paused(store, 1040, "Ada")
    assert paused(store, 1029, "Bob")  # until `keep`: an interruption lifts no pause
    attempts.FileAttempts(store).carry(["Cid"], "Ada")
    assert paused(store, 1039, "Ada")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000,
        b'{"salt": 1, "counts": {}, "others": 0}',
        b'{"salt": "x", "counts": {"a": {"wrong": 1e99, "last": 0}}, "others": 0}',
        b'{"salt": "x", "counts": {"a": {"wrong": 9, "last": Infinity}}, "others": 0}',
        b'{"salt": "x", "counts": {"a": {"wrong": -9, "last": 0}}, "others": 0}',
    ],
)  # fmt: skip
def test_a_damaged_count_is_reported_and_neither_locks_out_nor_starts_at_zero(
    store, content, caplog
):
    file = attempts.file_of(store)
    file.parent.mkdir()
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert not paused(store, 1000)
    assert "was damaged" in caplog.text
    assert file.with_name(f"{file.name}.damaged").read_bytes() == content
    wrong(store, 1)
    assert paused(store, 1000) and not paused(store, 1000 + 30)
    attempts.FileAttempts(store).record("Ada", "Ada", 1031)
    wrong(store, FREE_ATTEMPTS - 1, 1032)
    assert not paused(store, 1032)


def _wrong_at_once(store, barrier, counted) -> None:
    attempts.FileAttempts(store).check("Ada", 1000.0)
    barrier.wait()
    for _ in range(4):
        try:
            attempts.FileAttempts(store).record("Ada", None, 1000.0)
        except StoreError:
            continue
        with counted.get_lock():
            counted.value += 1


def test_attempts_of_two_processes_are_checked_and_counted_in_one_step(store):
    """Eight, all let in by `check`: five look, and three are refused."""
    context = multiprocessing.get_context("spawn")
    barrier, counted = context.Barrier(2), context.Value("i", 0)
    both = [
        context.Process(target=_wrong_at_once, args=(store, barrier, counted)) for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert counted.value == FREE_ATTEMPTS
    state = json.loads(attempts.file_of(store).read_text())
    assert [count["wrong"] for count in state["counts"].values()] == [FREE_ATTEMPTS]
