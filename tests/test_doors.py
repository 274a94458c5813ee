"""Every script, as a user id without an account, without HOME and with its input closed.

Containers run programs so. The id is made up in a user namespace; where none is allowed, the
account stays.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="user ids are of POSIX")

UID = 54321
NOWHERE = "/nonexistent"
BAD_INPUT = {
    "audit_dataset.py": ("--input", NOWHERE),
    "continue_training.py": ("--model", NOWHERE, "--data", NOWHERE),
    "distill_model.py": ("--data", NOWHERE, "--output", "out"),
    "download_dataset.py": ("--dataset", "some/faces"),
    "evaluate_liveness.py": ("--data", NOWHERE, "--report", "out"),
    "evaluate_model.py": ("--data", NOWHERE, "--model", "embedded", "--report", "out"),
    "export_model.py": ("--model", NOWHERE, "--format", "onnx", "--output", "out"),
    "faceid_app.py": ("verify", "--image", NOWHERE),
    "preprocessing_dataset.py": ("--input", NOWHERE, "--output", "out"),
    "train_model.py": ("--data", NOWHERE),
}


@pytest.fixture(scope="module")
def without_account() -> list[str]:
    """The start of a command that runs the rest as `UID`."""
    command = ["unshare", f"--map-user={UID}"]
    works = shutil.which("unshare") and not subprocess.call(
        [*command, "true"], stderr=subprocess.DEVNULL
    )
    return command if works else []


@pytest.fixture
def enter(without_account, tmp_path):
    def enter(script: str, *args: str):
        return subprocess.run(
            [*without_account, sys.executable, str(ROOT / script), *args],
            cwd=tmp_path,
            env={"PATH": os.defpath},
            preexec_fn=lambda: os.close(0),
            capture_output=True,
            text=True,
            timeout=300,
        )

    return enter


def test_every_script_is_here():
    assert sorted(BAD_INPUT) == sorted(path.name for path in ROOT.glob("*.py"))


@pytest.mark.parametrize("script", BAD_INPUT)
def test_help(enter, script):
    done = enter(script, "--help")
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("script", BAD_INPUT)
def test_bad_input_is_one_line(enter, script):
    done = enter(script, *BAD_INPUT[script])
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_what_torch_asks_for_when_it_is_imported(without_account):
    """Its name for a cache, from an account."""
    code = "import os, facesync, getpass; print(os.getuid(), getpass.getuser())"
    done = subprocess.run(
        [*without_account, sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    if without_account:
        assert done.stdout.split() == [str(UID), f"user-{UID}"]
