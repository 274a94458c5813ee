"""The figures of one evaluation of liveness, and the data of `report.json` that they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from facesync.liveness.passive import PassiveModel, PassiveThresholds
from facesync.liveness.samples import LIVE
from facesync.metrics.attacks import AttackRates, attack_rates, interval_by_person
from facesync.version import __version__


@dataclass(frozen=True)
class Scored:
    """Scores of one kind, live or an attack, of frames or of videos.

    Attributes:
        scores: 0…1, float (N,).
        people: who each shows, (N,).
        videos: which video each is of, (N,).
    """

    scores: np.ndarray
    people: np.ndarray
    videos: np.ndarray

    def by_video(self) -> Scored:
        """Return one score for each video: the median of its frames."""
        videos, first, which = np.unique(self.videos, return_index=True, return_inverse=True)
        medians = [float(np.median(self.scores[which == n])) for n in range(len(videos))]
        return Scored(np.array(medians), self.people[first], videos)


@dataclass(frozen=True)
class Mistake:
    """The frame of a video that was decided most wrongly.

    Attributes:
        kind: what it is, live or an attack.
        video: its name.
        score: 0…1.
        off: how far it is from the threshold.
        crop_rgb: what the model saw around the face, uint8.
    """

    kind: str
    video: str
    score: float
    off: float
    crop_rgb: np.ndarray


@dataclass(frozen=True)
class LivenessReport:
    """What one evaluation has found.

    Attributes:
        model: the model.
        data: the folder of samples.
        frames: scores of all frames with a face, by kind; at least one live and one attack.
        no_face: frames in which no face was found, by kind.
        unreadable: files that could not be decoded, each with the reason.
        mistakes: of each video with frames that were decided wrongly the worst, the worst first.
        seconds: that it took.
    """

    model: PassiveModel
    data: str
    frames: Mapping[str, Scored]
    no_face: Mapping[str, int]
    unreadable: list[tuple[str, str]]
    mistakes: list[Mistake]
    seconds: float

    @property
    def thresholds(self) -> PassiveThresholds:
        """The model's."""
        return self.model.thresholds

    @cached_property
    def videos(self) -> dict[str, Scored]:
        """Scores of the videos, by kind."""
        return {kind: scored.by_video() for kind, scored in self.frames.items()}

    @property
    def attacks(self) -> list[str]:
        """The kinds of attack."""
        return [kind for kind in self.frames if kind != LIVE]

    def rates(self, level: Mapping[str, Scored]) -> AttackRates:
        """Compute the rates of frames or videos at the model's threshold."""
        attacks = {kind: level[kind].scores for kind in self.attacks}
        return attack_rates(level[LIVE].scores, attacks, self.thresholds.threshold)

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % interval of BPCER, under `live`, and of the APCER of each kind, by video."""
        found = {}
        for kind, scored in self.videos.items():
            passes = scored.scores >= self.thresholds.threshold
            wrong = ~passes if kind == LIVE else passes
            found[kind] = interval_by_person(wrong, scored.people)
        return found

    def certainty(self, kind: str) -> tuple[float, float, float]:
        """Return shares of the videos of a kind: surely an attack, neither, surely live."""
        scores = self.videos[kind].scores
        attack = float((scores < self.thresholds.spoof_below).mean())
        live = float((scores >= self.thresholds.live_from).mean())
        return attack, max(0.0, 1 - attack - live), live

    def people(self, kind: str) -> int:
        """Return how many people a kind shows."""
        return len(np.unique(self.frames[kind].people))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `report.json`."""
        known = [kind for kind, scored in self.frames.items() if len(scored.scores)]
        return {
            "threshold": self.thresholds.threshold,
            **asdict(self.rates(self.frames)),
            "frames": {kind: len(scored.scores) for kind, scored in self.frames.items()},
            "by_video": {
                **asdict(self.rates(self.videos)),
                "bpcer_interval": self.intervals[LIVE],
                "apcer_interval": {kind: self.intervals[kind] for kind in self.attacks},
                "videos": {kind: len(scored.scores) for kind, scored in self.videos.items()},
                "people": {kind: self.people(kind) for kind in self.videos},
                "certainty": {
                    kind: dict(
                        zip(("attack", "neither", "live"), self.certainty(kind), strict=True)
                    )
                    for kind in known
                },
            },
            "no_face": sum(self.no_face.values()),
            "no_face_by_kind": dict(self.no_face),
            "unreadable": [{"file": name, "reason": reason} for name, reason in self.unreadable],
            "model": {"name": self.model.name, "sha256": self.model.facts.get("sha256")},
            "thresholds": asdict(self.thresholds),
            "data": self.data,
            "version": __version__,
            "seconds": self.seconds,
        }
