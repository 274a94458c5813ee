"""The models that the app knows by name: where they come from, and how good they are.

What was measured is in the card of each, a JSON file that ships: its `calibration`, `open_set` as
`evaluate_model.py --open-set` reports it for several numbers of images enrolled, `rates_in_use` as
`python -m benchmarks.rates_in_use` measures them, and `cpu_ms`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facesync.errors import ModelError, UsageError
from facesync.faces.crops import BOX, CropSpec
from facesync.faces.onnx_files import ASSETS
from facesync.files import config_folder, expanded, read_regular, write_json

AUTO = "auto"
"""The name that stands for none: the app chooses."""


@dataclass(frozen=True)
class KnownModel:
    """A model that the app knows.

    Attributes:
        name: for `--model`.
        title: for the user.
        origin: who made it.
        licence: what it may be used for.
        size: of its file in bytes.
        crop: how faces are cut for it.
        url: where its weights are downloaded from; None if it ships.
        sha256: of its file, as published; None if it ships with its checksum.
        pinned: whether a download with another SHA-256 is refused; otherwise that is a warning.
        head: SHA-256 of the last layer that ships and replaces that of its file; None if the file
            is the whole model.
    """

    name: str
    title: str
    origin: str
    licence: str
    size: int
    crop: CropSpec
    url: str | None = None
    sha256: str | None = None
    pinned: bool = False
    head: str | None = None

    @property
    def path(self) -> Path:
        """Where its file is, or will be: under `$TORCH_HOME/checkpoints` unless it ships."""
        if self.url is None:
            return ASSETS / f"{self.name}.onnx"
        cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
        return expanded(home) / "checkpoints" / self.url.rsplit("/", 1)[1]

    def card(self) -> dict[str, Any]:
        """Return what was measured of it; empty if this version has no card."""
        path = ASSETS / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def fnir(self, fpir: float, enrolled: int = 2) -> float | None:
        """Share of owners refused where this share of strangers passes; None if not measured.

        `enrolled` is the number of images that are registered of each person.
        """
        sought = (fpir, enrolled)
        rows = self.card().get("open_set", [])
        found = (row["fnir"] for row in rows if (row["fpir"], row["enrolled"]) == sought)
        return next(found, None)

    def refused(self, fmr: float, people: int) -> float | None:
        """Share of owners refused at this false match rate of the app; None if not measured.

        It is that among the fewest people, no fewer than `people`, that were measured; of each, two
        images were registered (`python -m benchmarks.rates_in_use`).
        """
        rows = [row for row in self.card().get("rates_in_use", []) if row["people"] >= people]
        found = (row for row in rows if row["fmr"] == fmr)
        return min(found, key=lambda row: row["people"], default={"fnir": None})["fnir"]


EDGEFACE = KnownModel(
    name="edgeface-xs",
    title="EdgeFace-XS",
    origin="Idiap Research Institute (George et al., arXiv:2307.01838)",
    licence="for non-commercial research: its authors' model cards say CC BY-NC-SA 4.0, "
    "their repository BSD-3",
    size=2_993_451,
    crop=CropSpec("five_points", 112, input_size=112, std=127.5, border="black"),
    url="https://gitlab.idiap.ch/bob/bob.paper.tbiom2023_edgeface/-/raw/master/checkpoints/"
    "edgeface_xs_q.pt",
    sha256="a31314377876ab9fa2a75e5638bc528efe79fd17d5c9c0a228fb7f846d7581a6",
    pinned=True,
)
VGGFACE2 = KnownModel(
    name="vggface2",
    title="the VGGFace2 weights",
    origin="facenet-pytorch (T. Esler), after D. Sandberg; the last layer is FaceSync's, learnt "
    "from EdgeFace-XS",
    licence="for non-commercial research: so is the dataset it was trained on, VGGFace2",
    size=111_898_327,
    crop=BOX,
    url="https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
    "20180402-114759-vggface2.pt",
    sha256="281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
    head="95cf4c475a84a31cafe4f395f827e482b4f4c2b6460f498f6df94e466daf4c03",
)
VGGFACE2_PUBLISHED = replace(
    VGGFACE2, name="vggface2-published", title="the VGGFace2 weights as published", head=None
)
"""For who names the file itself; its card is what was measured of it."""
EMBEDDED = KnownModel(
    name="embedded",
    title="the embedded model",
    origin="FaceSync, distilled from EdgeFace-XS, starting from the VGGFace2 weights",
    licence="for research and private purposes: so is what it was trained on",
    size=7_204_959,
    crop=CropSpec("five_points", 112, input_size=112, border="black"),
)

KNOWN = {model.name: model for model in (EDGEFACE, VGGFACE2, EMBEDDED)}
"""By name, from the best to the worst: by the FNIR at an FPIR of 1 %."""


def known_at(path: Path) -> KnownModel | None:
    """Return the known model whose file this is, as it was published; None for any other file."""
    place = path.resolve()
    files = (EDGEFACE, VGGFACE2_PUBLISHED, EMBEDDED)
    return next((model for model in files if model.path.resolve() == place), None)


def choice_file() -> Path:
    """Return where `models use` keeps its choice."""
    return config_folder() / "model.json"


def chosen() -> KnownModel | None:
    """Return the model chosen with `models use`; None if the choice is the app's.

    Raises:
        ModelError: the file that says so cannot be read.
    """
    try:
        return KNOWN[json.loads(read_regular(choice_file()))["model"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{choice_file()} names no model; choose one with `models use NAME`, or `models use "
            f"{AUTO}`"
        ) from error


def choose(name: str) -> None:
    """Keep the choice of a model; `AUTO` leaves it to the app.

    Raises:
        UsageError: there is no such model.
        FileError: the choice cannot be kept.
    """
    if name == AUTO:
        choice_file().unlink(missing_ok=True)
    else:
        write_json(choice_file(), {"model": known(name).name}, private=True)


def known(name: str) -> KnownModel:
    """Return the model with this name.

    Raises:
        UsageError: there is none.
    """
    if name not in KNOWN:
        raise UsageError(f"there is no model {name}; there are {', '.join(KNOWN)}")
    return KNOWN[name]
