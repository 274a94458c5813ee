"""Find the weights of a model, downloading them if needed, and load them.

Without a choice, the model trained here is taken if it is trusted (`trust`), else the best known
one (`models`) that is here or can be downloaded; the last of these ships with the package. On a CPU
a model runs in ONNX Runtime, and torch is not needed.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesync.cli import one_line
from facesync.errors import DownloadError, ModelError
from facesync.faces import edgeface, graphs, models, trust
from facesync.faces.calibration import calibration_for, user_calibration
from facesync.faces.checkpoints import PlainModel, open_model
from facesync.faces.crops import CropSpec
from facesync.faces.embedding import FaceModel
from facesync.faces.last_layer import shipped
from facesync.faces.models import (
    AUTO,
    EDGEFACE,
    KNOWN,
    VGGFACE2,
    VGGFACE2_PUBLISHED,
    KnownModel,
)
from facesync.faces.onnx_files import read_description, sha256
from facesync.faces.onnx_runtime import Embedder, open_embedder
from facesync.faces.torch_model import (
    State,
    TorchModel,
    in_torch,
    on_arrays,
    read_checkpoint,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

log = logging.getLogger(__name__)

DEFAULT_MODEL = Path("models/best_face_model.pth")
BEST = "the most accurate that is here or can be downloaded"


@dataclass(frozen=True)
class Weights:
    """A checkpoint, state dict or ONNX file with its JSON beside it.

    Attributes:
        path: the file.
        name: of the model, for the user.
        why: it was taken, if nobody asked for it.
        known: what the app knows of it; None for other files.
    """

    path: Path
    name: str
    why: str = ""
    known: KnownModel | None = None


def load_face_model(
    choice: str | Path | None, device: torch.device | str = "cpu", *, offline: bool = False
) -> FaceModel:
    """Load the model that embeds faces.

    Args:
        choice: the name of a known model, a file, or None or `AUTO` for what `models use` chose,
            else `DEFAULT_MODEL` if it is there and trusted, else the best known one that is here or
            can be downloaded.
        device: where it will run: `cpu` in ONNX Runtime, any other in torch; EdgeFace-XS and ONNX
            files always on the CPU.
        offline: open no socket.

    Raises:
        ModelError: the weights are missing, damaged or of another architecture.
        DownloadError: they had to be downloaded and could not be.
    """
    weights = find_weights(choice, offline=offline)
    if weights.why:
        log.info("Model: %s, %s", weights.name, weights.why)
    if weights.known is EDGEFACE:
        return _open_edgeface(weights, device)
    if weights.path.suffix == ".onnx":
        facts = read_description(weights.path)
        unpack = facts.get("unpack") is True
        return _face_model(weights, facts, open_embedder(weights.path, unpack=unpack))
    model = _opened(weights)
    facts = model.facts()
    if str(device) != "cpu":
        return _face_model(weights, facts, on_arrays(in_torch(model).network, device))
    return _face_model(weights, facts, _open_graph(graphs.INCEPTION, model.weights))


def _opened(weights: Weights, *, published: bool = False) -> PlainModel:
    """Open a file of torch's that was found; see `as_torch`."""
    head = None if published or weights.known is None else weights.known.head
    return open_model(weights.path, None if head is None else shipped(head))


def load_torch_model(choice: str | Path | None, *, offline: bool = False) -> TorchModel:
    """Load a model as a torch network, to learn from it; see `load_face_model`.

    Of the VGGFace2 weights it is the network as published, with its own last layer.

    Raises:
        ModelError: as `load_face_model`, or it is not for torch.
        DownloadError: the weights had to be downloaded and could not be.
    """
    return as_torch(find_weights(choice, offline=offline), published=True)


def as_torch(weights: Weights, *, published: bool = False) -> TorchModel:
    """Open a model that was found as a torch network.

    Args:
        weights: the model.
        published: with the last layer of its file, not with the one that ships.

    Raises:
        ModelError: it is damaged or not for torch.
    """
    if weights.path.suffix == ".onnx" or weights.known is EDGEFACE:
        raise ModelError(f"{weights.name} is not a torch network; choose another model")
    return in_torch(_opened(weights, published=published))


def find_weights(choice: str | Path | None, *, offline: bool = False) -> Weights:
    """Find a model's file, downloading it if needed; see `load_face_model` for the order.

    Raises:
        ModelError: it is not there and may not be downloaded.
        DownloadError: it could not be downloaded.
    """
    choice, why = _selected(choice)
    if choice is None:
        return _best(why, offline=offline)
    if isinstance(choice, str) and choice in KNOWN:
        return _found(KNOWN[choice], why, offline=offline)
    path = Path(choice)
    if not path.is_file():
        raise ModelError(f"there is no model {path}; train one with train_model.py")
    return Weights(path, str(path), why, models.known_at(path))


def expected(choice: str | Path | None) -> str:
    """Return, for the user, which model `load_face_model` will load, without loading it."""
    choice, why = _selected(choice)
    if choice is None:
        titles = [model.title for model in KNOWN.values()]
        here = next((i for i, model in enumerate(KNOWN.values()) if model.path.is_file()), None)
        choice = ", else ".join(titles[: None if here is None else here + 1])
    elif choice in KNOWN:
        choice = KNOWN[str(choice)].title
    elif not why and not (judged := trust.of_file(Path(choice))).trusted:
        why = f"not trusted: {judged.why}"
    return f"{choice}, {why}" if why else str(choice)


def _selected(choice: str | Path | None) -> tuple[str | Path | None, str]:
    """Return the choice, and why it was made if not by `--model`; None where it is open."""
    if choice not in (None, AUTO):
        return choice, ""
    if (chosen := models.chosen()) is not None:
        return chosen.name, "chosen with `models use`"
    if not DEFAULT_MODEL.exists():
        return None, BEST
    trained = trust.of_file(DEFAULT_MODEL)
    if trained.trusted:
        return DEFAULT_MODEL, "trained here"
    return None, (
        f"instead of {DEFAULT_MODEL}, which is not trusted (--model {DEFAULT_MODEL} insists): "
        f"{trained.why}"
    )


def _best(why: str, *, offline: bool) -> Weights:
    """Find the best known model that is here or can be downloaded."""
    failed: list[DownloadError | ModelError] = []
    for model in KNOWN.values():
        try:
            found = _found(model, why, offline=offline)
        except (DownloadError, ModelError) as error:
            failed.append(error)
            continue
        for cause in failed:
            log.warning("%s: using %s instead", str(cause).partition(";")[0], model.title)
        return found
    raise failed[0]


def _found(model: KnownModel, why: str, *, offline: bool) -> Weights:
    path = fetched(model, offline=offline)
    name = model.title if model.url is None else f"{model.title} ({path})"
    return Weights(path, name, why, model)


def fetched(model: KnownModel, *, offline: bool = False) -> Path:
    """Return the file of a known model, downloading it first if it is not here.

    Raises:
        ModelError: it is missing, and `offline` is set or it should have come with this version.
        DownloadError: the download failed; the next call resumes it.
    """
    if not model.path.exists():
        if model.url is None:
            raise ModelError(
                f"this version does not ship {model.title}; use --model {VGGFACE2.name} or a model "
                "you trained"
            )
        if offline:
            raise ModelError(
                f"--offline: {model.title}, missing at {model.path}, cannot be downloaded; run "
                "once without it, or choose a model with --model"
            )
        from facesync.faces.downloads import download  # brings TLS, which most runs do without

        download(model, open_model if model is VGGFACE2 else edgeface.read_weights)
    return model.path


def _open_edgeface(weights: Weights, device: torch.device | str) -> FaceModel:
    if str(device) != "cpu":
        log.info("%s runs on the CPU, in ONNX Runtime", EDGEFACE.title)

    if sha256(weights.path) != EDGEFACE.sha256:
        raise ModelError(
            f"{weights.path} is damaged: its checksum is not the published one; delete it, and "
            "it is downloaded again"
        )
    # A weights file has no other fingerprint here; a new crop for it would need one.
    facts = {"crop": EDGEFACE.crop.to_dict(), "fingerprint": EDGEFACE.sha256[:16]}
    network = _open_graph(graphs.EDGEFACE_XS, edgeface.read_weights(weights.path))
    return _face_model(weights, facts, network)


def _open_graph(name: str, weights: dict[str, np.ndarray]) -> Embedder:
    """Open a network (`graphs`) with its weights, which are taken out of the dictionary.

    ONNX Runtime copies what it is given before it makes its own of it. A file costs no memory.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="facesync-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / f"{name}.onnx"
            with open(path, "wb") as file:
                graphs.write(name, weights, file)
            weights.clear()
            return open_embedder(path)
    except OSError:  # no room: memory has to do
        return open_embedder(graphs.to_onnx(name, weights))


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
    known = weights.known
    if known is None:
        judged = trust.judged(facts.get(trust.ENTRY), weights.path)
    else:
        judged = trust.of_known(known)
    data = facts.get("calibration") if known is None else known.card().get("calibration")
    # The same VGGFace2 weights exist in files of other precision.
    of = None if known in (VGGFACE2, VGGFACE2_PUBLISHED) else fingerprint
    calibration = calibration_for(data, weights.name, crop, of)
    if known is not None:
        calibration = user_calibration(fingerprint, crop) or calibration
    remark = facts.get("remark")
    return FaceModel(
        network=network,
        crop=crop,
        fingerprint=fingerprint,
        source=one_line(f"{weights.name} ({remark})" if remark else weights.name),
        threshold=threshold,
        calibration=calibration,
        why=weights.why,
        known=known,
        trust=judged,
    )


def vggface2_state(*, offline: bool = False) -> tuple[State, Path]:
    """Load the VGGFace2 weights from torch's cache, downloading them first if needed.

    Raises:
        ModelError: the file in the cache is damaged, or it is missing and `offline` is set.
        DownloadError: the download failed; the next call resumes it.
    """
    path = fetched(VGGFACE2, offline=offline)
    open_model(path)
    state: State = read_checkpoint(path)["model_state_dict"]
    return state, path
