"""The checks for a GPU say what failed and why, and run to the end."""

import json

import pytest

from benchmarks import gpu_checks
from benchmarks.gpu_checks import Check, checks, draw_pack, main
from facesync.training.batches import load_split


def test_the_data_is_drawn_and_can_be_trained_on(tmp_path):
    split = load_split(draw_pack(tmp_path / "pack", 3, 6), 42, 5, 100)
    assert (len(split.label_map), len(split.train) + len(split.validation)) == (3, 18)


def test_both_devices_have_the_same_checks(tmp_path):
    names = [[check.name for check in checks(device, tmp_path, tmp_path)] for device in
             ("cpu", "cuda")]  # fmt: skip
    assert names[0] == names[1] and len(names[0]) == len(set(names[0])) == 7
    skipped = {check.name: check.skip for check in checks("cpu", tmp_path, tmp_path) if check.skip}
    assert list(skipped) == ["two processes, nccl"]


@pytest.mark.parametrize(
    ("best", "cuda", "passed"),
    [
        ((7, 0.9), True, True),
        ((5, 0.9), True, False),
        ((7, 0.8), True, False),
        ((1, 1), False, True),
    ],
)
def test_the_bars_are_a_gpus(tmp_path, best, cuda, passed):
    figures = tmp_path / "speed.json"
    found = {"best": dict(zip(("times_plain", "of_ceiling"), best, strict=True))}
    figures.write_text(json.dumps(found))
    assert gpu_checks._fast_enough(figures, cuda)[0] is passed


def test_each_check_says_how_it_went(tmp_path, monkeypatch, capsys):
    made = [
        Check("fine", ["this"]),
        Check("no command", ["facesync.no_such_module"]),
        Check("not good", ["this"], verdict=lambda: (False, "too slow")),
        Check("not here", ["this"], "there is no card"),
    ]
    monkeypatch.setattr(gpu_checks, "checks", lambda device, pack, output: made)
    assert main(["--device", "cpu", "--output", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:5]] == ["pass", "FAIL", "FAIL", "skip"]
    assert "No module named facesync.no_such_module" in out and "too slow" in out
    assert "2 of 4 failed" in out
    states = [row["state"] for row in json.loads((tmp_path / "results.json").read_text())["checks"]]
    assert states == ["pass", "FAIL", "FAIL", "skip"]
