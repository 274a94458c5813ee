"""The people whom a model's training held out: what its data can still say about it."""

from __future__ import annotations

from pathlib import Path

from facesync.errors import ModelError
from facesync.evaluation.images import DatasetImages, ImageRef
from facesync.training.checkpoint import load_checkpoint
from facesync.training.start import split_of


def held_out_images(model: Path, data: Path) -> list[ImageRef]:
    """Refer to the images of a dataset that show the people whom a training on it held out.

    Args:
        model: a checkpoint of that training.
        data: what it was trained on, a folder or a pack.

    Raises:
        ModelError: it is no checkpoint of a training that held people out.
        DataError: it was trained on other data.
    """
    checkpoint = load_checkpoint(model)
    if not checkpoint.split or not checkpoint.split.get("holdout_identities"):
        raise ModelError(
            f"{model}: its training held nobody out, so its data says nothing about people it has "
            "never seen; evaluate it on other data, or leave out --held-out"
        )
    split = split_of(checkpoint, data)
    images = DatasetImages(split.faces)
    return [images[index] for index in split.holdout]
