"""What `pip install .` puts into an environment works there, away from the repository."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # a copy, so that the build leaves nothing in the repository
    bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "facesync", source / "facesync", ignore=bytecode)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation",
         "--no-index", "--disable-pip-version-check", "--target", folder / "site", source],
        check=True,
    )  # fmt: skip
    return folder / "site"


def run(installed, tmp_path, *command):
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True
    )


def test_the_package_brings_its_model_and_types(installed, tmp_path):
    code = (
        "import facesync; model = facesync.load_model('embedded', offline=True);"
        "print(facesync.__file__, model.source)"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout
    assert (installed / "facesync" / "py.typed").is_file()


def test_the_console_command_is_the_app(installed, tmp_path):
    done = run(installed, tmp_path, str(installed / "bin" / "facesync"), "list")
    assert done.returncode == 0, done.stderr
    assert "Nobody is registered" in done.stdout
    assert run(installed, tmp_path, str(installed / "bin" / "facesync"), "--odd").returncode == 2
