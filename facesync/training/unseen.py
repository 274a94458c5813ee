"""How well a model tells people apart, people that it was never trained on above all.

The same images are measured before training and after every epoch, so that a model can say whether
it is better or worse than the weights it started from. They also calibrate it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from facesync.cli import count
from facesync.errors import DataError
from facesync.faces.calibration import Calibration
from facesync.faces.crops import CropSpec
from facesync.faces.fitting import calibrate
from facesync.faces.torch_model import fingerprint
from facesync.metrics.calibration import FMRS
from facesync.metrics.difference import tar_difference
from facesync.metrics.pairs import MAX_IMAGES, AllPairs, all_pairs
from facesync.metrics.rates import supports
from facesync.training.batches import SplitData
from facesync.training.settings import TAR_FAR


@dataclass(frozen=True)
class EmbeddedPeople:
    """Images as a model sees them.

    Attributes:
        vectors: float (images, features), rows of unit length; not finite if it has diverged.
        people: the person in each.
    """

    vectors: np.ndarray
    people: list[str]

    @cached_property
    def pairs(self) -> AllPairs:
        """All pairs of them.

        Raises:
            DataError: there are not two of one person and one of another.
        """
        found = all_pairs(self.vectors, self.people) if self.people else None
        if found is None or not len(found.genuine) or not len(found.impostor):
            raise DataError(
                "too few usable images to tell people apart: two of one person and one of another "
                "are needed"
            )
        return found

    @property
    def finite(self) -> bool:
        """Whether the model has not diverged."""
        return bool(np.isfinite(self.vectors).all())

    @property
    def tar(self) -> float:
        """TAR at a FAR of `TAR_FAR`; a model that has diverged tells nobody apart."""
        return self.pairs.roc().tar_at(TAR_FAR) if self.finite else 0.0


@dataclass(frozen=True)
class Start:
    """What the weights that training began with make of the images of unseen people.

    Attributes:
        weights: what they are, in words.
        embedded: the images, in float16.
        tar: see `EmbeddedPeople.tar`.
    """

    weights: str
    embedded: EmbeddedPeople
    tar: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and a tensor for a checkpoint."""
        vectors, people = torch.from_numpy(self.embedded.vectors), self.embedded.people
        return {"weights": self.weights, "tar": self.tar, "vectors": vectors, "people": people}

    @staticmethod
    def from_dict(data: Any) -> Start | None:
        """Read what `to_dict` returned; None if there is nothing.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        if data is None:
            return None
        vectors, people = data["vectors"].numpy(), [str(name) for name in data["people"]]
        if vectors.ndim != 2 or len(vectors) != len(people) or len(people) > 2 * MAX_IMAGES:
            raise ValueError("what its start made of unseen people does not fit together")
        tar = float(data["tar"])
        if not 0 <= tar <= 1:
            raise ValueError(f"the TAR of its start is {tar}")
        return Start(str(data["weights"]), EmbeddedPeople(vectors, people), tar)


def compared(now: EmbeddedPeople, start: Start) -> dict[str, Any]:
    """Compare a model with the weights it started from, as checkpoints store it.

    `low` and `high` are the 95 % interval of `tar - start`, over the choice of people.
    """
    low, high = -1.0, 1.0
    if now.finite and start.embedded.finite and set(now.people) == set(start.embedded.people):
        one, other = ((each.vectors, each.people) for each in (now, start.embedded))
        low, high = tar_difference(one, other, TAR_FAR)
    return {
        "identities": len(set(now.people)),
        "images": len(now.people),
        "far": TAR_FAR,
        "tar": now.tar,
        "start": start.tar,
        "low": low,
        "high": high,
        "weights": start.weights,
    }


def checked_unseen(data: Any) -> dict[str, Any] | None:
    """Check what `compared` returned, read from a checkpoint; None stays None.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    if data is None:
        return None
    numbers = {name: float(data[name]) for name in ("far", "tar", "start", "low", "high")}
    if not all(-1 <= value <= 1 for value in numbers.values()):
        raise ValueError("its figures for unseen people are no rates")
    counts = {name: int(data[name]) for name in ("identities", "images")}
    return {**counts, **numbers, "weights": str(data["weights"])}


def verdict(unseen: Mapping[str, Any] | None) -> str:
    """Say in words what `compared` found; None stands for nobody held out."""
    if unseen is None:
        return (
            "Not measured on people it has never seen, so the app will not use it unless asked to."
        )
    start, tar, far = unseen["start"], unseen["tar"], unseen["far"]
    if unseen["low"] > 0 and tar > start:
        outcome = "Better than the weights it started from"
    elif unseen["high"] < 0 and tar < start:
        outcome = "Worse than the weights it started from"
    else:
        outcome = "No clear difference from the weights it started from"
    return (
        f"{outcome} for people it has never seen: it accepts {tar:.1%} of their pairs of images, "
        f"{unseen['weights']} {start:.1%}, at {far:.1%} false matches "
        f"({count(unseen['identities'], 'person', 'people')}; the difference is between "
        f"{100 * unseen['low']:+.1f} and {100 * unseen['high']:+.1f} points)."
    )


def for_calibration(data: SplitData) -> tuple[list[int], str]:
    """Choose images to calibrate on; return their indices, and in words whom they show.

    Those of held-out people; else, if nobody is held out, the images that were not trained on; else
    all. They are at most `MAX_IMAGES`, which come from as few people as possible.
    """
    if data.holdout:
        return data.holdout, "held out from training"
    validation = data.validation[:MAX_IMAGES]
    if _enough([data.labels[index] for index in validation]):
        return validation, "whom it was trained on, in other images"
    return sorted([*data.train, *data.validation])[:MAX_IMAGES], "whom it was trained on"


def _enough(labels: list[int]) -> bool:
    """Whether images of these people give enough pairs to calibrate on."""
    of_each = np.unique(labels, return_counts=True)[1]
    impostors = (len(labels) ** 2 - int((of_each**2).sum())) // 2
    return supports(float(FMRS[0]), impostors) and int((of_each * (of_each - 1)).sum()) >= 4


def calibrated(
    embedded: EmbeddedPeople,
    network: nn.Module,
    crop: CropSpec,
    *,
    source: str,
    data_fingerprint: str,
) -> Calibration:
    """Calibrate a network on images that it has embedded; `source` says what they are.

    Raises:
        DataError: there are too few of them, or the network has diverged.
    """
    if not embedded.finite:
        raise DataError("its embeddings are not finite")
    return calibrate(
        embedded.pairs,
        crop=crop,
        model_fingerprint=fingerprint(network, crop),
        data=f"{source}: all pairs",
        data_fingerprint=data_fingerprint,
    )
