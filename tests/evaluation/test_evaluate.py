"""Whole evaluations with a stand-in for the model: what is written, and how errors end."""

import json
import pickle
import re

import numpy as np
import pytest

import evaluate_model
import train_model
from facesync.evaluation import evaluate as module
from facesync.evaluation.baseline import read_baseline
from facesync.evaluation.held_out import held_out_images
from facesync.faces import models
from facesync.faces.calibration import user_calibration
from facesync.faces.models import EDGEFACE
from facesync.images import save_jpeg
from facesync.training.checkpoint import load_checkpoint
from tests.training.stand_ins import TinyNetwork, draw_identity


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch, model, detector):
    monkeypatch.setattr(module, "load_face_model", lambda *args, **kwargs: model)
    monkeypatch.setattr(module, "FaceDetector", lambda device: detector)


@pytest.fixture
def evaluate(tmp_path):
    """Run the script; return its exit code and what `report.json` holds."""

    def run(*args):
        code = evaluate_model.main(
            ["--model", "m", "--report", str(tmp_path / "r"), *map(str, args)]
        )
        path = tmp_path / "r" / "report.json"
        return code, json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    return run


def test_lfw_protocol_from_list_to_report(evaluate, pairs_file, folder, tmp_path, capsys):
    save_jpeg(np.zeros((64, 64, 3), np.uint8), folder / "Name_0" / "Name_0_0001.jpg")
    code, report = evaluate("--pairs", pairs_file, "--images", folder)
    assert code == 0
    assert report["pairs"] == 12 and report["folds"] == 3
    assert report["failed_to_enrol"] == 1
    assert report["failures"] == [{"picture": "Name_0/Name_0_0001", "reason": "no face found"}]
    # Of the two pairs with that image the genuine one is wrong, the impostor one right.
    assert report["accuracy_mean"] == pytest.approx(11 / 12)
    assert report["without_failures"]["accuracy_mean"] == 1
    assert report["without_failures"]["pairs"] == 10
    assert report["tar_at_far"] == {} and "1e-1" in report["tar_at_far_refused"]
    assert set(report["all_pairs"]["tar_at_far"]) == {"1e-1"}  # 20 images: 160 impostor pairs
    assert {"accuracy_std", "threshold", "auc", "eer"} <= set(report)
    printed = capsys.readouterr().out
    assert "0.9167" in printed and "not given" in printed and "1 failed to enrol" in printed


def test_the_page_is_self_contained(evaluate, pairs_file, folder, tmp_path):
    evaluate("--pairs", pairs_file, "--images", folder)
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    # Namespaces are not loaded.
    loaded = re.findall(r'(?:src|href)="(?!data:|#)([^"]+)"', page)
    assert loaded == []
    assert page.count("<svg") == 3
    assert page.count("data:image/jpeg;base64,") == 2 * (6 + 6)


def test_it_opens_with_a_verdict_in_two_sentences(evaluate, pairs_file, folder, tmp_path, capsys):
    save_jpeg(np.zeros((64, 64, 3), np.uint8), folder / "Name_0" / "Name_0_0001.jpg")
    _, report = evaluate("--pairs", pairs_file, "--images", folder)
    found = report["in_force"]
    # 0.6, as the stand-in has no threshold; of the genuine pairs one has no face.
    assert (found["threshold"], found["genuine"], found["refused"]) == (0.6, 6, 1)
    assert found["fnmr"] == 1 / 6 and found["fnmr_interval"] == pytest.approx(
        [0.0301, 0.5635], abs=1e-4
    )
    assert (found["impostor"], found["fmr"]) == (report["all_pairs"]["impostor_pairs"], 0)
    assert not found["chosen_here"]
    text = capsys.readouterr().out
    assert (
        "At the threshold in force, 0.600 (the default, as the model is not calibrated), " in text
    )
    assert "refuse 16.67 % of the images" in text and "let in 0.00 % of those of strangers" in text
    assert f"on 6 pairs of images of one person and {found['impostor']} of two people (" in text
    assert "shares are within 3.01 % to 56.35 % and 0.00 % to " in text
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    (said,) = re.findall(r"</h1>\s*<p class=verdict>(.*?)</p>", page)
    assert len(re.findall(r"[a-z)]\.(?= [A-Z]|$)", said)) == 2


def test_the_page_explains_its_abbreviations(evaluate, folder, tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("Name_0,first\nName_1,first\n")
    evaluate("--data", folder, "--by-group", groups, "--open-set", "--people", "2")
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    glossary, rest = page.split("</dl>")
    shown = re.sub(r"<svg.*?</svg>|<[^>]*>|data:[^\"]*", " ", rest, flags=re.DOTALL)
    used = set(re.findall(r"\b[A-Z]{3,4}\b", shown)) - {"LFW"}
    assert {"TAR", "EER", "AUC", "FNIR", "FPIR", "FMR", "FNMR"} <= used
    assert used <= set(re.findall(r"\b[A-Z]{3,4}\b", glossary))


def test_beside_each_figure_is_the_baseline(evaluate, folder, tmp_path, capsys):
    groups = tmp_path / "groups.csv"
    groups.write_text("Name_0,first\nName_1,first\n")
    args = "--data", folder, "--open-set", "--people", "2", "--by-group", groups
    assert evaluate(*args)[0] == 0
    shown = capsys.readouterr().out
    assert "Baseline: EdgeFace-XS on LFW's fifth fold: not surely the same pairs" in shown
    shipped, fnir = read_baseline(None, ""), EDGEFACE.fnir(0.01, enrolled=2)
    assert fnir is not None
    assert f"{shipped.number('accuracy_mean'):.4f}" in row(shown, "accuracy")
    assert f"{100 * fnir:.2f} %" in row(shown, "strangers given a name")
    older = json.loads((tmp_path / "r" / "report.json").read_text())
    older["accuracy_mean"], older["eer"] = 0.1234, 0.4321
    older["tar_at_far"]["1e-1"], older["all_pairs"]["tar_at_far"]["1e-1"] = 0.2345, 0.3456
    older["identification"]["rank1"] = 0.4567
    older["by_group"]["groups"]["first"]["fnmr"] = 0.5678
    older["open_set"][0]["fnir"] = 0.6789
    for content in (older, {"sets": {"other": {"set": "x"}, "this": older}}):
        (tmp_path / "older.json").write_text(json.dumps(content))
        assert evaluate(*args, "--baseline", tmp_path / "older.json")[0] == 0
        shown = capsys.readouterr().out
        assert f"Baseline: block colours on {older['set']}: the same pairs." in shown
        for start, figure in {
            "accuracy": "0.1234", "EER": "43.21 %", "1e-1  protocol's": "0.2345",
            "1e-1  all": "0.3456", "rank 1": "45.67 %", "first": "56.78 %",
            "strangers given a name (FPIR): 1.00 %": "67.89 %",
        }.items():  # fmt: skip
            assert figure in row(shown, start)


def row(text, start):
    """Return the line of a printed table that starts so."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"  {start}")][:1]
    return line


@pytest.mark.parametrize(
    "content, says",
    [
        ("x", "is not JSON"), ("[" * 100_000, "is not JSON"), ("[]", "is not a report"),
        ('{"pairs": "1"}', "is not a report"), ('{"pairs": NaN}', "is not a report"),
        ('{"sets": {"a": 1, "b": {"set": "x", "pairs": 3}}}', "is not a report"),
    ],
)  # fmt: skip
def test_a_baseline_that_is_none_is_one_line(evaluate, folder, tmp_path, capsys, content, says):
    (tmp_path / "x.json").write_text(content)
    code, report = evaluate("--data", folder, "--baseline", tmp_path / "x.json")
    assert code == 1 and report is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "x.json" in line and says in line


def test_whatever_else_a_baseline_holds_is_no_figure(evaluate, folder, tmp_path, capsys):
    odd = {"pairs": 1, "set": "\x1b[1A\n<b>", "model": "m", "accuracy_mean": "high", "eer": True}
    odd |= {"tar_at_far": [1], "auc": float("nan"), "all_pairs": 3, "open_set": [1, {"fpir": 0.01}]}
    (tmp_path / "x.json").write_text(json.dumps(odd))
    args = "--data", folder, "--open-set", "--people", "2", "--baseline", tmp_path / "x.json"
    assert evaluate(*args)[0] == 0
    shown = capsys.readouterr().out
    assert "Baseline: None on [1A <b>: not surely the same pairs" in shown
    for start in ("accuracy", "AUC", "EER", "1e-1", "rank 1", "strangers given a name"):
        assert re.search(r"  -( |$)", row(shown, start))


def test_names_of_files_are_escaped_on_the_page(evaluate, tmp_path):
    for who in range(3):
        for variant in range(3):
            colours = np.random.default_rng(9 * who + variant).integers(30, 255, (64, 64, 3))
            path = tmp_path / "odd" / f"<b>{who}" / f"{variant}.jpg"
            save_jpeg(colours.astype(np.uint8), path)
    code, _ = evaluate("--data", tmp_path / "odd", "--crops")
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert code == 0 and "<b>" not in page and "&lt;b&gt;0/0" in page


def test_a_second_run_reads_the_cache(evaluate, folder):
    _, first = evaluate("--data", folder, "--crops", "--seed", "3")
    _, second = evaluate("--data", folder, "--crops", "--seed", "3")
    assert (first["embedded_now"], second["embedded_now"]) == (30, 0)
    for report in (first, second):
        del report["embedded_now"], report["seconds"]
    assert first == second


@pytest.mark.parametrize("options", [(), ("--mirror",), ("--open-set",)], ids=" ".join)
def test_shares_fill_the_cache_that_the_whole_run_reads(
    evaluate, folder, pairs_file, detector, tmp_path, capsys, options
):
    command = ["--pairs", pairs_file, "--images", folder, *options]
    _, alone = evaluate(*command)
    (tmp_path / "r").rename(tmp_path / "alone")
    looks = detector.looks
    for number in (3, 1, 2):
        assert evaluate(*command, "--shard", f"{number}/3") == (0, None)
    assert "Share 3 of 3:" in capsys.readouterr().out and detector.looks == 2 * looks
    _, report = evaluate(*command)
    assert report.pop("embedded_now") == 0 < alone.pop("embedded_now")
    assert detector.looks == 2 * looks
    assert report.pop("seconds") and alone.pop("seconds")
    assert report == alone


def test_under_torchrun_each_process_has_its_share(evaluate, folder, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setenv("WORLD_SIZE", "2")
        for rank in ("0", "1"):
            patched.setenv("RANK", rank)
            assert evaluate("--data", folder, "--crops") == (0, None)
    _, report = evaluate("--data", folder, "--crops")
    assert report["embedded_now"] == 0 and report["pairs"] > 0


def test_counted_pairs_give_the_figures_of_compared_ones(evaluate, folder):
    _, exact = evaluate("--data", folder)
    _, counted = evaluate("--data", folder, "--all-pairs", 1000)
    assert counted["all_pairs"].keys() == exact["all_pairs"].keys()
    for key in ("genuine_pairs", "impostor_pairs", "pictures", "identities"):
        assert counted["all_pairs"][key] == exact["all_pairs"][key] > 0
    for far, threshold in exact["all_pairs"]["threshold_at_far"].items():
        assert 0 <= counted["all_pairs"]["threshold_at_far"][far] - threshold < 2**-14
        assert counted["all_pairs"]["tar_at_far"][far] == pytest.approx(
            exact["all_pairs"]["tar_at_far"][far], abs=0.02
        )
    assert counted["in_force"]["impostor"] == exact["in_force"]["impostor"]
    for key in ("accuracy_mean", "eer", "identification"):
        assert counted[key] == exact[key]


def test_mirrored(evaluate, folder):
    _, report = evaluate("--data", folder, "--mirror")
    assert report["embedded_now"] == 60
    assert any("mirror" in note for note in report["notes"])


def test_bin_sets(evaluate, folder, tmp_path, capsys):
    images = [path.read_bytes() for path in sorted(folder.glob("*/*.jpg"))]
    sets = []
    for name in ("one", "two"):
        genuine = [images[5 * n + k] for n in range(6) for k in (0, 1)]
        impostor = [images[5 * n % 30] for n in (0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6)]
        sets.append(tmp_path / f"{name}.bin")
        sets[-1].write_bytes(pickle.dumps((genuine + impostor, [True] * 6 + [False] * 6)))
    code, report = evaluate("--bin", sets[0])
    assert code == 0 and report["accuracy_mean"] == 1 and report["set"] == "one.bin"
    assert report["identification"] is None and report["all_pairs"] is None
    code, report = evaluate("--bin", *sets)
    assert code == 0 and list(report["sets"]) == ["one", "two"]
    assert report["sets"]["two"]["pairs"] == 12
    assert (tmp_path / "r" / "two" / "report.html").exists()


def test_open_set(evaluate, folder, pairs_file, capsys):
    (folder / "list.txt").write_text("beside the folders")
    code, alone = evaluate("--images", folder, "--open-set", "--enrol", "3", "--people", "2")
    assert code == 0
    # Six people of clear colours, five images each: two enrolled, four strangers.
    for rate, fpir in zip(alone["open_set"], (1e-2, 1e-3), strict=True):
        assert (rate["fpir"], rate["fnir"]) == (fpir, 0)
        assert (rate["enrolled"], rate["people"]) == (3, 2)
        assert (rate["genuine"], rate["strangers"]) == (2 * 60, 4 * 60)
    assert "Enrolled people refused (FNIR)" in capsys.readouterr().out
    code, beside = evaluate(
        *("--pairs", pairs_file, "--images", folder, "--open-set", "--enrol", "3", "--people", "2")
    )
    assert code == 0 and beside["pairs"] == 12 and beside["open_set"] == alone["open_set"]
    assert evaluate("--images", folder, "--open-set", "--enrol", "5")[0] == 1
    assert "over 5 images each" in capsys.readouterr().err
    assert evaluate("--images", folder)[0] == 2


def test_cfp(evaluate, folder, tmp_path):
    for person in range(6):
        for image in range(5):
            source = folder / f"Name_{person}" / f"Name_{person}_{image + 1:04d}.jpg"
            pose = "frontal" if image < 3 else "profile"
            target = tmp_path / "cfp" / f"{person:03d}" / f"{pose}-{image:02d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    code, report = evaluate("--images", tmp_path / "cfp", "--protocol", "cfp")
    assert code == 0
    frontal, profile = (report["sets"][f"frontal-{pose}"] for pose in ("frontal", "profile"))
    assert (frontal["genuine_pairs"], frontal["impostor_pairs"]) == (6 * 3, 6 * 3)
    assert (profile["genuine_pairs"], profile["impostor_pairs"]) == (6 * 6, 6 * 6 // 2)
    assert frontal["folds"] == profile["folds"] == 3
    assert frontal["pictures"] == 18 and profile["pictures"] == 30
    assert evaluate("--images", folder, "--protocol", "cfp")[0] == 1
    assert evaluate("--data", folder, "--protocol", "cfp")[0] == 2


def test_by_group(evaluate, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    groups = tmp_path / "groups.csv"
    lines = ["image,group", "Name_0,first", "Name_1,first", "Name_2/Name_2_0001.jpg,second"]
    groups.write_text("\n".join(lines))
    code, report = evaluate("--data", folder, "--by-group", groups)
    assert code == 0
    found = report["by_group"]["groups"]
    assert found["first"]["genuine_pairs"] == 20 and found["first"]["impostor_pairs"] == 25
    assert found["first"]["fnmr"] == 0 and 0 < found["first"]["fnmr_interval"][1] < 0.2
    assert found["second"]["pictures"] == 1 and found["second"]["fmr"] is None
    assert "By group" in capsys.readouterr().out
    of_listed = ("--model", "embedded", "--data", folder, "--by-group", groups)
    code, report = evaluate(*of_listed, "--calibrate", "0.5")
    assert code == 0 and "first: 25 impostor pairs are too few" in capsys.readouterr().err
    assert "groups" not in report["calibration"]
    groups.write_text("image,group\nNobody,first\n")
    assert evaluate("--data", folder, "--by-group", groups)[0] == 1
    assert "names none of the images" in capsys.readouterr().err


def test_calibrate_a_shipped_model(evaluate, folder, model, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shipped = {path: path.read_bytes() for path in sorted(models.ASSETS.iterdir())}
    code, report = evaluate("--model", "embedded", "--data", folder, "--calibrate", "1e-2")
    assert code == 0
    assert {path: path.read_bytes() for path in sorted(models.ASSETS.iterdir())} == shipped
    found = user_calibration(model.fingerprint, model.crop)
    assert found.images == 30 and found.impostor_pairs == 30 * 29 // 2 - 60
    path = tmp_path / "cache" / "facesync" / "calibrations" / f"{model.fingerprint}.json"
    assert report["calibration"]["written_to"] == str(path)
    assert report["calibration"]["by_gallery"][0][1:] == [found.threshold(1e-2), False]
    assert report["calibration"]["thresholds"] == found.thresholds
    assert report["calibration"]["pictures"] == 30
    in_force = report["in_force"]
    assert in_force["chosen_here"] and in_force["threshold"] == found.threshold()
    shown = capsys.readouterr().out
    assert "extrapolated" in shown and "on which the threshold was chosen too, so" in shown


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--pairs", "pairs.txt"],
        ["--images", "images"],
        ["--data", "images", "--bin", "lfw.bin"],
        ["--bin", "lfw.bin", "--calibrate", "1e-3"],
        ["--bin", "lfw.bin", "--by-group", "groups.csv"],
        ["--data", "images", "--mirror", "--calibrate", "1e-3"],
        ["--data", "images", "--mirror", "--crops"],
        ["--bin", "lfw.bin", "--mirror"],
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together(args, evaluate, capsys):
    assert evaluate(*args)[0] == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("option", "value"),
    [*(("--calibrate", rate) for rate in ("0", "1", "often", "-1")), ("--seed", "-1")],
)
def test_impossible_numbers(option, value, evaluate):
    with pytest.raises(SystemExit) as stopped:
        evaluate("--data", "x", option, value)
    assert stopped.value.code == 2


@pytest.mark.parametrize("what", ["--pairs", "--bin", "--data"])
def test_missing_data_is_one_line(what, evaluate, tmp_path, capsys):
    args = [what, tmp_path / "nothing"]
    code, report = evaluate(*args, *(["--images", tmp_path] if what == "--pairs" else []))
    assert code == 1 and report is None
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.slow
def test_the_real_thing_on_two_folds(shared, tmp_path, monkeypatch):
    """VGGFace2 on sixty of LFW's pairs: nearly all right, as published."""
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(shared / "torch_home"))
    lfw = shared / "data" / "lfw"
    lines = (lfw / "pairs.txt").read_text().splitlines()
    kept = ["2\t15"]
    for fold in range(2):
        start = 1 + 600 * fold
        kept += lines[start : start + 15] + lines[start + 300 : start + 315]
    (tmp_path / "pairs.txt").write_text("\n".join(kept))
    args = ["--model", "vggface2", "--pairs", tmp_path / "pairs.txt", "--images", lfw]
    code = evaluate_model.main([*map(str, args), "--report", str(tmp_path / "r"), "--offline"])
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert code == 0 and report["pairs"] == 60
    assert report["accuracy_mean"] > 0.95
    assert report["failed_to_enrol"] == 0


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A model whose training held 10 of 20 people out, and the images it was trained on."""
    images = tmp_path / "all"
    for number in range(20):
        draw_identity(images / f"p{number}", number, 5)

    def train(name, *options):
        given = ["--data", images, "--output", tmp_path / name, "--weights", "none"]
        given += ["--workers", 0, *options]
        with monkeypatch.context() as patch:
            patch.setattr("facesync.training.model.new_network", TinyNetwork)
            patch.setattr("facesync.training.saving.save_curves", lambda history, path: None)
            assert train_model.main([str(each) for each in given]) == 0
        return tmp_path / name / "best_face_model.pth"

    return train, images


def test_of_its_own_data_only_the_people_held_out(evaluate, trained, tmp_path, capsys):
    train, images = trained
    model = train("m")
    code, report = evaluate("--model", model, "--data", images, "--crops", "--held-out")
    assert code == 0 and report["pictures"] == 50
    pairs = report["genuine_pairs"], report["impostor_pairs"]
    assert pairs == (10 * 10, 50 * 49 // 2 - 100)
    held_out = set(load_checkpoint(model).label_map)
    assert report["all_pairs"]["identities"] == 10 and len(held_out) == 10

    shown = held_out_images(model, images)
    assert not {image.identity for image in shown} & held_out  # nobody of its classes

    draw_identity(images / "p20", 20, 5)
    code, _ = evaluate("--model", model, "--data", images, "--crops", "--held-out")
    assert code == 1 and "use the data it was trained on" in capsys.readouterr().err


def test_nobody_held_out_is_one_line(evaluate, trained, capsys):
    train, images = trained
    model = train("m", "--holdout-identities", 0)
    code, _ = evaluate("--model", model, "--data", images, "--crops", "--held-out")
    assert code == 1 and "its training held nobody out" in capsys.readouterr().err
    code, _ = evaluate("--model", "vggface2", "--data", images, "--crops", "--held-out")
    error = capsys.readouterr().err
    assert code == 1 and error.startswith("error: ") and len(error.splitlines()) == 1
    assert evaluate("--images", images, "--open-set", "--held-out")[0] == 2
