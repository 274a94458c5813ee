"""Find the weights of a model, downloading them if needed, and load them.

In this order: the requested model (by default the one trained here), facenet-pytorch's VGGFace2
weights in torch's cache, their download, the small embedded model that ships with the package. On a
CPU a model runs in ONNX Runtime: the first time, torch exports it to the user's own cache, and from
then on torch is not imported.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesync.cli import one_line
from facesync.errors import DownloadError, FaceSyncError, FileError, ModelError
from facesync.faces.calibration import calibration_for, user_calibration
from facesync.faces.crops import CropSpec
from facesync.faces.embedding import FaceModel
from facesync.faces.onnx_files import exported, read_description
from facesync.faces.onnx_runtime import Embedder, open_embedder
from facesync.faces.torch_model import (
    TRAINING,
    State,
    TorchModel,
    load_state,
    new_network,
    on_arrays,
    open_torch_model,
    read_checkpoint,
)
from facesync.files import expanded

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

DEFAULT_MODEL = Path("models/best_face_model.pth")
VGGFACE2_URL = (
    "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
    "20180402-114759-vggface2.pt"
)
ASSETS = Path(__file__).resolve().parent.parent / "assets"
"""Small models and calibrations that ship with the package."""


@dataclass(frozen=True)
class Weights:
    """A checkpoint, state dict or ONNX file with its JSON beside it, and its name for the user."""

    path: Path
    name: str


def vggface2_path() -> Path:
    """Return where facenet-pytorch keeps the VGGFace2 weights: under `$TORCH_HOME/checkpoints`."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return expanded(home) / "checkpoints" / VGGFACE2_URL.rsplit("/", 1)[1]


def embedded_path() -> Path:
    """Return where the embedded model is."""
    return ASSETS / "embedded.onnx"


def is_shipped(path: Path) -> bool:
    """Whether weights are those that FaceSync ships or downloads, with a calibration."""
    return path.resolve() in (vggface2_path().resolve(), embedded_path())


def load_face_model(
    choice: str | Path | None, device: torch.device | str = "cpu", *, offline: bool = False
) -> FaceModel:
    """Load the model that embeds faces.

    Args:
        choice: `vggface2`, `embedded`, a file, or None for `DEFAULT_MODEL` if it exists, otherwise
            the VGGFace2 weights, or the embedded model if those cannot be downloaded.
        device: where it will run: `cpu` in ONNX Runtime, any other in torch.
        offline: open no socket.

    Raises:
        ModelError: the weights are missing, damaged or of another architecture.
        DownloadError: they had to be downloaded and could not be.
    """
    weights = find_weights(choice, offline=offline)
    if weights.path.suffix == ".onnx":
        facts = read_description(weights.path)
        unpack = facts.get("unpack") is True
        return _face_model(weights, facts, open_embedder(weights.path, unpack=unpack))
    if str(device) == "cpu":
        try:
            onnx, facts = exported(weights.path, lambda: _export(weights))
        except FileError as error:
            log.warning("%s: the model runs in torch, which is slower", error)
        else:
            return _face_model(weights, facts, open_embedder(onnx))
    model = open_torch_model(weights.path)
    return _face_model(weights, model.facts(), on_arrays(model.network, device))


def load_torch_model(choice: str | Path | None, *, offline: bool = False) -> TorchModel:
    """Load a model as a torch network, to distil it; see `load_face_model`.

    Raises:
        ModelError: as `load_face_model`, or it is an ONNX file.
        DownloadError: the weights had to be downloaded and could not be.
    """
    weights = find_weights(choice, offline=offline)
    if weights.path.suffix == ".onnx":
        raise ModelError(f"{weights.name} is an ONNX file, not torch weights")
    return open_torch_model(weights.path)


def find_weights(choice: str | Path | None, *, offline: bool = False) -> Weights:
    """Find a model's file, downloading it if needed; see `load_face_model` for the order."""
    if choice is None and DEFAULT_MODEL.exists():
        choice = DEFAULT_MODEL
    if choice == "embedded":
        if not embedded_path().is_file():
            raise ModelError(
                "this version ships no embedded model; use --model vggface2 or a model you trained"
            )
        return Weights(embedded_path(), "the embedded model")
    if choice is not None and choice != "vggface2":
        path = Path(choice)
        if not path.is_file():
            raise ModelError(f"there is no model {path}; train one with train_model.py")
        return Weights(path, str(path))
    try:
        path = _vggface2_file(offline=offline)
    except (DownloadError, ModelError) as error:
        if choice == "vggface2" or not embedded_path().is_file():
            raise
        log.warning("%s: the embedded model is used instead", str(error).partition(";")[0])
        return Weights(embedded_path(), "the embedded model")
    return Weights(path, f"VGGFace2 weights ({path})")


def expected(choice: str | Path | None) -> str:
    """Return, for the user, which model `load_face_model` will load, without loading it."""
    if choice is None and DEFAULT_MODEL.exists():
        choice = DEFAULT_MODEL
    if choice == "embedded":
        return "the embedded model"
    if choice not in (None, "vggface2"):
        return str(choice)
    embedded = choice is None and not vggface2_path().exists() and embedded_path().is_file()
    return "VGGFace2 weights, else the embedded model" if embedded else "VGGFace2 weights"


def _export(weights: Weights) -> tuple[bytes, dict[str, Any]]:
    log.info("Preparing %s for this computer (once) ...", weights.name)
    model = open_torch_model(weights.path)
    return model.to_onnx(), model.facts()


def _face_model(weights: Weights, facts: dict[str, Any], network: Embedder) -> FaceModel:
    """Build a model from its network and its description.

    Raises:
        ModelError: the description cannot be used.
    """
    crop = CropSpec.from_dict(facts.get("crop", {}))
    fingerprint, threshold = facts.get("fingerprint"), facts.get("threshold")
    sound = threshold is None or (isinstance(threshold, int | float) and -1 <= threshold <= 1)
    if not isinstance(fingerprint, str) or not sound:
        raise ModelError(f"{weights.path} is damaged: its description cannot be used")
    if weights.path == vggface2_path():
        # The fingerprint is not compared: the same weights exist in files of other precision.
        data = _json_of_asset("vggface2.json").get("calibration")
        calibration = calibration_for(data, weights.name, crop)
    else:
        data = facts.get("calibration")
        calibration = calibration_for(data, weights.name, crop, fingerprint)
    if is_shipped(weights.path):
        calibration = user_calibration(fingerprint, crop) or calibration
    remark = facts.get("remark")
    return FaceModel(
        network=network,
        crop=crop,
        fingerprint=fingerprint,
        source=one_line(f"{weights.name} ({remark})" if remark else weights.name),
        threshold=threshold,
        calibration=calibration,
    )


def _json_of_asset(name: str) -> dict[str, Any]:
    """Read a JSON file that ships with the package; empty if this version has none."""
    path = ASSETS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def vggface2_state(*, offline: bool = False) -> tuple[State, Path]:
    """Load the VGGFace2 weights from torch's cache, downloading them first if needed.

    Raises:
        ModelError: the file in the cache is damaged, or it is missing and `offline` is set.
        DownloadError: the download failed; the next call resumes it.
    """
    path = _vggface2_file(offline=offline)
    return _vggface2_weights(path), path


def _vggface2_file(*, offline: bool) -> Path:
    path = vggface2_path()
    if not path.exists():
        if offline:
            raise ModelError(
                f"--offline, and the VGGFace2 weights are not at {path}; run once without it, or "
                "choose a model with --model"
            )
        download_weights(VGGFACE2_URL, path)
    return path


def _vggface2_weights(path: Path) -> State:
    state: State = read_checkpoint(path, leave_out=TRAINING)["model_state_dict"]
    load_state(new_network(), state, str(path))
    return state


def download_weights(url: str, path: Path) -> None:
    """Download weights to `path`, with progress; an interrupted download is resumed.

    The bytes go to `<path>.part`, which is renamed to `path` once it is complete and holds an
    InceptionResnetV1.

    Raises:
        DownloadError: no connection, refused, or the file received is not the weights.
    """
    from tqdm import tqdm

    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    log.info("Downloading the VGGFace2 weights (107 MB, once) to %s", path)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    help_line = f"check the connection and run again, or save the file as {path} yourself"
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            if response.status != 206:
                have = 0  # the server sends the whole file again
            total = have + int(response.headers.get("Content-Length", 0))
            with (
                open(part, "ab" if have else "wb") as file,
                tqdm(total=total or None, initial=have, unit="B", unit_scale=True) as bar,
            ):
                while block := response.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer
            part.unlink(missing_ok=True)
        error.close()
        raise DownloadError(
            f"the server refused the VGGFace2 weights ({error.code} {error.reason}); {help_line}"
        ) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            help_line = (
                "a proxy or a virus scanner intercepts it, or the clock is wrong; if it is a proxy "
                "that you trust, set SSL_CERT_FILE to the file with its certificate (PEM)"
            )
        raise DownloadError(
            f"the VGGFace2 weights could not be downloaded ({reason}); {help_line}"
        ) from error
    if total and part.stat().st_size < total:
        raise DownloadError(
            "the download of the VGGFace2 weights was interrupted; run again to resume"
        )
    try:
        _vggface2_weights(part)
    except FaceSyncError as error:
        part.unlink()
        raise DownloadError(
            f"the file received is not the VGGFace2 weights ({error}); {help_line}"
        ) from error
    os.replace(part, path)
