"""Class weights that need no training: each identity's mean direction.

Random class weights send random gradients into a network that already tells faces apart, and
distort it. The mean of an identity's features is a classifier at once (Qi et al., "Low-Shot
Learning with Imprinted Weights", arXiv:1712.07136) and a better place to train from.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from facesync.training.batches import EpochOrder
from facesync.training.messages import bar
from facesync.training.run import Run
from facesync.training.transforms import ToInput

BATCH_SIZE = 32


@torch.no_grad()
def imprint(run: Run) -> None:
    """Set the head's weights to the mean direction of each identity's training images.

    The weights keep the mean length that the head gave them; an identity without a usable image
    keeps its weights.
    """
    learner, data, ranks = run.learner, run.data, run.ranks
    model = learner.model
    model.eval()
    weight = model.head.weight
    sums = torch.zeros_like(weight)
    inputs = ToInput(run.crop, "none", learner.device)
    order = EpochOrder(data.train, data.seed, BATCH_SIZE * ranks.size, shuffle=False, ranks=ranks)
    batches = run.loader.batches(order)
    with bar("mean features", len(batches), quiet=not ranks.first) as progress:
        for batch in batches:
            if len(batch.labels):
                with learner.autocast():
                    features = model.backbone(inputs(batch.images, batch.draws))
                labels = batch.labels.to(learner.device)
                sums.index_add_(0, labels, normalize(features.float()))
            progress.update()
    ranks.sum(sums)
    seen = sums.norm(dim=1, keepdim=True) > 0
    length = weight.norm(dim=1).mean()
    weight.copy_(torch.where(seen, normalize(sums) * (length if length > 0 else 1.0), weight))
    learner.evaluated.head.load_state_dict(model.head.state_dict())
