"""The search is exact, with faiss and without."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from facesync.gallery import search
from facesync.gallery.search import best
from tests.gallery.conftest import unit


@pytest.fixture(params=["numpy", "blocks", "faiss", "no faiss"])
def way(request, monkeypatch):
    """Each way to search, whatever the number of rows."""
    search._faiss.cache_clear()
    if request.param == "blocks":
        monkeypatch.setattr(search, "_BLOCK", 64)
    if "faiss" in request.param:
        monkeypatch.setattr(search, "NUMPY_UP_TO", 1)
    if request.param == "faiss":
        pytest.importorskip("faiss")
    if request.param == "no faiss":
        monkeypatch.setitem(sys.modules, "faiss", None)
    yield request.param
    search._faiss.cache_clear()


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    rows = np.random.default_rng(1).normal(size=(1000, 512)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 2, 10, 999, 1000, 5000])
def test_the_best_are_found(way, matrix, k):
    query = unit(5)
    exact = matrix.astype(np.float64) @ query.astype(np.float64)
    numbers, scores = best(query, matrix, k)
    assert len(numbers) == len(scores) == min(k, 1000)
    np.testing.assert_array_equal(numbers, np.argsort(-exact)[:k])
    np.testing.assert_allclose(scores, exact[numbers], atol=1e-6)


def test_a_row_finds_itself(way, matrix):
    for row in (0, 63, 64, 999):
        numbers, scores = best(matrix[row], matrix, 1)
        assert numbers.tolist() == [row]
        assert scores[0] == pytest.approx(1, abs=1e-6)


def test_ties_are_in_the_order_of_rows(way):
    rows = np.stack([unit(1), unit(2), unit(1), unit(3)])
    assert best(unit(1), rows, 2)[0].tolist() == [0, 2]


def test_an_empty_matrix(way):
    numbers, scores = best(unit(1), np.empty((0, 512), np.float32), 3)
    assert len(numbers) == len(scores) == 0


def test_wrong_shapes(matrix):
    for embedding, rows, k in (
        (unit(1)[:3], matrix, 1),
        (unit(1), matrix[0], 1),
        (unit(1), matrix, 0),
    ):
        with pytest.raises(ValueError, match="against"):
            best(embedding, rows, k)


def test_missing_faiss_is_logged_once(matrix, monkeypatch, caplog):
    search._faiss.cache_clear()
    monkeypatch.setattr(search, "NUMPY_UP_TO", 1)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            best(unit(1), matrix)
    assert caplog.text.count("installing faiss-cpu") == 1
    search._faiss.cache_clear()
