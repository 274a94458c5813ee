"""The network that is trained, and the weights that it starts from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from facesync.errors import DownloadError, FileError, ModelError
from facesync.faces.checkpoints import TRAINING
from facesync.faces.models import VGGFACE2
from facesync.faces.torch_model import State, load_state, new_network, read_checkpoint
from facesync.faces.weights import vggface2_state
from facesync.training.heads import Head, new_head
from facesync.training.teacher import similarity_loss

INSTEAD = "or train from scratch with --weights none (much slower, less accurate)"


def starting_state(weights: str, *, offline: bool = False) -> tuple[State, str]:
    """Find the weights to start from.

    Args:
        weights: `vggface2`, `none`, or a file.
        offline: open no socket.

    Returns:
        The state, empty for `none`, and a description of its source.

    Raises:
        ModelError: missing, damaged, or of another architecture.
        DownloadError: they could not be downloaded.
    """
    if find_spec("facenet_pytorch") is None:
        raise ModelError("facenet-pytorch is missing; run: pip install -r requirements.txt")
    if weights == "none":
        return {}, "random weights"
    if weights != "vggface2":
        given: State = read_checkpoint(Path(weights), leave_out=TRAINING)["model_state_dict"]
        load_state(new_network(), given, weights)
        return given, weights
    if offline and not VGGFACE2.path.exists():
        raise ModelError(
            f"--offline: {VGGFACE2.title}, missing at {VGGFACE2.path}, cannot be downloaded; run "
            f"once without it, {INSTEAD}"
        )
    try:
        state, path = vggface2_state(offline=offline)
    except (DownloadError, FileError, ModelError) as error:
        raise type(error)(f"{error}; {INSTEAD}") from error
    return state, f"{VGGFACE2.title} ({path})"


class Classifier(nn.Module):
    """A backbone and the head it is trained with.

    Attributes:
        backbone: images, float32 (N, 3, S, S), to features (N, 512); an embedding is such a
            feature scaled to unit length.
        head: features and labels to losses and logits; see `facesync.training.heads`.
        teacher_weight: of a teacher's similarities in the loss.
    """

    def __init__(self, backbone: nn.Module, head: Head, teacher_weight: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.teacher_weight = teacher_weight

    def forward(
        self, images: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (N,) and logits (N, classes).

        `targets` are a teacher's embeddings of the images, float32 (N, 512), zeros where it has
        none; each loss then has the term of `facesync.training.teacher`.
        """
        features = self.backbone(images)
        losses, logits = self.head(features, labels)
        if targets is not None and (known := targets.any(dim=1)).sum() > 1:
            with torch.autocast(features.device.type, enabled=False):
                embeddings = normalize(features[known].float())
                losses = losses + self.teacher_weight * similarity_loss(embeddings, targets[known])
        return losses, logits

    def state(self) -> State:
        """Return all weights under InceptionResnetV1's names: the head is `logits.*`."""
        head = {f"logits.{key}": value for key, value in self.head.state_dict().items()}
        return {**self.backbone.state_dict(), **head}

    def load(self, state: State, source: str) -> None:
        """Load the weights of `state`; those of the head only if they fit this head.

        Raises:
            ModelError: another architecture, missing parts, or values that are not finite.
        """
        load_state(self.backbone, state, source)
        head = {
            key.removeprefix("logits."): value
            for key, value in state.items()
            if key.startswith("logits.")
        }
        own = self.head.state_dict()
        if {key: value.shape for key, value in head.items()} == {
            key: value.shape for key, value in own.items()
        }:
            if not all(bool(torch.isfinite(value).all()) for value in head.values()):
                raise ModelError(f"{source} is damaged: its classifier is not finite")
            self.head.load_state_dict(head)

    def names(self) -> list[str]:
        """Return the names of all parameters, as `state` has them."""
        return [
            *(name for name, _ in self.backbone.named_parameters()),
            *(f"logits.{name}" for name, _ in self.head.named_parameters()),
        ]


def new_classifier(
    num_classes: int,
    state: State,
    source: str,
    *,
    loss: str = "softmax",
    dropout: float = 0.6,
    teacher_weight: float = 0.0,
    **head: Any,
) -> Classifier:
    """Build an InceptionResnetV1 with a head and load `state` where it fits.

    Parts missing from `state`, such as the head, keep their random weights. `source` says in
    messages where it is from, `teacher_weight` is `Classifier`'s, `head` holds options of
    `facesync.training.heads.Head`.

    Raises:
        ModelError: `state` is of another architecture, or holds values that are not finite.
    """
    backbone = new_network(num_classes)
    classifier: nn.Linear = backbone.logits  # type: ignore[assignment]
    backbone.logits = nn.Identity()
    for module in backbone.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    made = new_head(loss, num_classes, classifier.in_features, **head)
    model = Classifier(backbone, made, teacher_weight)
    if state:
        model.load(state, source)
    return model
