from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from facesync.errors import DataError
from facesync.faces.calibration import Calibration
from facesync.faces.crops import ALIGNED_112
from facesync.faces.torch_model import fingerprint
from facesync.training.batches import default_holdout, load_split
from facesync.training.unseen import (
    EmbeddedPeople,
    Start,
    calibrated,
    checked_unseen,
    compared,
    for_calibration,
    verdict,
)
from tests.training.stand_ins import TinyNetwork, draw_identity


def drawn(people: int, noise: float, images: int = 4, seed: int = 1) -> EmbeddedPeople:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(people, 32)).repeat(images, axis=0)
    vectors = centres + noise * np.random.default_rng(seed).normal(size=centres.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return EmbeddedPeople(
        np.float32(vectors), [str(n) for n in range(people) for _ in range(images)]
    )


def start_of(embedded: EmbeddedPeople) -> Start:
    halved = EmbeddedPeople(np.float16(embedded.vectors), embedded.people)
    return Start("the VGGFace2 weights", halved, embedded.tar)


@pytest.mark.parametrize(
    ("identities", "held_out"),
    [(2, 0), (19, 0), (20, 10), (200, 10), (300, 15), (10_569, 500), (2000, 100)],
)
def test_so_many_are_held_out_by_default(identities, held_out):
    assert default_holdout(identities) == held_out


def test_of_the_held_out_only_so_many_images_are_compared(tmp_path, monkeypatch):
    for number in range(20):
        draw_identity(tmp_path / str(number), number, 5)
    monkeypatch.setattr("facesync.training.batches.MAX_IMAGES", 33)
    data = load_split(tmp_path, 42, 5, 100, None)
    assert len(data.label_map) == 10 and len(data.holdout) == 30
    names = [data.faces.names[index] for index in data.holdout]
    assert {sum(name.startswith(f"{n}/") for name in names) for n in range(20)} == {0, 3}
    assert not {name.split("/")[0] for name in names} & set(data.label_map)
    assert load_split(tmp_path, 42, 5, 100, 0.0).holdout == []


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (0.5, 1.3, "Better than the weights it started from for people it has never seen"),
        (1.3, 0.5, "Worse than the weights it started from for people it has never seen"),
        (0.95, 0.95, "No clear difference from the weights it started from"),
    ],
    ids=["better", "worse", "the same"],
)
def test_the_verdict_has_both_figures(now, before, words):
    unseen = compared(drawn(40, now), start_of(drawn(40, before)))
    assert unseen["identities"] == 40 and unseen["images"] == 160 and unseen["far"] == 1e-3
    assert unseen["tar"] == drawn(40, now).tar and unseen["start"] == drawn(40, before).tar
    said = verdict(unseen)
    assert said.startswith(words)
    assert f"{unseen['tar']:.1%} of their" in said
    assert f"the VGGFace2 weights {unseen['start']:.1%}" in said
    assert checked_unseen(unseen) == unseen


def test_a_difference_within_the_noise_of_ten_people_is_none():
    """Two models that are equally good, each wrong in its own way."""
    unseen = compared(drawn(10, 0.9), start_of(drawn(10, 0.9, seed=2)))
    assert abs(unseen["tar"] - unseen["start"]) > 0.02
    assert verdict(unseen).startswith("No clear difference")


def test_a_model_that_has_diverged_is_worse_or_at_least_not_better():
    good = drawn(10, 0.5)
    unseen = compared(dataclasses.replace(good, vectors=good.vectors * np.nan), start_of(good))
    assert unseen["tar"] == 0 and not verdict(unseen).startswith("Better")


@pytest.mark.parametrize(
    "change",
    [{"tar": 7.0}, {"low": float("nan")}, {"weights": None, "tar": "no"}, {"identities": "x"}],
)
def test_odd_figures_in_a_checkpoint_are_refused(change):
    unseen = compared(drawn(10, 0.9), start_of(drawn(10, 1.0)))
    with pytest.raises((ValueError, TypeError)):
        checked_unseen({**unseen, **change})


def test_a_start_survives_a_checkpoint_and_odd_ones_are_refused():
    start = start_of(drawn(10, 0.9))
    plain = start.to_dict()
    again = Start.from_dict(plain)
    assert again is not None and again.weights == start.weights and again.tar == start.tar
    assert np.array_equal(again.embedded.vectors, start.embedded.vectors)
    for change in ({"tar": 2.0}, {"people": ["a"]}, {"vectors": torch.zeros(3)}):
        with pytest.raises(ValueError):
            Start.from_dict({**plain, **change})
    assert Start.from_dict(None) is None


def split(train: int, validation: int, holdout: int, people: int) -> Any:
    total = train + validation + holdout
    ends = [train, train + validation, total]
    parts = [list(range(a, b)) for a, b in zip([0, *ends], ends, strict=False)]
    labels = [index % people for index in range(total)]
    return SimpleNamespace(
        train=parts[0], validation=parts[1], holdout=parts[2], labels=labels, label_map={}
    )


@pytest.mark.parametrize(
    ("data", "images", "whom"),
    [
        (split(50, 20, 30, 10), 30, "held out from training"),
        (split(200, 40, 0, 10), 40, "whom it was trained on, in other images"),
        (split(54, 13, 0, 14), 67, "whom it was trained on"),
    ],
    ids=["held out", "validation", "all"],
)
def test_what_a_model_is_calibrated_on(data, images, whom):
    found = for_calibration(data)
    assert (len(found[0]), found[1]) == (images, whom)


def test_a_calibration_fits_the_network_and_says_on_whom_it_was_measured():
    network = TinyNetwork()
    made = calibrated(
        drawn(20, 0.5), network, ALIGNED_112,
        source="casia, held out from training", data_fingerprint="00",
    )  # fmt: skip
    assert made.model_fingerprint == fingerprint(network, ALIGNED_112)
    assert made.measured_on == "20 people of casia, held out from training"
    assert set(made.thresholds) == {"1e-1", "1e-2"}  # 3,040 impostor pairs
    assert Calibration.from_dict(made.to_dict()) == made


def test_too_few_images_are_no_calibration():
    with pytest.raises(DataError):
        calibrated(drawn(3, 0.5), TinyNetwork(), ALIGNED_112, source="x", data_fingerprint="0")
