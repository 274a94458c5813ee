"""The short list holds whoever may be the most similar, and never what is no embedding."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from facesync.gallery import search
from tests.gallery.conftest import unit


@pytest.fixture(autouse=True)
def _cold():
    search.faiss_or_none.cache_clear()
    yield
    search.faiss_or_none.cache_clear()


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    """Rows of a few families, whose members are as similar as 0.9 to each other."""
    chance = np.random.default_rng(1)
    families = chance.normal(size=(40, 1, 512))
    rows = (3 * families + chance.normal(size=(40, 50, 512))).reshape(-1, 512)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def shortlist(rows: np.ndarray, monkeypatch, threads: int = 2) -> search.Shortlist:
    pytest.importorskip("faiss")
    monkeypatch.setattr(search, "BLOCK", 300)
    return search.Shortlist(len(rows), search.in_blocks(rows), threads)


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("k", [1, 10, 100, 1999])
def test_no_other_row_reaches_the_bound(matrix, monkeypatch, threads, k):
    near = shortlist(matrix, monkeypatch, threads).near
    for probe in (matrix[7], matrix[1999], unit(5), -matrix[3]):
        numbers, others_below = near(probe, k)
        assert len(set(numbers.tolist())) == k
        others = np.delete(matrix, numbers, axis=0) @ probe
        assert others.max() < others_below


def test_the_row_itself_comes_first_and_the_bound_excludes_strangers(matrix, monkeypatch):
    near = shortlist(matrix, monkeypatch).near
    for number in range(0, 2000, 97):
        numbers, others_below = near(matrix[number], 60)
        family = number // 50
        assert set(numbers.tolist()) >= set(range(50 * family, 50 * family + 50))
        assert number in numbers[:10]
        assert others_below < 0.4


def test_all_rows_are_found_when_as_many_are_asked_for(matrix, monkeypatch):
    numbers, _ = shortlist(matrix, monkeypatch).near(unit(1), len(matrix))
    assert sorted(numbers.tolist()) == [*range(len(matrix))]


def test_equal_rows_are_all_found(matrix, monkeypatch):
    rows = np.concatenate([matrix[:999], matrix[7][None], matrix[1000:]])
    numbers, _ = shortlist(rows, monkeypatch).near(rows[7], 2)
    assert set(numbers.tolist()) == {7, 999}


def test_rows_that_are_no_numbers_never_win(matrix, monkeypatch):
    rows = matrix.copy()
    rows[::2] = np.nan
    numbers, _ = shortlist(rows, monkeypatch).near(rows[7], 25)
    assert set(numbers.tolist()) == set(range(1, 50, 2))


@pytest.mark.parametrize("faiss", [None, object()])
def test_missing_or_old_faiss_is_said_once(monkeypatch, caplog, faiss):
    monkeypatch.setitem(sys.modules, "faiss", faiss)
    with caplog.at_level(logging.WARNING):
        assert [search.faiss_or_none() for _ in range(3)] == [None] * 3
    assert caplog.text.count("installing faiss-cpu") == 1
