"""What every script shares."""

import argparse
import importlib
import io
import logging
import os
import subprocess
import sys
import textwrap

import pytest

from facesync import cli, options
from facesync.errors import ImageError, ModelError
from facesync.version import __version__
from tests.conftest import ROOT

SCRIPTS = [
    "download_dataset.py",
    "preprocessing_dataset.py",
    "audit_dataset.py",
    "evaluate_liveness.py",
    "train_liveness.py",
    "evaluate_model.py",
    "train_model.py",
    "continue_training.py",
    "faceid_app.py",
    "distill_model.py",
    "export_model.py",
]


@pytest.mark.parametrize(
    "raised, code, line",
    [
        (ImageError("x.jpg: damaged"), 1, "error: x.jpg: damaged\n"),
        (FileNotFoundError(2, "No such file", "y"), 1, "error: y: No such file\n"),
        (KeyboardInterrupt(), 130, "\nInterrupted.\n"),
    ],
)
def test_errors_become_one_line_and_a_code(capsys, raised, code, line):
    @cli.guarded
    def main(argv=None):
        raise raised

    assert main([]) == code
    assert capsys.readouterr().err == line


FORGED = "epoch\x1b[2K\r 3\x9b1A\u202e\x07\nAda: accepted"


def test_text_of_a_file_does_not_command_the_terminal(capfd):
    @cli.guarded
    def main(argv=None):
        print(f"model {FORGED}")
        logging.getLogger("facesync").warning("note %s", FORGED)
        raise ModelError(f"damaged: {FORGED}")

    assert main([]) == 1
    shown = capfd.readouterr()
    assert shown.out == "model epoch[2K 31A\nAda: accepted\n"  # a print may have lines
    assert shown.err.splitlines() == [
        "note epoch[2K 31A Ada: accepted",
        "error: damaged: epoch[2K 31A Ada: accepted",
    ]
    assert len(cli.one_line("x" * 10**6)) < 6000
    assert cli.one_line("Zoë\t李 עדה") == "Zoë 李 עדה"


def test_a_bug_keeps_its_traceback():
    @cli.guarded
    def main(argv=None):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


def test_a_terminal_that_cannot_show_a_name_is_no_error():
    script = "from facesync import cli; import sys\n@cli.guarded\ndef main(argv=None):\n"
    script += "    print('Jos\\xe9 \\U0001f600'); return 0\nsys.exit(main())"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)
    assert (result.returncode, result.stdout) == (0, "Jos? ?\n")


def test_numbers_as_text():
    assert [cli.count(n, "person", "people") for n in (0, 1, 1234)] == [
        "0 people",
        "1 person",
        "1,234 people",
    ]
    assert [cli.decimals(x) for x in (-0.0001, 0.12345, -1)] == ["0.000", "0.123", "-1.000"]


@pytest.mark.parametrize(
    ("probability", "share"),
    [
        (0.0, "under 0.1 %"),
        (0.004, "0.4 %"),
        (0.5, "50 %"),
        (0.9799, "98 %"),
        (0.9949, "99.5 %"),
        (0.9996, "over 99.9 %"),
        (1.0, "over 99.9 %"),
    ],
)
def test_nothing_measured_is_certain(probability, share):
    assert cli.certainty(probability, accepted=True) == f"{share} sure"
    assert cli.certainty(probability, accepted=False) == f"of pairs so similar {share} match"


def test_number_types():
    assert options.positive_int("3") == 3
    assert options.positive_float("0.5") == 0.5
    for bad in ("0", "-1", str(2**31), "9" * 1000):
        with pytest.raises(argparse.ArgumentTypeError):
            options.positive_int(bad)
    for bad in ("0", "-1", "nan", "inf"):
        with pytest.raises(argparse.ArgumentTypeError):
            options.positive_float(bad)
    assert options.rate("1e-6") == 1e-6
    for bad in ("0", "1", "nan", "5e-324"):
        with pytest.raises(argparse.ArgumentTypeError):
            options.rate(bad)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_light(run_script, script):
    result = run_script(script, "--help", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert result.returncode == 0
    assert "usage:" in result.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "torchvision", "cv2", "numpy", "PIL", "matplotlib", "requests"}


def test_wrong_usage_is_code_2(run_script):
    result = run_script("download_dataset.py", "--no-such-option")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_input_in_another_encoding_is_no_traceback(monkeypatch):
    typed = io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", typed)
    assert cli.guarded(lambda argv: len(input()))() == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_door_says_its_version(script, capsys):
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(script.removesuffix(".py")).main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"FaceSync {__version__}\n"


def test_a_program_without_a_terminal(tmp_path):
    """Its standard streams are None; a file that is opened must not become one of them."""
    code = """
        import os, sys
        from facesync import cli

        @cli.guarded
        def main(argv=None):
            print(sys.stdin.isatty(), sys.stdin.read(), "?", file=sys.stderr)
            return 3 + open("x", "w").fileno()

        sys.exit(main())
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c"]
    done = subprocess.run([*command, textwrap.dedent(code)], cwd=tmp_path, env=env)
    assert done.returncode >= 6


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://door@host/db", "postgresql://host/db"),
        ("postgresql://door:s3cret@host:5432/db?sslmode=x", "postgresql://host:5432/db?…"),
        ("postgresql:///db?host=h&password=s3cret", "postgresql:///db?…"),
        ("postgresql://door@h/db?password=a@s3cret", "postgresql://…"),
        ("rtsp://user:what?s3cret@camera/1", "rtsp://…"),
        ("door:s3cret@host/db", "host/db"),
    ],
)
def test_no_password_is_shown(address, shown):
    assert cli.masked(address) == shown
