"""What the package offers, costs to import, and declares."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import facesync
from facesync import api
from facesync.errors import TRAINING_PACKAGES

ROOT = Path(__file__).resolve().parent.parent


def test_what_is_exported():
    assert set(facesync.__all__) == {
        "CameraError", "Comparison", "DataError", "DownloadError", "Face", "FaceSyncError",
        "FileError", "Gallery", "ImageError", "Liveness", "Match", "Model", "ModelError", "Person",
        "Quality", "StoreError", "UsageError", "__version__", "load_model", "open_gallery",
    }  # fmt: skip
    assert set(facesync.__all__) - {"__version__"} == set(api.__all__) <= set(dir(facesync))
    for name in api.__all__:
        assert getattr(facesync, name).__doc__, name


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(facesync, "no_such_name")


def test_importing_it_loads_nothing_heavy():
    code = "import facesync, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "facesync" in loaded
    assert not loaded & {"torch", "cv2", "numpy", "onnxruntime", "PIL", "facesync.api"}


def test_onnx_runtime_is_told_not_to_report():
    code = "import os, facesync; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


def test_a_program_that_imports_onnx_runtime_first_is_warned():
    code = "import sys; sys.modules['onnxruntime'] = sys; import facesync"
    for value, warned in (("0", True), ("1", False)):
        env = {**os.environ, "ORT_DISABLE_TELEMETRY": value}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
        )
        assert ("import facesync first" in done.stderr) is warned


def test_only_the_package_imports_onnx_runtime():
    """What else imported it might do so before the package has told it not to report."""
    pattern = re.compile(r"^[\s\"]*(import|from) onnxruntime", re.MULTILINE)
    files = [path for kind in ("*.py", "*/**/*.py", "*.ipynb") for path in ROOT.glob(kind)]
    found = {
        path.relative_to(ROOT).parts[0]
        for path in files
        if ".venv" not in path.relative_to(ROOT).parts[0]
        and pattern.search(path.read_text("utf-8"))
    }
    assert found == {"facesync"}


def test_it_is_typed():
    assert (ROOT / "facesync" / "py.typed").is_file()


def _requirements(lines):
    names = (re.split(r"\s*#", line)[0].strip() for line in lines)
    return {re.sub(r"[\s\"']", "", name) for name in names if name and not name.startswith("-r")}


def _project():
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _closure(lines):
    """Names of the packages that these requirements bring, without pip's own."""
    found, left = set(), [Requirement(line) for line in lines]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and name not in found:
            found.add(name)
            left += map(Requirement, metadata.requires(name) or [])
    return found


def _megabytes(names):
    files = {file.locate() for name in names for file in metadata.files(name)}
    return sum(os.path.getsize(path) for path in files if os.path.isfile(path)) / 1e6


def test_the_app_is_small_and_brings_nothing_for_training():
    project = _project()
    page = _closure(project["optional-dependencies"]["web"])
    app = _closure(project["dependencies"]) | page
    assert not app & {canonicalize_name(name) for name in TRAINING_PACKAGES}
    assert 100 < _megabytes(app) < 600
    assert 1 < _megabytes(page) < 20


def test_pip_and_the_requirements_agree():
    project = _project()
    extras = project["optional-dependencies"]
    parts = {
        "requirements-app.txt": project["dependencies"] + extras["web"],
        "requirements.txt": extras["train"],
        "requirements-dev.txt": extras["dev"],
    }
    for file, lines in parts.items():
        assert _requirements((ROOT / file).read_text().splitlines()) == _requirements(lines), file


def test_the_table_of_wheels_has_what_the_app_needs():
    """`docs/generate_wheels.py` writes it, which asks the package index."""
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w-]+) \| ([\d., ]+) \| (.+) \|$", page, re.MULTILINE)
    versions = {name: version.split(", ") for name, version, _ in rows}
    assert not [name for name, _, cells in rows if len(cells.split(" | ")) != 4]
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    for line in _requirements((ROOT / "requirements-app.txt").read_text().splitlines()):
        name = re.match(r"[\w-]+", line)[0]
        if name == "tomli":  # for Python 3.10, which is not in the table
            continue
        exact = next(each for each in pinned if each.startswith(f"{name}==") and "<" not in each)
        assert exact.partition(";")[0].partition("==")[2] in versions[name], name
