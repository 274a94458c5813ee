"""Scripts that a cell runs: what is shown, and what an interruption leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from facesync.errors import FaceSyncError
from facesync.notebook import running
from tests.conftest import ROOT
from tests.training.stand_ins import posix

pytestmark = posix


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "script.py"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_it_shows_the_command_and_what_it_prints_as_it_comes(script, capsys):
    path = script("import sys\nprint('ä', sys.argv[1:])\nprint('and errors', file=sys.stderr)\n")
    running.run(path, "--name", "two words", 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"$ python {path} --name 'two words' 3"
    assert lines[1:] == ["ä ['--name', 'two words', '3']", "and errors"]


def test_a_failure_stops_the_cell(script, capsys):
    path = script("import sys\nsys.exit('error: no such folder')\n")
    with pytest.raises(FaceSyncError, match="the line above says why"):
        running.run(path)
    assert capsys.readouterr().out.splitlines()[-1] == "error: no such folder"


SAVES = """
import signal, sys, time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)  # IPython's own ! would have killed it by now
    print("saved", flush=True)
    sys.exit({code})
"""


@pytest.mark.parametrize("code", [130, 0])
def test_an_interruption_is_passed_on_once_and_waited_for(script, capsys, monkeypatch, code):
    shown = sys.stdout.write

    def write(text):
        if "ready" in text:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        return shown(text)

    monkeypatch.setattr(sys.stdout, "write", write)
    path = script(SAVES.format(code=code))
    if code:
        with pytest.raises(FaceSyncError, match=r"You stopped .*script.py. Run the next cell."):
            running.run(path, if_stopped="Run the next cell.")
    else:  # it was done by then
        running.run(path)
    assert capsys.readouterr().out.splitlines()[-1] == "saved"


def test_errors_are_one_line_in_a_notebook(capsys):
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    shell.run_cell(
        "from facesync.notebook.running import errors_in_one_line\n"
        "from facesync.errors import DataError, FaceSyncError\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.get_ipython", lambda: shell)
        running.errors_in_one_line()
    capsys.readouterr()
    done = shell.run_cell("raise DataError('no pack there')")
    assert isinstance(done.error_in_exec, FaceSyncError)  # so that Run all stops
    caught = capsys.readouterr()
    assert caught.err == "STOPPED: no pack there\n" and caught.out == ""
    shell.run_cell("1 / 0")
    assert "Traceback" in capsys.readouterr().out  # a bug keeps its traceback


def test_the_machine_is_said(monkeypatch):
    import torch

    assert "There is no GPU here" in running.machine() or "GPU: " in running.machine()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "Change runtime type" in running.machine()


def test_nothing_needs_to_be_installed_to_run_pip():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import facesync.notebook.running"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
