"""Train the passive model: both networks, thresholds from people and datasets not trained on.

What is finished is kept in OUTPUT/cache, the faces, the varied crops and each trained network, so
that an interrupted training goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from facesync.errors import DataError, FileError, ModelError
from facesync.faces import onnx_files
from facesync.faces.detection import FaceDetector
from facesync.faces.onnx_export import to_onnx
from facesync.faces.torch_model import read_checkpoint, write_checkpoint
from facesync.files import replacing
from facesync.liveness import fitting
from facesync.liveness.crops import SIDE
from facesync.liveness.fitting import Pool
from facesync.liveness.material import (
    LIVE_ONLY,
    NETWORKS,
    Material,
    collect,
    live_samples,
    together,
    varied,
)
from facesync.liveness.network import LivenessNet, Pair
from facesync.liveness.passive import KIND, KINDS
from facesync.liveness.samples import Sample, read_samples
from facesync.liveness.thresholds import Scores, choose, rates_at
from facesync.liveness.training_settings import TrainLivenessSettings

log = logging.getLogger(__name__)

UNSEEN = "unseen"
"""Name of the set that only thresholds are taken from."""

_LEFT_OUT_PEOPLE = 10  # One of so many, where no dataset of other people is given.


def train(settings: TrainLivenessSettings) -> Path:
    """Train and write `liveness.onnx` and `liveness.json`; return the former.

    Raises:
        FaceSyncError: something is wrong with the data, or files cannot be written.
    """
    material = _collected(settings, _named_sets(settings))
    learnt = _learnt(settings, material)
    for chosen, whose in ((learnt, "to learn from"), (~learnt, "left out")):
        live = material.live[chosen]
        if live.all() or not live.any():  # before hours of training, not after them
            raise DataError(f"the people {whose} must have both live images and attacks")
    unseen = np.flatnonzero(~learnt)
    work = _Work(settings, material, learnt)
    pair = work.pair(learnt, settings.simulated, settings.steps, "all")
    final = score(pair, material, unseen)
    sets = [str(name) for name in np.unique(material.sets[learnt]) if name != LIVE_ONLY]
    measured = {}
    for name in sets if settings.leave_out else []:
        others = learnt & (material.sets != name)
        here = np.flatnonzero(learnt & (material.sets == name))
        for simulated in (settings.simulated, 0.0):
            without = work.pair(others, simulated, settings.leave_out, f"without {name}")
            measured[name, simulated > 0] = score(without, material, here)
    of_left_out = [found for (_, simulated), found in measured.items() if simulated]
    thresholds = choose(final, of_left_out)
    facts = {
        "kind": KIND,
        "side": SIDE,
        "kinds": list(KINDS),
        "thresholds": asdict(thresholds),
        "trained_on": _counts(material, learnt),
        "unseen": rates_at(final, thresholds.threshold),
        "left_out": {
            name: {
                "with simulated attacks": rates_at(measured[name, True], thresholds.threshold),
                "without": rates_at(measured[name, False], thresholds.threshold),
            }
            for name in sets
            if (name, True) in measured
        },
        "steps": {"all": settings.steps, "left_out": settings.leave_out},
        "seed": settings.seed,
    }
    onnx = settings.output / "liveness.onnx"
    onnx_files.write(onnx, to_onnx(pair, (2, 2, 3, SIDE, SIDE), ("chances",)), facts)
    _say(facts)
    return onnx


def score(pair: Pair, material: Material, rows: np.ndarray) -> Scores:
    """Score the videos that some faces are from.

    Raises:
        DataError: there are no live ones among them, or no attacks.
    """
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), 64):
            views = material.views[rows[start : start + 64]].transpose(0, 1, 4, 2, 3)
            found.append(pair(torch.from_numpy(views).float())[:, 0].numpy())
    of_frames = np.concatenate(found) if found else np.empty(0)
    videos, first, video = np.unique(material.videos[rows], return_index=True, return_inverse=True)
    medians = np.array([np.median(of_frames[video == number]) for number in range(len(videos))])
    classes = material.classes[rows][first]
    attacks = {
        (*KINDS, "attack")[kind]: medians[classes == kind] for kind in np.unique(classes) if kind
    }
    if not attacks or not (classes == 0).any():
        raise DataError("the people left out must have both live images and attacks")
    return Scores(medians[classes == 0], attacks)


class _Work:
    """The runs of one training; what is finished is found again."""

    def __init__(
        self, settings: TrainLivenessSettings, material: Material, learnt: np.ndarray
    ) -> None:
        self._settings = settings
        self._material = material
        self._learnt = learnt
        stamp = repr((settings.variants, settings.seed, material.videos.tolist(), learnt.tolist()))
        digest = hashlib.sha256(stamp.encode())
        digest.update(np.ascontiguousarray(material.views).data)  # others may be called the same
        self._cache = settings.output / "cache"
        self._stamp = digest.hexdigest()[:12]
        self._pools: dict[int, Pool] = {}

    def pair(self, usable: np.ndarray, simulated: float, steps: int, title: str) -> Pair:
        """Train both networks on some faces, or take them from the cache."""
        networks = [self._network(number, usable, simulated, steps, title) for number in (0, 1)]
        return Pair(*networks).eval()

    def _network(
        self, number: int, usable: np.ndarray, simulated: float, steps: int, title: str
    ) -> LivenessNet:
        settings = self._settings
        how = repr((usable.tolist(), simulated, steps, settings.seed))
        name = hashlib.sha256(how.encode()).hexdigest()[:12]
        kept = self._cache / f"{NETWORKS[number]}-{self._stamp}-{name}.pt"
        network = LivenessNet()
        if kept.is_file():
            try:
                network.load_state_dict(read_checkpoint(kept)["model_state_dict"])
                return network.eval()
            except (ModelError, RuntimeError) as error:  # of another shape: torch's RuntimeError
                _say_damaged(kept, error)
        pool = self._pool(number)
        sets, people = self._material.sets, self._material.people
        drawn = fitting.chances(pool, sets, people, usable, simulated)
        _, of_set = np.unique(sets, return_inverse=True)
        domains = np.where(pool.simulated, of_set.max() + 1, of_set[pool.source])
        what = f"{NETWORKS[number]}, {title}" + ("" if simulated else ", no simulated attacks")
        with tqdm(total=steps, desc=what, unit="batch", mininterval=1) as bar:

            def after_step(loss: float) -> None:
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()

            trained = fitting.fit(pool, drawn, domains, steps, settings.seed, after_step)
        network.load_state_dict(trained.state_dict())
        write_checkpoint(kept, {"model_state_dict": network.state_dict()})
        return network.eval()

    def _pool(self, number: int) -> Pool:
        if number not in self._pools:
            self._pools = {number: self._drawn(number)}  # only one: each is large
        return self._pools[number]

    def _drawn(self, number: int) -> Pool:
        """Make the varied crops of one network, or take them from the cache."""
        settings, material = self._settings, self._material
        rng = np.random.default_rng([settings.seed, number])
        jobs = _jobs(rng, material, self._learnt, settings.variants)
        kept = self._cache / f"crops-{NETWORKS[number]}-{self._stamp}.npy"
        classes = np.where(jobs[:, 1] > 0, jobs[:, 1], material.classes[jobs[:, 0]])
        crops = _kept_crops(kept, len(jobs))
        if crops is None:
            seen_wide = material.regions[:, 1, 0, 2:] - material.regions[:, 1, 0, :2]
            order = np.argsort(-np.prod(seen_wide, axis=1), kind="stable")
            backgrounds = order[: max(1, len(order) // 2)]  # faces with much around them
            bar = tqdm(jobs, f"{NETWORKS[number]} crops", unit="crop", mininterval=1)
            crops = np.empty((len(jobs), SIDE, SIDE, 3), np.uint8)
            for row, (face, attack) in enumerate(bar):
                kind = KINDS[attack] if attack else ""
                crops[row] = varied(rng, material, number, int(face), backgrounds, kind)
            with replacing(kept) as file:
                np.save(file, crops)
        return Pool(crops, jobs[:, 0], classes, jobs[:, 1] > 0)


def _kept_crops(path: Path, count: int) -> np.ndarray | None:
    """Open the crops in the cache, uint8 (count, SIDE, SIDE, 3); None if they have to be made."""
    try:
        crops: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        if crops.shape != (count, SIDE, SIDE, 3) or crops.dtype != np.uint8:
            raise ValueError("these are no crops")
        return crops
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever NumPy raises of a file that is damaged
        _say_damaged(path, error)
        return None


def _say_damaged(path: Path, error: Exception) -> None:
    log.warning("%s is damaged (%s); making it again", path, type(error).__name__)


def _jobs(
    rng: np.random.Generator, material: Material, learnt: np.ndarray, variants: int
) -> np.ndarray:
    """List (face, simulated kind or 0): each face as it is, each live one as attacks, too."""
    jobs = []
    for face in np.flatnonzero(learnt):
        alone = material.sets[face] == LIVE_ONLY
        jobs += [(face, 0)] * max(1, variants // (3 if alone else 1))
        if material.live[face]:
            jobs += [
                (face, 1 + number % 2) for number in range(max(2, variants // (3 if alone else 2)))
            ]
    return rng.permutation(np.array(jobs))


def _named_sets(settings: TrainLivenessSettings) -> dict[str, list[Sample]]:
    sets: dict[str, list[Sample]] = {}
    for folder in settings.data:
        place = folder.absolute()
        name = place.name
        while name in (*sets, LIVE_ONLY, UNSEEN):  # `a/train` and `b/train`
            place = place.parent
            name = f"{place.name}-{name}"
        sets[name] = read_samples(folder)
    if settings.live:
        sets[LIVE_ONLY] = [sample for folder in settings.live for sample in live_samples(folder)]
    if settings.unseen is not None:
        sets[UNSEEN] = read_samples(settings.unseen)
    return sets


def _collected(settings: TrainLivenessSettings, sets: dict[str, list[Sample]]) -> Material:
    cache = settings.output / "cache"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write to {cache}: {error.strerror}") from error
    detector = FaceDetector()
    parts = []
    for name, samples in sets.items():
        bar = tqdm(samples, f"Faces, {name}", unit="file", mininterval=1)
        parts.append(collect(name, samples, detector, cache, bar))
    return together(parts)


def _learnt(settings: TrainLivenessSettings, material: Material) -> np.ndarray:
    """Say which faces are learnt from, bool (N,)."""
    if settings.unseen is not None:
        return material.sets != UNSEEN
    people = np.unique(material.people[material.sets != LIVE_ONLY])
    chosen = np.random.default_rng(settings.seed).permutation(people)
    left_out = chosen[: max(1, len(people) // _LEFT_OUT_PEOPLE)]
    return ~np.isin(material.people, left_out)


def _counts(material: Material, learnt: np.ndarray) -> dict[str, dict[str, int]]:
    return {
        str(name): {
            "people": len(np.unique(material.people[learnt & (material.sets == name)])),
            "images": int((learnt & (material.sets == name)).sum()),
        }
        for name in np.unique(material.sets[learnt])
    }


def _say(facts: dict[str, Any]) -> None:
    rows = {"people not trained on": facts["unseen"]}
    for name, both in facts["left_out"].items():
        rows[f"trained without {name}"] = both["with simulated attacks"]
        rows[f"trained without {name} and without simulated attacks"] = both["without"]
    for what, found in rows.items():
        print(
            f"{what}: APCER {100 * found['apcer_worst']:.1f} % ({found['worst']}), BPCER "
            f"{100 * found['bpcer']:.1f} %, AUC {found['auc']:.3f}, EER {100 * found['eer']:.1f} %"
        )
