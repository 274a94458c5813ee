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


@pytest.mark.parametrize("k", [1, 2, 10, 999, 1000])
def test_the_best_are_found(way, matrix, k):
    query = unit(5)
    exact = matrix.astype(np.float64) @ query.astype(np.float64)
    np.testing.assert_array_equal(best(query, matrix, k), np.argsort(-exact)[:k])


def test_ties_are_in_the_order_of_rows(way):
    rows = np.stack([unit(1), unit(2), unit(1), unit(3)])
    assert best(unit(1), rows, 2).tolist() == [0, 2]


def test_missing_faiss_is_logged_once(matrix, monkeypatch, caplog):
    search._faiss.cache_clear()
    monkeypatch.setattr(search, "NUMPY_UP_TO", 1)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            best(unit(1), matrix, 1)
    assert caplog.text.count("installing faiss-cpu") == 1
    search._faiss.cache_clear()
