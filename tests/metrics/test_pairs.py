import numpy as np

from facesync.metrics.pairs import all_pairs


def test_all_pairs_are_those_of_two_loops():
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(40, 8)).astype(np.float32)
    vectors[[3, 17]] = np.nan
    who = [str(n) for n in generator.integers(0, 6, 40)]
    found = all_pairs(vectors, who)
    expected = {True: [], False: []}
    for a in range(40):
        for b in range(a + 1, 40):
            if not np.isnan(vectors[[a, b], 0]).any():
                expected[who[a] == who[b]].append(vectors[a] @ vectors[b])
    np.testing.assert_allclose(np.sort(found.genuine), np.sort(expected[True]), rtol=1e-4)
    np.testing.assert_allclose(np.sort(found.impostor), np.sort(expected[False]), rtol=1e-4)
    assert found.images == 38


def test_of_too_many_images_whole_people_are_sampled(monkeypatch):
    monkeypatch.setattr("facesync.metrics.pairs.MAX_IMAGES", 20)
    vectors = np.eye(60, 512, dtype=np.float32)
    who = [str(n // 4) for n in range(60)]
    found = all_pairs(vectors, who, seed=1)
    assert (found.images, found.identities) == (20, 5)
    assert len(found.genuine) == 5 * 6
    assert all_pairs(vectors, who, seed=1).images == 20
