"""Train one network of the passive model.

Batches are balanced over sets, classes and people, so that no large set decides what live means. A
contrastive loss keeps live faces together over all sets and the attacks of each set apart (after
Jia et al., 2020), and weights are averaged over the steps, which carries over to other sets better
than the last ones do (Cha et al., 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from facesync.liveness.material import LIVE_ONLY, OTHER_ATTACK
from facesync.liveness.network import LivenessNet, Outputs

BATCH = 64
PEAK_RATE, WEIGHT_DECAY = 1.5e-3, 0.05
_MAP_WEIGHT, _SPECTRUM_WEIGHT, _STYLE_WEIGHT = 0.5, 0.1, 0.1
_TEMPERATURE = 0.15
_AVERAGING = 0.99


@dataclass(frozen=True)
class Pool:
    """M crops for training, drawn beforehand: see `material.varied`.

    Attributes:
        crops: uint8 RGB (M, SIDE, SIDE, 3).
        source: number of the face each was made from, (M,).
        classes: index in `KINDS`, or `OTHER_ATTACK`; of a simulated attack, its kind; (M,).
        simulated: whether each is a simulated attack, bool (M,).
    """

    crops: np.ndarray
    source: np.ndarray
    classes: np.ndarray
    simulated: np.ndarray


def chances(
    pool: Pool, sets: np.ndarray, people: np.ndarray, usable: np.ndarray, simulated: float
) -> np.ndarray:
    """Return how often each crop of the pool is drawn for a batch, (M,), in all 1.

    Args:
        pool: the crops.
        sets: set of each face, (N,).
        people: who each face shows, (N,).
        usable: the faces to learn from, bool (N,).
        simulated: share of the batch in which attacks are simulated ones; half of that is the live
            faces that they are made from, so that the simulation alone tells them apart.
    """
    found = np.zeros(len(pool.source))
    of_set, who = sets[pool.source], people[pool.source]
    real = usable[pool.source] & ~pool.simulated
    made = usable[pool.source] & pool.simulated

    def spread(chosen: np.ndarray, total: float) -> None:
        rows = np.flatnonzero(chosen)
        if len(rows):
            _, person = np.unique(who[rows], return_inverse=True)
            each = np.bincount(person)
            found[rows] += total / len(each) / each[person]

    names = [name for name in np.unique(of_set[real]) if name != LIVE_ONLY]
    for name in names:
        here = real & (of_set == name)
        attacks = [kind for kind in np.unique(pool.classes[here]) if kind]
        half = (1 - simulated) / len(names) / 2
        spread(here & (pool.classes == 0), half)
        for kind in attacks:
            spread(here & (pool.classes == kind), half / len(attacks))
    lives = real & (pool.classes == 0)
    sources = np.unique(of_set[lives])
    for name in sources if simulated else ():
        # Of each set as many attacks as live faces, so that what the images are of says nothing.
        share = simulated / 2 * _share(str(name), sources)
        spread(lives & (of_set == name), share)
        for kind in range(1, OTHER_ATTACK):
            spread(made & (of_set == name) & (pool.classes == kind), share / 2)
    return found / found.sum()


def _share(name: str, sources: np.ndarray) -> float:
    """Return the share of a set; faces without attacks of their own, the most people, get half."""
    if LIVE_ONLY not in sources or len(sources) == 1:
        return 1 / len(sources)
    return 0.5 if name == LIVE_ONLY else 0.5 / (len(sources) - 1)


def fit(
    pool: Pool,
    drawn: np.ndarray,
    domains: np.ndarray,
    steps: int,
    seed: int,
    after_step: Callable[[float], None],
) -> LivenessNet:
    """Train a network; returns the average of its weights over the steps.

    Args:
        pool: the crops.
        drawn: how often each is drawn, (M,).
        domains: number of the set of each, simulated attacks one of their own, (M,).
        steps: batches.
        seed: of weights and batches.
        after_step: told the loss.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = LivenessNet()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGING), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, steps, pct_start=0.1)
    weights = torch.from_numpy(drawn)
    for _ in range(steps):
        rows = torch.multinomial(weights, BATCH, replacement=True, generator=generator).numpy()
        crops = _relit(_to_batch(pool.crops[rows]))
        classes = torch.from_numpy(pool.classes[rows]).long()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(crops)
        loss = _loss(outputs, crops, classes, torch.from_numpy(domains[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        after_step(loss.item())
    network.load_state_dict(average.module.state_dict())
    return network.eval()


def _to_batch(crops_rgb: np.ndarray) -> torch.Tensor:
    """Turn crops, uint8 (N, SIDE, SIDE, 3), into what a network takes."""
    batch = torch.from_numpy(crops_rgb).permute(0, 3, 1, 2).float()
    return batch.contiguous(memory_format=torch.channels_last)


def _relit(crops: torch.Tensor) -> torch.Tensor:
    """Change gamma, contrast and colours; what is black, outside the image, stays so."""
    seen = (crops.amax(dim=1, keepdim=True) > 0).float()

    def drawn(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(len(crops), 1, 1, 1)

    x = (crops / 255).clamp(min=1e-3) ** drawn(-0.5, 0.5).exp() * drawn(-0.5, 0.5).exp()
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * drawn(-0.4, 0.4).exp()
    grey = x.mean(dim=1, keepdim=True)
    saturation = torch.where(drawn(0, 1) < 0.15, 0.0, drawn(0.4, 1.6))
    x = (grey + (x - grey) * saturation) * (1 + 0.12 * torch.randn(len(crops), 3, 1, 1))
    lit = x.clamp(0, 1) * 255 * seen
    return lit.contiguous(memory_format=torch.channels_last)


def _loss(
    outputs: Outputs, crops: torch.Tensor, classes: torch.Tensor, domains: torch.Tensor
) -> torch.Tensor:
    live = (classes == 0).float()
    chances_ = outputs.kinds.float().log_softmax(dim=1)
    attack = torch.logsumexp(chances_[:, 1:], dim=1)
    named = chances_.gather(1, classes.clamp(max=OTHER_ATTACK - 1)[:, None])[:, 0]
    kind = torch.where(classes == OTHER_ATTACK, attack, named)
    either = torch.where(classes == 0, chances_[:, 0], attack)
    of_map = outputs.live_map.float().flatten(1)
    map_loss = functional.binary_cross_entropy_with_logits(of_map, live[:, None].expand_as(of_map))
    wanted = _spectrum(crops, outputs.spectrum.shape[-1])
    spectrum_loss = functional.smooth_l1_loss(outputs.spectrum.float(), wanted)
    groups = torch.where(classes == 0, 0, 1 + (OTHER_ATTACK + 1) * domains + classes)
    return (
        -0.5 * kind.mean()
        - 0.5 * either.mean()
        + _MAP_WEIGHT * map_loss
        + _SPECTRUM_WEIGHT * spectrum_loss
        + _STYLE_WEIGHT * _contrast(outputs.style.float(), groups)
    )


def _spectrum(crops: torch.Tensor, side: int) -> torch.Tensor:
    """Return the logarithm of the spectrum, shrunk to (N, 1, side, side), mean 0, deviation 1."""
    waves = torch.fft.fft2(crops.mean(dim=1, keepdim=True)).abs().log1p()
    small = functional.adaptive_avg_pool2d(torch.fft.fftshift(waves, dim=(2, 3)), side)
    mean, spread = small.mean((2, 3), keepdim=True), small.std((2, 3), keepdim=True)
    return (small - mean) / (spread + 1e-5)


def _contrast(style: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Supervised contrastive loss (Khosla et al., 2020): near within a group, far between."""
    itself = torch.eye(len(style), dtype=torch.bool)
    alike = (style @ style.T / _TEMPERATURE).masked_fill(itself, -1e9)
    chance = alike - torch.logsumexp(alike, dim=1, keepdim=True)
    same = (groups[:, None] == groups[None]) & ~itself
    count = same.sum(dim=1)
    return -((chance * same).sum(dim=1) / count.clamp(min=1))[count > 0].mean()
