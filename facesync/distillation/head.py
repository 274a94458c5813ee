"""A last layer for the VGGFace2 weights, learnt from a better model: `--student vggface2-head`.

Their own last layer throws away much of what the 1792 pooled features before it hold. The best
linear map from these to the teacher's embeddings (ridge regression, no labels) finds some of it
again, but it knows only the kind of faces that it was learnt on. So it is joined with their own:
both are centred and scaled to the same mean length, and the 512 directions in which the faces
differ most are kept. All of this is linear, so that it folds into one layer
(`python -m benchmarks.long.head` compares).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from facesync.devices import pick_device, short_format
from facesync.distillation.faces import View, all_images, collect
from facesync.distillation.settings import DistillSettings
from facesync.distillation.student import EPS, FEATURES, RIDGE, linear_map
from facesync.errors import DataError, ModelError
from facesync.faces.crops import CropSpec
from facesync.faces.embedding import EMBEDDING_SIZE, FaceModel
from facesync.faces.last_layer import HEAD_NAME
from facesync.faces.torch_model import TorchModel, set_last_layer, write_checkpoint
from facesync.faces.weights import load_face_model, load_torch_model
from facesync.files import replacing

log = logging.getLogger(__name__)

CHECKPOINT_NAME = "vggface2-head.pth"

OWN_SHARE = 1.0
"""Mean length of the weights' own embedding over that of the map to the teacher's."""

LEAST = FEATURES
"""Faces to learn from; ten times as many are better."""

_BATCH = 32


def learn_head(settings: DistillSettings) -> Path:
    """Learn the layer, write it and the weights with it, and return the path of the former.

    Raises:
        FaceSyncError: something is wrong with the settings, the data or the models.
    """
    path = settings.output / HEAD_NAME
    if path.exists():
        raise ModelError(f"{path} already exists; use another --output")
    device = pick_device(settings.device)
    images = all_images(settings.data, settings.aligned, settings.leave_out)
    teacher: FaceModel = load_face_model(settings.teacher, device, offline=settings.offline)
    model = load_torch_model("vggface2", offline=settings.offline)
    own = own_layer(model.network)
    faces = collect(images, teacher, settings.cache_folder, view_of(model, device))
    if len(faces) < LEAST:
        raise DataError(f"too few faces to learn from: {LEAST} are needed, {len(faces)} found")
    layer = joined(faces.rows().astype(np.float32), faces.targets, own).astype(np.float16)
    with replacing(path) as file:
        np.save(file, layer, allow_pickle=False)
    set_last_layer(model.network, layer)
    state = {key: value.cpu().contiguous() for key, value in model.network.state_dict().items()}
    checkpoint = settings.output / CHECKPOINT_NAME
    write_checkpoint(checkpoint, {"model_state_dict": state, "crop": model.crop.to_dict()})
    log.info("%s, and the VGGFace2 weights with it: %s", path, checkpoint)
    return path


def view_of(model: TorchModel, device: torch.device) -> View:
    """Return what is learnt from: the pooled features of a model, which is moved to a device."""
    encode = pooled_features(model.network.to(device), model.crop, device)
    return View(model.crop, encode, f"pooled {model.fingerprint}", (FEATURES,), np.float16)


def pooled_features(
    network: torch.nn.Module, crop: CropSpec, device: torch.device
) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """Return a function from crops, uint8 RGB, to what an InceptionResnetV1's last layer is given.

    The function returns float16 (N, FEATURES).
    """
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    given: list[torch.Tensor] = []
    last = network.get_submodule("last_linear")
    last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    half = short_format(device)

    def encode(crops_rgb: Sequence[np.ndarray]) -> np.ndarray:
        given.clear()
        for start in range(0, len(crops_rgb), _BATCH):
            batch = np.stack([crop.array(face) for face in crops_rgb[start : start + _BATCH]])
            images = torch.from_numpy(batch).to(device, memory_format=torch.channels_last)
            autocast = torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)
            with torch.inference_mode(), autocast:
                network(images)
        rows = [part.float().cpu().numpy() for part in given]
        return np.concatenate([np.empty((0, FEATURES)), *rows]).astype(np.float16)

    return encode


class Linear(NamedTuple):
    """A linear layer of the pooled features: weights (FEATURES, outputs) and bias (outputs,)."""

    weights: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the outputs, (N, outputs), of features (N, FEATURES)."""
        return features @ self.weights + self.bias

    def centred(self, features: np.ndarray, length: float = 1.0) -> Linear:
        """Return the layer whose outputs for these features have mean 0 and this mean length."""
        middle = features.mean(axis=0) @ self.weights
        scale = length / np.linalg.norm(features @ self.weights - middle, axis=1).mean()
        return Linear(self.weights * scale, -middle * scale)


def own_layer(network: Any) -> Linear:
    """Return an InceptionResnetV1's last linear layer with the batch norm after it as one layer."""
    norm = network.last_bn
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weights = network.last_linear.weight * scale[:, None]
    bias = norm.bias - norm.running_mean * scale
    return Linear(weights.detach().cpu().numpy().T, bias.detach().cpu().numpy())


def mapped(features: np.ndarray, targets: np.ndarray, penalty: float = RIDGE) -> Linear:
    """Return the best linear map from features to the teacher's embeddings as one layer."""
    found = linear_map(features, targets, penalty)
    weights = found.weights / np.sqrt(found.variance + EPS)[:, None]
    return Linear(weights, found.bias - found.mean @ weights)


def joined(
    features: np.ndarray, targets: np.ndarray, own: Linear, share: float = OWN_SHARE
) -> np.ndarray:
    """Join a layer with the best map to the teacher's embeddings into one layer.

    Args:
        features: float32 (faces, FEATURES).
        targets: float32 (faces, 512): the teacher's embeddings of the same faces.
        own: the layer to join the map with.
        share: see `OWN_SHARE`.

    Returns:
        float32 (512, FEATURES + 1): the weights, then the bias.
    """
    parts = own.centred(features, share), mapped(features, targets).centred(features)
    both = Linear(*(np.concatenate(values, axis=-1) for values in zip(*parts, strict=True)))
    outputs = both(features)
    _, directions = np.linalg.eigh(outputs.T @ outputs)  # in rising order
    kept = directions[:, -EMBEDDING_SIZE:]
    return np.column_stack([(both.weights @ kept).T, both.bias @ kept])
