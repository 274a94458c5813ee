"""Weights for the tests of exports."""

import pytest


@pytest.fixture
def shared_weights(shared, monkeypatch):
    """Where the weights of EdgeFace-XS are."""
    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
