"""Each loss against a plain computation, image by image, from its paper's formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from facesync.faces.crops import ALIGNED_112
from facesync.images import read_image_rgb
from facesync.training.augment import draws
from facesync.training.batches import collate
from facesync.training.heads import HEADS, AdaFace, ArcFace, Triplet, new_head
from facesync.training.settings import MARGINS
from facesync.training.step import take_step
from facesync.training.transforms import sized
from facesync.training.validation import measure
from tests.training.stand_ins import draw_identity, drawn_batch, tiny_learner

LOSSES = pytest.mark.parametrize("loss", HEADS)
CLASSES, FEATURES, IMAGES = 5, 8, 12


def made(loss: str, **options):
    """Return a head with weights as large as features, so that nothing is near a tie."""
    torch.manual_seed(1)
    head = new_head(loss, CLASSES, FEATURES, **{"scale": 16.0, **options})
    with torch.no_grad():
        head.weight.normal_()
    return head


def drawn(images: int = IMAGES, length: float = 1.0):
    generator = torch.Generator().manual_seed(2)
    features = length * torch.randn(images, FEATURES, generator=generator)
    return features, torch.randint(0, CLASSES, (images,), generator=generator)


def cosines(head, features) -> np.ndarray:
    weight, given = (x.detach().double().numpy() for x in (head.weight, features))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (given, weight)]
    return unit[0] @ unit[1].T


def cross_entropies(logits: np.ndarray, labels) -> list[float]:
    return [
        math.log(sum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]


def with_own(cosine: np.ndarray, labels, change) -> np.ndarray:
    """Return cosines in which `change` was done to each image's own class."""
    changed = cosine.copy()
    for number, label in enumerate(labels.tolist()):
        changed[number, label] = change(number, cosine[number, label])
    return changed


# Formulas


def test_softmax_is_the_cross_entropy_of_a_linear_classifier():
    head = made("softmax")
    features, labels = drawn()
    logits = features.double() @ head.weight.double().T + head.bias.double()
    losses, given = head(features, labels)
    assert losses.tolist() == pytest.approx(cross_entropies(logits.detach(), labels), rel=1e-5)
    assert torch.allclose(given.double(), logits, atol=1e-5)


@pytest.mark.parametrize("margin", [0.3, 0.5, 1.5])
def test_arcface_adds_the_margin_to_the_angle(margin):
    head = made("arcface", margin=margin)
    features, labels = drawn(200)

    def widened(_, cosine):
        angle = math.acos(cosine)
        if angle + margin <= math.pi:
            return math.cos(angle + margin)
        return cosine - margin * math.sin(margin)

    cosine = cosines(head, features)
    expected = cross_entropies(16 * with_own(cosine, labels, widened), labels)
    assert head(features, labels)[0].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_arcface_keeps_falling_beyond_180_degrees():
    head = ArcFace(2, 2, scale=1.0, margin=0.5)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    angles = torch.linspace(0.01, math.pi - 0.01, 200)
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.zeros(200, dtype=torch.long)
    own = head.with_margin(head.logits(features), features, labels)[:, 0]
    assert (own.diff() < 0).all()
    beyond = angles > math.pi - 0.5
    line = angles.cos() - 0.5 * math.sin(0.5)
    assert torch.allclose(own[beyond], line[beyond], atol=1e-5) and beyond.sum() > 20
    assert torch.allclose(own[~beyond], torch.cos(angles + 0.5)[~beyond], atol=1e-3)


def test_cosface_takes_the_margin_off_the_cosine():
    head = made("cosface", margin=0.35)
    features, labels = drawn()
    lowered = with_own(cosines(head, features), labels, lambda _, cosine: cosine - 0.35)
    expected = cross_entropies(16 * lowered, labels)
    assert head(features, labels)[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_adaface_follows_the_length_of_the_feature():
    head = made("adaface", margin=0.4)
    head.mean.fill_(10.0)
    head.deviation.fill_(2.0)
    features, labels = drawn()
    lengths = [1.0, 5, 8, 9, 10, 11, 12, 13, 15, 17, 30, 90]  # the ends are clipped
    features = normalize(features) * torch.tensor(lengths)[:, None]
    mean = 0.99 * 10 + 0.01 * np.mean(lengths)
    deviation = 0.99 * 2 + 0.01 * np.std(lengths, ddof=1)

    def lowered(number, cosine):
        quality = (lengths[number] - mean) / (deviation + 1e-3) * 0.333
        quality = min(max(quality, -1.0), 1.0)
        angle = math.acos(cosine) - 0.4 * quality
        return math.cos(min(max(angle, 1e-3), math.pi - 1e-3)) - (0.4 + 0.4 * quality)

    changed = with_own(cosines(head, features), labels, lowered)
    expected = cross_entropies(16 * changed, labels)
    assert head(features, labels)[0].tolist() == pytest.approx(expected, rel=1e-4)
    assert head.mean.item() == pytest.approx(mean)
    assert head.deviation.item() == pytest.approx(deviation)


def test_adafaces_statistics_come_to_those_of_the_features_in_training_only():
    head = AdaFace(CLASSES, FEATURES)
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(64, dtype=torch.long)

    def show(times):
        for _ in range(times):
            lengths = 3 + 0.5 * torch.randn(64, 1, generator=generator)
            features = normalize(torch.randn(64, FEATURES, generator=generator)) * lengths
            head(features, labels)

    head.eval()
    show(3)
    assert (head.mean.item(), head.deviation.item()) == (20.0, 5.0)
    head.train()
    show(800)
    assert head.mean.item() == pytest.approx(3, abs=0.05)
    assert head.deviation.item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_triplet_takes_the_hardest_of_the_batch(margin):
    head = made("triplet", margin=margin)
    features, labels = drawn(20)
    unit = features.double().numpy()
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    expected = []
    for one, label in enumerate(labels.tolist()):
        apart = [float(((unit[one] - other) ** 2).sum()) for other in unit]
        same = [d for i, d in enumerate(apart) if labels[i] == label and i != one]
        others = [d for i, d in enumerate(apart) if labels[i] != label]
        expected.append(max(0.0, max(same) - min(others) + margin))
    assert sum(value > 0 for value in expected) > 5
    assert head(features, labels)[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_triplet_takes_two_of_one_class_and_one_of_another():
    head = made("triplet", margin=4.0)
    features, _ = drawn(4)
    alone = head(features, torch.tensor([0, 1, 2, 3]))[0]
    assert alone.tolist() == [0] * 4
    assert head(features, torch.tensor([2, 2, 2, 2]))[0].tolist() == [0] * 4
    mixed = head(features, torch.tensor([0, 1, 2, 2]))[0].tolist()
    assert mixed[:2] == [0, 0] and min(mixed[2:]) > 0


# What all have in common


@LOSSES
def test_the_margin_is_the_papers_unless_another_is_given(loss):
    assert new_head(loss, 3, 4).margin == MARGINS[loss] == new_head(loss, 3, 4, margin=None).margin
    assert new_head(loss, 3, 4, margin=0.1).margin == 0.1


@LOSSES
def test_evaluation_has_no_margin_and_no_smoothing_and_changes_nothing(loss):
    head = made(loss, margin=0.5, label_smoothing=0.2).eval()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    features, labels = drawn()
    losses, logits = head(features, labels)
    assert losses.tolist() == pytest.approx(cross_entropies(logits.detach(), labels), rel=1e-4)
    if loss != "softmax":
        assert np.allclose(logits.detach(), 16 * cosines(head, features), atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


@LOSSES
def test_logits_are_the_same_in_training_as_in_use(loss):
    head = made(loss, margin=0.5)
    features, labels = drawn()
    in_use = head.eval()(features, labels)[1]
    assert torch.allclose(head.train()(features, labels)[1], in_use, atol=1e-5)


@pytest.mark.parametrize("loss", ["arcface", "cosface", "adaface"])
def test_a_margin_raises_every_loss(loss):
    head = made(loss)
    features, labels = drawn(50, length=10)
    easy = head.eval()(features, labels)[0]
    assert (head.train()(features, labels)[0] > easy).all()


@pytest.mark.parametrize("loss", ["softmax", "cosface"])
def test_smoothing_spreads_a_share_of_the_target_over_all_classes_in_training(loss):
    head = made(loss, label_smoothing=0.3, margin=0.2)
    features, labels = drawn()
    logits = head.with_margin(head.logits(features), features, labels).detach()
    every = [cross_entropies(logits, torch.full_like(labels, k)) for k in range(CLASSES)]
    own = cross_entropies(logits, labels)
    expected = 0.7 * np.array(own) + 0.3 * np.mean(every, axis=0)
    assert head(features, labels)[0].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


@LOSSES
@pytest.mark.parametrize("sign", [1, -1, 0], ids=["the same way", "opposite", "no length"])
def test_gradients_are_finite_where_an_angle_has_none(loss, sign):
    head = made(loss)
    labels = torch.tensor([0, 1, 2, 2])
    features = (sign * head.weight.detach()[labels]).requires_grad_()
    losses, _ = head(features, labels)
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(features.grad).all()
    for parameter in head.parameters():
        assert torch.isfinite(parameter.grad).all()


@LOSSES
def test_losses_are_computed_in_float32_whatever_the_network_computes_in(loss):
    head = made(loss)
    features, labels = drawn(length=5)
    features = features.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        losses, logits = head(features, labels)
    assert losses.dtype == logits.dtype == torch.float32
    expected = made(loss)(features.float(), labels)
    assert torch.equal(losses, expected[0]) and torch.equal(logits, expected[1])


# Triplet's mean directions


def clusters(directions: torch.Tensor, labels: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return directions[labels] + 0.3 * torch.randn(len(labels), FEATURES, generator=generator)


def test_mean_directions_tell_the_classes():
    torch.manual_seed(0)
    head = Triplet(CLASSES, FEATURES)
    assert list(head.parameters()) == []
    directions, labels = 2 * torch.eye(FEATURES)[:CLASSES], torch.arange(20) % CLASSES
    for seed in range(5):
        head(clusters(directions, labels, seed), labels)
    logits = head.eval()(clusters(directions, labels, 99), labels)[1]
    assert torch.equal(logits.argmax(dim=1), labels)
    near = (normalize(head.weight) * normalize(directions)).sum(dim=1)
    assert near.min() > 0.97


def test_mean_directions_follow_a_network_that_changes():
    """A mean over all batches would lie half-way."""
    head = Triplet(CLASSES, FEATURES)
    before, after = torch.eye(FEATURES)[:CLASSES], torch.eye(FEATURES)[3 : 3 + CLASSES]
    labels = torch.arange(20) % CLASSES
    for directions in (before, after):
        for _ in range(60):
            head(directions[labels], labels)
    assert (normalize(head.weight) * after).sum(dim=1).min() > 0.99


def test_a_class_that_is_not_in_the_batch_keeps_its_direction():
    head = made("triplet")
    before = head.weight.clone()
    features, _ = drawn(4)
    head(features, torch.tensor([0, 0, 1, 1]))
    assert torch.equal(head.weight[2:], before[2:])
    assert not torch.equal(head.weight[:2], before[:2])


# They learn


@LOSSES
def test_each_loss_learns_fifty_images_by_heart(loss, tmp_path):
    samples = []
    for number in range(10):
        draw_identity(tmp_path / str(number), number, 5)
        for path in sorted((tmp_path / str(number)).iterdir()):
            image = sized(read_image_rgb(path), ALIGNED_112)
            samples.append((image, number, draws(0, number), len(samples)))
    batch = collate(samples)
    learner = tiny_learner(loss=loss, classes=10, head={"scale": 16.0}, lr=0.02)

    def accuracy() -> float:
        return measure(learner, [batch], "test", check_stop=lambda: None).accuracy

    assert accuracy() < 0.5
    for _ in range(60):
        take_step(learner, [batch])
    assert accuracy() == 1.0


def test_what_is_drawn_is_not_learnt_without_its_labels():
    """The test above can fail: labels unrelated to the images are not learnt as fast."""
    learner = tiny_learner(classes=10)
    batch = drawn_batch(50, classes=10)
    wrong = batch._replace(labels=torch.randint(0, 10, (50,)))
    for _ in range(30):
        take_step(learner, [wrong])
    given = measure(learner, [batch], "test", check_stop=lambda: None)
    assert given.accuracy < 0.5
