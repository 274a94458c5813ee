"""The model that is exported: its network, what its images are, and how it runs unexported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facesync.faces import edgeface, graphs, trust
from facesync.faces.crops import CropSpec
from facesync.faces.detection import Face
from facesync.faces.models import ASSETS, EDGEFACE
from facesync.faces.onnx_files import read_description
from facesync.faces.onnx_runtime import Embedder, open_embedder
from facesync.faces.torch_model import on_arrays
from facesync.faces.weights import Weights, as_torch, find_weights, load_face_model
from facesync.liveness.crops import CONTEXT, SIDE, TEXTURE, texture_and_context
from facesync.liveness.passive import KIND, load_passive

LIVENESS = "liveness"
"""Name of the liveness model that ships."""

_OF_THE_FILE = ("format", "sha256", "unpack")


@dataclass(frozen=True)
class Original:
    """A model before it is exported.

    Attributes:
        path: its file.
        name: for the user.
        network: as ONNX.
        shape: of the input for one face.
        facts: its description.
        run: it, unexported, in one thread.
        runtime: what runs it.
        cut: from an image, uint8 RGB, and a face in it, to the input, float32 of `shape`.
        threshold: of a liveness model: a chance from here on is live. None: it embeds faces.
    """

    path: Path
    name: str
    network: bytes
    shape: tuple[int, ...]
    facts: dict[str, Any]
    run: Embedder
    runtime: str
    cut: Callable[[np.ndarray, Face], np.ndarray]
    threshold: float | None = None


def find_original(choice: str, *, offline: bool = False) -> Original:
    """Find a model by its name or file, downloading it if needed.

    Raises:
        ModelError: it is missing, damaged, or cannot be exported.
        DownloadError: it had to be downloaded and could not be.
    """
    if choice == LIVENESS:
        return _liveness(ASSETS / "liveness.onnx")
    weights = find_weights(choice, offline=offline)
    if weights.known is EDGEFACE:
        return _edgeface(weights)
    if weights.path.suffix != ".onnx":
        return _checkpoint(weights)
    facts = read_description(weights.path)
    if facts.get("kind") == KIND:
        return _liveness(weights.path)
    load_face_model(choice, offline=True)  # checks what the description says
    return _of_onnx(weights, weights.path.read_bytes(), facts)


def _checkpoint(weights: Weights) -> Original:
    import torch

    torch.set_num_threads(1)
    model = as_torch(weights)
    shape, input_facts, cut = _one_face(model.crop)
    return Original(
        weights.path,
        weights.name,
        model.to_onnx(),
        shape,
        {**model.facts(), **input_facts},
        on_arrays(model.network, "cpu"),
        "torch",
        cut,
    )


def _edgeface(weights: Weights) -> Original:
    model = load_face_model(EDGEFACE.name, offline=True)  # checks the file, too
    network = graphs.to_onnx(graphs.EDGEFACE_XS, edgeface.read_weights(weights.path))
    facts = {
        "crop": EDGEFACE.crop.to_dict(),
        "fingerprint": model.fingerprint,
        "remark": "",
        "threshold": None,
        "calibration": EDGEFACE.card().get("calibration"),
        trust.ENTRY: None,
    }
    return _of_onnx(weights, network, facts)


def _of_onnx(weights: Weights, network: bytes, facts: dict[str, Any]) -> Original:
    shape, input_facts, cut = _one_face(CropSpec.from_dict(facts["crop"]))
    kept = {key: value for key, value in facts.items() if key not in _OF_THE_FILE}
    run = open_embedder(network, threads=1, unpack=True)
    return Original(
        weights.path, weights.name, network, shape, {**kept, **input_facts}, run, "original", cut
    )


def _one_face(
    crop: CropSpec,
) -> tuple[tuple[int, ...], dict[str, Any], Callable[[np.ndarray, Face], np.ndarray]]:
    """Return the shape of a face's input, its description, and how it is cut."""

    def cut(image_rgb: np.ndarray, face: Face) -> np.ndarray:
        return crop.array(crop.cut(image_rgb, face))[None]

    shape = (1, 3, crop.input_size, crop.input_size)
    values = f"(0…255 - {crop.mean:g}) / {crop.std:g}"
    return shape, {"input": {"shape": list(shape), "colour": "RGB", "values": values}}, cut


def _liveness(path: Path) -> Original:
    model = load_passive(str(path))

    def cut(image_rgb: np.ndarray, face: Face) -> np.ndarray:
        crops = texture_and_context(image_rgb, face.box_xyxy)
        return crops.transpose(0, 3, 1, 2).astype(np.float32, order="C")[None]

    shape = (1, 2, 3, SIDE, SIDE)
    squares = [f"{scale:g} times the longer side of the face's box" for scale in (TEXTURE, CONTEXT)]
    given = {"shape": list(shape), "colour": "RGB", "values": "0…255", "squares": squares,
             "outside the image": "black"}  # fmt: skip
    kept = {key: value for key, value in model.facts.items() if key not in _OF_THE_FILE}
    network = path.read_bytes()
    return Original(
        path,
        model.name,
        network,
        shape,
        {**kept, "input": given},
        open_embedder(network, threads=1),
        "original",
        cut,
        model.thresholds.threshold,
    )
