"""The script that makes a Raspberry Pi's system removes nothing that is not its own."""

import os
import subprocess

import pytest

from benchmarks.material import ROOT

SCRIPT = ROOT / "benchmarks" / "small_device.sh"

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="the script needs root"
)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})


def test_a_folder_that_it_did_not_make_stays(tmp_path):
    (tmp_path / "system").mkdir()
    ended = run("--remove", tmp_path)
    assert ended.returncode == 1 and (tmp_path / "system").is_dir()
    assert ended.stderr == f"error: {tmp_path} is not a folder of this script\n"


def test_its_own_folder_goes(tmp_path):
    folder = tmp_path / "arm64"
    (folder / "system").mkdir(parents=True)
    (folder / ".facesync-arm64").touch()
    assert run("--remove", folder).returncode == 0
    assert not folder.exists()
