"""What a command needs of a machine: `verify` of one image fits into 150 MB."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from facesync.sample_images import HOPPER, photographs
from tests.conftest import ROOT

VERIFY = """
import json, sys
import faceid_app
code = faceid_app.main(sys.argv[1:])
status = dict(line.split(":\\t") for line in open("/proc/self/status") if ":\\t" in line)
print(json.dumps([code, int(status["VmHWM"].split()[0]) * 1024, sorted(sys.modules)]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_verify_takes_less_than_150_mb_and_imports_nothing_that_it_does_not_use(tmp_path):
    photo = tmp_path / "hopper.jpg"
    small = cv2.resize(photographs()[HOPPER], (250, 293), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(photo), small[..., ::-1])
    common = ["--model", "embedded", "--offline", "--embeddings", str(tmp_path / "store.pkl")]
    common += ["--faces", str(tmp_path / "faces")]

    def run(*command):
        return subprocess.run(
            [sys.executable, "-c", VERIFY, *common, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )

    run("register", "Grace", "--images", str(photo))
    code, peak, modules = json.loads(run("verify", "--image", str(photo)).stdout.splitlines()[-1])
    assert code == 0
    assert 50e6 < peak < 150e6
    others = {"PIL", "torch", "ssl", "http.client", "urllib.request", "tqdm", "email", "keyring"}
    assert others.isdisjoint(modules), others & set(modules)
