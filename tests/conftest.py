"""Fixtures that every test may use; nothing here needs a network, a GPU or a camera."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.postgres import postgres_server, postgres_url  # noqa: F401 - fixtures

# Before torch is imported, here and in what tests start: on a busy machine with few cores, torch's
# threads wait for each other so badly that one is several times faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent

if find_spec("torch") is None:  # the app's own environment: there is nothing to train with
    collect_ignore = [
        *("training", "distillation", "export", "evaluation", "audit", "data", "benchmarks"),
        *("liveness/test_fitting.py", "liveness/test_train_liveness.py", "test_processes.py"),
        *("notebook", "end_to_end/test_notebook.py", "end_to_end/test_two_processes.py"),
        *(f"end_to_end/test_{name}.py" for name in ("demo", "resume", "training")),
    ]


def pytest_configure(config: pytest.Config) -> None:
    """Keep downloaded models in pytest's cache, not the user's, from one run to the next."""
    own = str(config.cache.mkdir("facesync"))
    home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    home = own if home.startswith("~") else home  # nobody's: no HOME and no account
    os.environ.setdefault("TORCH_HOME", os.path.join(home, "torch"))
    os.environ["XDG_CACHE_HOME"] = own


@pytest.fixture(autouse=True)
def own_keys(tmp_path_factory, monkeypatch):
    """Give each test its own folder of keys, never the user's keyring or configuration."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    home = tmp_path_factory.mktemp("configuration")
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(home))
    if sys.platform == "darwin":
        for module in ("gallery.keys", "faces.models"):
            monkeypatch.setattr(f"facesync.{module}.config_folder", lambda: home / "facesync")
    monkeypatch.delenv("FACESYNC_PASSPHRASE", raising=False)


def _shared() -> Path:
    return Path(os.environ.get("FACESYNC_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data for development; without it the test is skipped."""
    folder = _shared()
    if not (folder / "data").is_dir():
        pytest.skip("real data (FACESYNC_SHARED, else ../shared) is not on this machine")
    return folder


@pytest.fixture
def run_script():
    """Run a script of the repository as a person does: `run_script("x.py", "--help")`."""

    def run(script: str, *args: object, env: dict[str, str] | None = None, timeout: float = 300):
        return subprocess.run(
            [sys.executable, str(ROOT / script), *map(str, args)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
        )

    return run
