"""What a model's similarities mean: thresholds by false-match rate, and probabilities.

A cosine threshold means nothing by itself: it belongs to a model and its crop. A `Calibration` is
measured once (`evaluate_model.py --calibrate`) and stored in the checkpoint, in the `.json` beside
an exported model or, for a model that ships with FaceSync, in the user's cache. The app's `--fmr`
looks its threshold up there. The terms are those of ISO/IEC 19795-1: false match rate (FMR) of one
comparison, false-positive identification rate (FPIR) of one search.
"""

from __future__ import annotations

import json
import logging
import math
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesync.cli import count
from facesync.errors import FileError, ModelError
from facesync.files import read_regular, user_cache
from facesync.metrics.thresholds import COMMON_FMR, Thresholds

if TYPE_CHECKING:  # NumPy and OpenCV come with it, and the command line needs neither
    from facesync.faces.crops import CropSpec

log = logging.getLogger(__name__)

DEFAULT_FMR, HIGHEST_DEFAULT_FMR = 0.02, 0.05
"""Of the worst group of people, for each person searched and at most for a whole search: see
docs/evaluation.md for the table that decided it."""

DEFAULT_FMR_OF_ALL = 1e-3
"""Where groups were not measured: of some group it may be fifty times as high."""

MOST_GROUPS = 1000
"""More are not read: they are written into every export's description and gone through often."""


@dataclass(frozen=True)
class Calibration(Thresholds):
    """Thresholds of one model with one crop, and the data they were measured on.

    Attributes:
        slope: of the logistic mapping from similarity to probability. It is fitted to all genuine
            pairs and to the impostor pairs of the worst group, as the thresholds are.
        intercept: of the same.
        crop: how the faces were cropped.
        model_fingerprint: of the model and crop.
        data: the images measured on, in words: their source, a colon, how they were paired.
        data_fingerprint: identifies the images and their identities.
        images: number of embeddings compared.
        identities: number of people.
        genuine_pairs: number of pairs of images of one person.
        impostor_pairs: number of pairs of images of two people. Each image is in many of them, so
            they carry less information than as many independent pairs.
        groups: each group of people that was measured on its own, by name: `fmr`, its false match
            rate at the threshold that holds 1e-3 among all people, whatever their group;
            `threshold`, the one that holds 1e-3 within it; `identities`; `impostor_pairs`; and
            `counts`, whether the thresholds are at least as high as this group needs. None if there
            are no groups.
    """

    slope: float
    intercept: float
    crop: CropSpec
    model_fingerprint: str
    data: str
    data_fingerprint: str
    images: int
    identities: int
    genuine_pairs: int
    impostor_pairs: int
    groups: Mapping[str, Mapping[str, Any]] | None = None

    def default_fmr(self, people: int = 1) -> float:
        """Return the false match rate of a search of so many people if none is asked for."""
        if not self._counted:
            return DEFAULT_FMR_OF_ALL
        return min(HIGHEST_DEFAULT_FMR, DEFAULT_FMR * max(people, 1))

    @property
    def _counted(self) -> int:
        """Number of groups that the thresholds are for."""
        return sum(bool(group["counts"]) for group in (self.groups or {}).values())

    def threshold(self, fmr: float | None = None, people: int = 1) -> float:
        """Return the threshold at which a search accepts a stranger at most this often.

        A face compared with N people has N chances of a false match, so each comparison may have a
        rate of only 1 - (1 - fmr)^(1/N), about fmr / N. See `at` for how that rate's threshold is
        found.

        Args:
            fmr: the rate of the whole search, above 0 and below 1; None for `default_fmr`.
            people: number of people searched; less than 1 counts as 1.

        Raises:
            ModelError: no similarity is high enough.
        """
        fmr = self.default_fmr(people) if fmr is None else fmr
        needed = self.at(_rate_of_one(fmr, people))
        if needed >= 1:
            among = f" among {people:,} people" if people > 1 else ""
            raise ModelError(
                f"this model cannot keep a false match rate of {fmr:g}{among}: no similarity is "
                "high enough; use a higher --fmr or another model"
            )
        return needed

    @property
    def measured_on(self) -> str:
        """On whom the rates were measured, for the user: other people may be mistaken more often.

        For example `2,086 people of LFW (5 folds of pairs.txt)`.
        """
        source = "".join(filter(str.isprintable, self.data.partition(":")[0]))
        people = f"{count(self.identities, 'person', 'people')} of {source}"
        groups = count(self._counted, "group", "groups")
        return f"{people}, the worst of {groups}" if self._counted else people

    def is_measured(self, fmr: float, people: int = 1) -> bool:
        """Whether `threshold` is within the measured rates rather than extrapolated."""
        return self.supports(fmr / max(people, 1))

    def probability(self, similarity: float) -> float:
        """Probability that two faces of this similarity show one person.

        It assumes that both answers are equally likely beforehand; in a search of many people a
        match is less likely than it says.
        """
        return 1 / (1 + math.exp(-max(-500.0, self.slope * similarity + self.intercept)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a checkpoint or a JSON file."""
        plain = {**asdict(self), "thresholds": dict(self.thresholds), "crop": self.crop.to_dict()}
        if self.groups is None:
            del plain["groups"]
        plain["pictures"] = plain.pop("images")  # what files have called them from the first
        return plain

    @staticmethod
    def from_dict(data: Any) -> Calibration:
        """Read the result of `to_dict`.

        Raises:
            ModelError: it is not a calibration or not a consistent one.
        """
        from facesync.faces.crops import CropSpec

        try:
            if not isinstance(data, dict):
                raise TypeError("it is not a mapping")
            fields = {**data, "crop": CropSpec.from_dict(data["crop"]), "images": data["pictures"]}
            del fields["pictures"]
            read = Calibration(**fields)
            _check(read)
        except (
            TypeError,
            ValueError,
            OverflowError,
            KeyError,
            AttributeError,
            RuntimeError,
        ) as error:
            raise ModelError(
                f"the model's calibration cannot be read ({error}); use another copy of the model"
            ) from error
        return read


def _rate_of_one(fmr: float, people: int) -> float:
    """Return the rate each of several comparisons may have, so that the whole search keeps one."""
    if not 0 < fmr < 1:
        raise ValueError(f"a false match rate of {fmr} is not between 0 and 1")
    # log1p and expm1 keep the digits that 1 - (1 - fmr) loses.
    return max(-math.expm1(math.log1p(-fmr) / max(people, 1)), sys.float_info.min)


def _check(read: Calibration) -> None:
    numbers = *read.thresholds.values(), read.tail_scale, read.tail_shape, read.tail_fmr
    logistic = read.slope, read.intercept
    if not all(isinstance(n, float | int) and type(n) is not bool for n in (*numbers, *logistic)):
        raise TypeError("its thresholds, tail or logistic mapping are not plain numbers")
    points = read.points
    if not points or not all(0 < rate < 1 and -1 <= value <= 1 for rate, value in points):
        raise ValueError("it has no thresholds between -1 and 1")
    values = [value for _, value in points]
    if values != sorted(values):
        raise ValueError("its thresholds do not rise as the rate falls")
    sound = 0 < read.tail_scale < 1 and -1 <= read.tail_shape <= 0 and 0 < read.tail_fmr < 1
    if not sound or not read.slope > 0 or not all(map(math.isfinite, logistic)):
        raise ValueError("its tail or its logistic mapping is impossible")
    for name in ("model_fingerprint", "data", "data_fingerprint"):
        if not isinstance(getattr(read, name), str):
            raise TypeError(f"{name} is not text")
    for name in ("images", "identities", "genuine_pairs", "impostor_pairs"):
        if type(value := getattr(read, name)) is not int or not 0 <= value < 1 << 63:
            raise TypeError(f"{name} is not a possible number of them")
    if read.groups is None:
        return
    if len(read.groups) > MOST_GROUPS:
        raise ValueError(f"it has {len(read.groups):,} groups")
    for name, group in read.groups.items():
        whole = type(group["identities"]) is type(group["impostor_pairs"]) is int
        rates = type(group["fmr"]) is type(group["threshold"]) is float
        if not whole or not rates or type(group["counts"]) is not bool or type(name) is not str:
            raise TypeError("its groups are not as expected")
        if not 0 <= group["fmr"] <= 1 or not -1 <= group["threshold"] < 1:
            raise ValueError("its groups have impossible rates")
        if min(group["identities"], group["impostor_pairs"]) < 0:
            raise ValueError("its groups have less than nobody")
        if group["counts"] and group["threshold"] > read.at(float(COMMON_FMR)) + 1e-6:
            raise ValueError("its thresholds are lower than a group that counts needs")


def calibration_for(
    data: Any, source: str, crop: CropSpec, fingerprint: str | None = None
) -> Calibration | None:
    """Read the calibration that came with a model.

    Args:
        data: the result of `to_dict`; None if the model came without.
        source: the model, for the user.
        crop: how the model's faces are cropped.
        fingerprint: of the model; None if other files may hold the same weights.

    Returns:
        The calibration, or None; with a warning if it was measured for another model or crop.

    Raises:
        ModelError: it is damaged.
    """
    if data is None:
        return None
    read = Calibration.from_dict(data)
    if read.crop != crop or fingerprint not in (None, read.model_fingerprint):
        log.warning("%s: its calibration belongs to another model or crop; not used", source)
        return None
    return read


def user_calibration_path(fingerprint: str) -> Path:
    """Return where the user's own calibration of a shipped model is stored."""
    return user_cache() / "calibrations" / f"{fingerprint}.json"


def user_calibration(fingerprint: str, crop: CropSpec) -> Calibration | None:
    """Read the user's own calibration of a shipped model; None if there is none.

    That it decides is logged. A damaged file costs a warning: the calibration that ships with the
    model is used instead.
    """
    try:
        path = user_calibration_path(fingerprint)
    except FileError:  # a user without a home, who has none
        return None
    try:
        if path.exists() and not _is_own(path):
            raise ModelError("others may have written it; if they have not, chmod 600 it")
        data = json.loads(read_regular(path))["calibration"]
        own = calibration_for(data, str(path), crop, fingerprint)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ModelError) as error:
        log.warning("%s cannot be read and is not used (%s)", path, error)
        return None
    if own is not None:
        log.info("Calibrated by the user, on %s (%s)", own.measured_on, path)
    return own


def _is_own(path: Path) -> bool:
    """Whether a file is the user's own, not a link, and nobody else may write it."""
    found = os.lstat(path)
    if os.name != "posix":  # Windows: the user's folders are theirs by access lists
        return stat.S_ISREG(found.st_mode)
    others = found.st_uid != os.geteuid() or found.st_mode & 0o022
    return stat.S_ISREG(found.st_mode) and not others
