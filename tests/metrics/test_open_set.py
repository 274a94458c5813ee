"""FNIR at FPIR, on embeddings whose answer is known."""

import numpy as np
import pytest

from facesync.faces.embedding import unit
from facesync.metrics.open_set import open_set


def _people(count, images, noise, seed=0):
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(count, 64)))
    vectors = unit(
        np.repeat(centres, images, axis=0) + noise * rng.normal(size=(count * images, 64))
    )
    return vectors, [f"p{number // images}" for number in range(count * images)]


def test_perfect_embeddings_refuse_nobody():
    vectors, names = _people(40, 4, 0.001)
    for rate in open_set(vectors, names, people=15):
        assert rate.fnir == 0
        assert (rate.people, rate.enrolled) == (15, 2)
        assert (rate.genuine, rate.strangers) == (15 * 60, 25 * 60)


def test_the_threshold_lets_in_as_many_strangers_as_allowed():
    vectors, names = _people(60, 4, 0.3)
    (rate,) = open_set(vectors, names, people=20, fpirs=[0.05])
    # The same draws, searched again at the threshold, by its definition.
    (stricter,) = open_set(vectors, names, people=20, fpirs=[0.01])
    assert stricter.threshold > rate.threshold
    assert stricter.fnir >= rate.fnir > 0


def test_noise_alone_refuses_nearly_everybody():
    rng = np.random.default_rng(1)
    vectors = unit(rng.normal(size=(160, 64)))
    names = [f"p{number // 4}" for number in range(160)]
    assert open_set(vectors, names, people=20, fpirs=[0.01])[0].fnir > 0.9


def test_more_images_enrolled_help():
    vectors, names = _people(60, 6, 0.25)
    one, three = (
        open_set(vectors, names, people=20, enrolled=n, fpirs=[0.01])[0].fnir for n in (1, 3)
    )
    assert three < one


def test_an_image_without_a_face_is_refused_and_never_accepted():
    vectors, names = _people(40, 4, 0.001)
    vectors[::4] = np.nan
    rate = open_set(vectors, names, people=15)[0]
    # One of four images of everybody has no face: it is the probe in half of the draws, since it
    # cannot be enrolled.
    assert rate.fnir == pytest.approx(0.5, abs=0.05)


def test_too_few_people_give_no_rate():
    vectors, names = _people(1, 5, 0.1)
    assert open_set(vectors, names) == []
    assert open_set(*_people(9, 2, 0.1)) == []
