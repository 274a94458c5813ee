"""Where weights come from, and what is checked before they are trusted.

In this order: the model that is asked for (by default the one trained here), the VGGFace2 weights
of facenet-pytorch in torch's cache, their download. Files are opened with `weights_only=True`,
which runs nothing; keys, shapes and values are checked before a model is built from them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import struct
import urllib.error
import urllib.request
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesync.errors import DownloadError, FaceSyncError, ModelError
from facesync.faces.calibration import calibration_for
from facesync.faces.crops import ALIGNED_112, SQUARE, CropSpec
from facesync.faces.embedding import FaceModel

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

DEFAULT_MODEL = Path("models/best_face_model.pth")
VGGFACE2_URL = (
    "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
    "20180402-114759-vggface2.pt"
)
ARCHITECTURE = "InceptionResnetV1"
ASSETS = Path(__file__).resolve().parent.parent / "assets"
"""Small models and calibrations that ship with the package."""

# What torch.load has been seen to raise on damaged files, besides UnpicklingError and OSError.
_DAMAGE = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
           AssertionError, MemoryError, OverflowError, struct.error)  # fmt: skip

State = dict[str, "torch.Tensor"]


def vggface2_path() -> Path:
    """Return where facenet-pytorch keeps the VGGFace2 weights: under `$TORCH_HOME/checkpoints`."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return Path(home).expanduser() / "checkpoints" / VGGFACE2_URL.rsplit("/", 1)[1]


def load_face_model(
    choice: str | Path | None, device: torch.device | str = "cpu", *, offline: bool = False
) -> FaceModel:
    """Load the model that embeds faces.

    Args:
        choice: `vggface2`, a file, or None for `DEFAULT_MODEL` where it exists and the VGGFace2
            weights where it does not.
        device: where it will run.
        offline: open no socket; weights that are not here are an error.

    Raises:
        ModelError: the weights are missing, damaged or of another architecture.
        DownloadError: they had to be downloaded and could not be.
    """
    if choice is None:
        choice = DEFAULT_MODEL if DEFAULT_MODEL.exists() else "vggface2"
    if choice == "embedded":
        raise ModelError(
            "this version ships no embedded model; use --model vggface2 or a model you trained"
        )
    if choice == "vggface2":
        state, path = vggface2_state(offline=offline)
        model = _face_model(state, SQUARE, device, f"VGGFace2 weights ({path})")
        # Their fingerprint is not compared: the same weights come in files of other precision.
        data = _json_of_asset("vggface2.json").get("calibration")
        return replace(model, calibration=calibration_for(data, model.source, model.crop))
    path = Path(choice)
    checkpoint = read_checkpoint(path)
    crop = checkpoint_crop(checkpoint)
    source = str(path)
    if "epoch" in checkpoint:
        source += f" (epoch {checkpoint['epoch']}"
        accuracy = _number(checkpoint, "accuracy", path)
        source += f", validation accuracy {accuracy:.4f})" if accuracy is not None else ")"
    threshold = _number(checkpoint, "threshold", path)
    model = _face_model(checkpoint["model_state_dict"], crop, device, source, threshold)
    data = checkpoint.get("calibration")
    calibration = calibration_for(data, str(path), crop, model.fingerprint)
    return replace(model, calibration=calibration)


def _json_of_asset(name: str) -> dict[str, Any]:
    """Read a JSON file that ships with the package; empty where this version has none."""
    path = ASSETS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _number(checkpoint: dict[str, Any], key: str, path: Path) -> float | None:
    value = checkpoint.get(key)
    if value is not None and not (isinstance(value, int | float) and -1 <= value <= 1):
        raise ModelError(f"{path} is damaged: its {key} is {value!r:.40}")
    return value


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Open a checkpoint of this project, of the plain older form, or a bare state dict.

    Returns:
        A dict with at least `model_state_dict`; a bare state dict is wrapped into one.

    Raises:
        ModelError: missing, not a checkpoint, damaged, or would have to run code to open.
    """
    import torch

    if not path.is_file():
        raise ModelError(f"there is no model {path}; train one with train_model.py")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on pickle protocols
            data = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} was not opened: it is no checkpoint, is damaged, or asks to run code"
        ) from error
    except _DAMAGE as error:
        raise ModelError(f"{path} is no checkpoint or is damaged") from error
    if isinstance(data, dict) and _is_state(data):
        data = {"model_state_dict": data}
    if not isinstance(data, dict) or not _is_state(data.get("model_state_dict")):
        raise ModelError(f"{path} is not a model of this project: it holds no weights")
    return data


def checkpoint_crop(checkpoint: dict[str, Any]) -> CropSpec:
    """Return the crop a checkpoint's model was trained on.

    Checkpoints of the plain older form say nothing of it; they were trained on CASIA-WebFace's
    aligned pictures. A bare state dict is taken for facenet-pytorch's own weights.
    """
    if "crop" in checkpoint:
        return CropSpec.from_dict(checkpoint["crop"])
    return ALIGNED_112 if "epoch" in checkpoint else SQUARE


def vggface2_state(*, offline: bool = False) -> tuple[State, Path]:
    """Load the VGGFace2 weights from torch's cache, downloading them first where need be.

    Raises:
        ModelError: the file in the cache is damaged, or it is missing and `offline` is set.
        DownloadError: the download failed; what has come stays, and the next try goes on from it.
    """
    path = vggface2_path()
    if not path.exists():
        if offline:
            raise ModelError(
                f"--offline, and the VGGFace2 weights are not at {path}; run once without it, or "
                "name a model with --model"
            )
        download_weights(VGGFACE2_URL, path)
    return _vggface2_weights(path), path


def _vggface2_weights(path: Path) -> State:
    state: State = read_checkpoint(path)["model_state_dict"]
    load_state(new_network(), state, str(path))
    return state


def download_weights(url: str, path: Path) -> None:
    """Download weights to `path`, with progress; a broken transfer is resumed by the next call.

    The bytes go to `<path>.part`, which takes `path`'s place only when it is complete and holds
    an InceptionResnetV1.

    Raises:
        DownloadError: no connection, refused, or what came is not the weights.
    """
    from tqdm import tqdm

    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    log.info("Downloading the VGGFace2 weights (107 MB, once) to %s", path)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    help_line = f"check the connection and run again, or put the file at {path} yourself"
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            if response.status != 206:
                have = 0  # the server sends all of it again
            total = have + int(response.headers.get("Content-Length", 0))
            with (
                open(part, "ab" if have else "wb") as file,
                tqdm(total=total or None, initial=have, unit="B", unit_scale=True) as bar,
            ):
                while block := response.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer: start over
            part.unlink(missing_ok=True)
        error.close()
        raise DownloadError(
            f"the VGGFace2 weights were refused ({error.code} {error.reason}); {help_line}"
        ) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"the VGGFace2 weights could not be downloaded ({reason}); {help_line}"
        ) from error
    if total and part.stat().st_size < total:
        raise DownloadError("the download of the VGGFace2 weights broke off; run again to resume")
    try:
        _vggface2_weights(part)
    except FaceSyncError as error:
        part.unlink()
        raise DownloadError(
            f"what came is not the VGGFace2 weights ({error}); {help_line}"
        ) from error
    os.replace(part, path)


def new_network(num_classes: int | None = None) -> torch.nn.Module:
    """Build an InceptionResnetV1 with random weights: a classifier, or an embedder when None."""
    from facenet_pytorch import InceptionResnetV1

    return InceptionResnetV1(
        pretrained=None, classify=num_classes is not None, num_classes=num_classes
    )


def load_state(network: torch.nn.Module, state: State, name: str) -> None:
    """Load weights into a network after checking keys, shapes and values.

    The classifier (`logits.*`) is loaded where the network has one of the same size, and left as
    it is otherwise.

    Raises:
        ModelError: another architecture, missing parts, or values that are not finite.
    """
    import torch

    state = {key.removeprefix("module."): value for key, value in state.items()}
    own = network.state_dict()
    for key, tensor in own.items():
        optional = key.startswith("logits.") or key.endswith("num_batches_tracked")
        theirs = state.get(key)
        if theirs is None or theirs.shape != tensor.shape:
            if optional:
                continue
            found = "is missing" if theirs is None else f"is {tuple(theirs.shape)}"
            raise ModelError(f"{name} is not an {ARCHITECTURE}: {key} {found}")
        if not torch.isfinite(theirs.float()).all():
            raise ModelError(f"{name} is damaged: {key} holds values that are not finite")
        own[key] = theirs
    network.load_state_dict(own)


def _is_state(data: Any) -> bool:
    import torch

    return (
        isinstance(data, dict)
        and bool(data)
        and all(isinstance(value, torch.Tensor) for value in data.values())
    )


def _face_model(
    state: State,
    crop: CropSpec,
    device: torch.device | str,
    source: str,
    threshold: float | None = None,
) -> FaceModel:
    import torch

    network = new_network()
    load_state(network, state, source)
    return FaceModel(
        network=network.eval().to(device),
        crop=crop,
        device=torch.device(device),
        fingerprint=fingerprint(network, crop),
        source=source,
        threshold=threshold,
    )


def fingerprint(network: torch.nn.Module, crop: CropSpec) -> str:
    """Name an embedding network and its crop: 16 hexadecimal digits of a SHA-256.

    The classifier and the counters of BatchNorm do not change an embedding and are left out.
    """
    digest = hashlib.sha256(json.dumps(crop.to_dict(), sort_keys=True).encode())
    for key, tensor in sorted(network.state_dict().items()):
        if not key.startswith("logits.") and not key.endswith("num_batches_tracked"):
            digest.update(key.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
