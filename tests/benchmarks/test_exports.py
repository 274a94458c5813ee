"""The table of exports: what is compared on whom, and a library's fault is a line of it."""

from benchmarks import exports
from facesync.evaluation.protocols import read_lfw_pairs

FOUND = {
    "cosine_mean": 0.999, "cosine_min": 0.99, "accuracy": 0.98, "original_accuracy": 0.99,
    "tar": 0.9, "original_tar": 0.95, "cpu_ms": 5, "original_cpu_ms": 10, "megabytes": 3,
}  # fmt: skip


def test_pairs_are_the_last_fold_in_tenths_and_calibration_shows_others(shared, tmp_path):
    data = shared / "data"
    options = exports.prepare(data, tmp_path, 300)
    pairs = read_lfw_pairs(tmp_path / "pairs.txt", data / "lfw")
    assert pairs.folds == 10 and len(pairs.same) == 600 and pairs.same.sum() == 300
    last = {path.stem for path in exports.last_fold_images(data)}
    assert {image.name.rsplit("/")[-1] for image in pairs.images} <= last
    calibration = {path.stem for path in (tmp_path / "calibration").iterdir()}
    assert len(calibration) > 1000 and not calibration & last
    assert "--pairs" in options[False] and "--data" in options[True]


def test_a_model_that_loses_accuracy_says_so_in_its_row():
    row = exports.cells(FOUND)
    assert "98.00% (99.00%) refused without `--allow-loss`" in row and "0.9000 (0.9500)" in row
    assert "refused" not in exports.cells({**FOUND, "accuracy": 0.986})


def test_what_fails_is_a_row_with_the_reason_and_so_is_a_crash(tmp_path, monkeypatch):
    row = exports.export(str(tmp_path / "none.pth"), "onnx", [], tmp_path)
    assert row.startswith(f"| `{tmp_path / 'none.pth'}` | `onnx` | failed (1): there is no model")
    monkeypatch.setattr(exports.sys, "executable", "/bin/false")
    assert "failed (1): nothing" in exports.export("embedded", "onnx", [], tmp_path)


def test_a_copy_is_named_as_the_original(tmp_path):
    row = exports.export("liveness", "onnx", [], tmp_path / "exported")
    assert row == "| `liveness` | `onnx` | ships so: the original |"
