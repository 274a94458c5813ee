from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from facesync.errors import FaceSyncError, FileError, ModelError
from facesync.faces.crops import ALIGNED_112, SQUARE
from facesync.pickles import save_plain
from facesync.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    restore_optimizer,
    run_checkpoints,
    save_checkpoint,
)
from facesync.training.history import History
from tests.training.stand_ins import TinyNetwork, tiny_learner, tiny_run

LABEL_MAP = {"ada": 0, "bea": 1, "cy": 2}
HISTORY = History.from_dict(
    {"train_loss": [2.0], "train_acc": [0.5], "val_loss": [2.1], "val_acc": [0.4]}
)


@pytest.fixture
def network() -> TinyNetwork:
    torch.manual_seed(0)
    return TinyNetwork(3)


@pytest.fixture
def optimizer(network) -> torch.optim.Adam:
    return stepped(network)


def stepped(network, lr=1e-4) -> torch.optim.Adam:
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    network(torch.rand(4, 3, 160, 160)).sum().backward()
    optimizer.step()
    return optimizer


def names(network) -> list[str]:
    return [name for name, _ in network.named_parameters()]


def save(path: Path, network, optimizer, **other) -> None:
    values = {
        "epoch": 1,
        "model_state_dict": network.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "optimizer_names": names(network),
        "accuracy": 0.4,
        "tar": 0.3,
        "interrupted": False,
        "loss": "cosface",
        "num_classes": 3,
        "label_map": LABEL_MAP,
        "crop": SQUARE.to_dict(),
        "split": {"seed": 42, "fingerprint": "abc"},
        "settings": {"min_images": 5},
        "history": HISTORY.to_dict(),
    }
    save_checkpoint(path, {**values, **other})


@pytest.fixture
def saved(tmp_path, network, optimizer) -> Path:
    save(tmp_path / "m.pth", network, optimizer)
    return tmp_path / "m.pth"


@pytest.fixture
def older(tmp_path, network, optimizer) -> Path:
    """Write a checkpoint of the older format."""
    data = {
        "epoch": 3,
        "model_state_dict": network.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "accuracy": 0.81,
        "num_classes": 3,
    }
    torch.save(data, tmp_path / "old.pth")
    return tmp_path / "old.pth"


def test_what_is_saved_is_loaded(saved, network):
    loaded = load_checkpoint(saved)
    assert (loaded.epoch, loaded.accuracy, loaded.num_classes) == (1, 0.4, 3)
    assert loaded.label_map == LABEL_MAP and loaded.crop == SQUARE
    assert loaded.split == {"seed": 42, "fingerprint": "abc"}
    assert loaded.settings == {"min_images": 5} and loaded.history.rows == HISTORY.rows
    assert (loaded.tar, loaded.loss, loaded.run) == (0.3, "cosface", None)
    assert loaded.optimizer_names == names(network)
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state[key], value)


def test_the_file_opens_without_running_code_and_holds_everything(saved):
    data = torch.load(saved, weights_only=True)
    assert {"format", "architecture", "versions", "interrupted", "optimizer_names"} < set(data)
    assert torch.__version__.startswith(data["versions"]["torch"])


def test_older_format_opens_with_or_without_a_label_map(older):
    loaded = load_checkpoint(older)
    assert (loaded.epoch, loaded.accuracy, loaded.num_classes) == (3, 0.81, 3)
    assert loaded.label_map is None and loaded.split is None and not len(loaded.history)
    assert loaded.crop == ALIGNED_112
    assert (loaded.loss, loaded.tar, loaded.optimizer_names) == ("softmax", None, None)
    save_plain(LABEL_MAP, older.with_name("label_map.pkl"))
    assert load_checkpoint(older).label_map == LABEL_MAP


@pytest.mark.parametrize(
    "beside",
    [
        {"ada": float("inf"), "bea": 0, "cy": 1},
        {"ada": 0, "bea": 1},
        {"ada": 0, "bea": 1, "cy": 1},
        ["ada"],
        {"ada": "x"},
        None,
    ],
    ids=["endless", "too few", "doubled", "list", "text", "none"],
)
def test_a_label_map_beside_that_does_not_fit_is_one_line(older, beside):
    save_plain(beside, older.with_name("label_map.pkl"))
    with pytest.raises(FaceSyncError, match=r"label[ _]map"):
        load_checkpoint(older)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epoch", "three"),
        ("epoch", -1),
        ("epoch", True),
        ("epoch", "3)\nAda: accepted"),
        ("epoch", 10**400),
        ("epoch", torch.ones(3)),
        ("accuracy", torch.ones(3)),
        ("accuracy", 2**1030),
        ("accuracy", "good"),
        ("accuracy", float("nan")),
        ("accuracy", 1000.0),
        ("accuracy", [0.5]),
        ("num_classes", 4),
        ("num_classes", None),
        ("label_map", {"ada": 0}),
        ("label_map", {"ada": 0, "bea": 1, "cy": 7}),
        ("label_map", ["ada", "bea", "cy"]),
        ("label_map", {"ada": float("inf"), "bea": 0, "cy": 1}),
        ("label_map", {"ada": torch.ones(2), "bea": 0, "cy": 1}),
        ("crop", {"kind": "round", "crop_size": 112}),
        ("crop", {"kind": "square", "crop_size": 112, "input_size": "large"}),
        ("crop", "square"),
        ("split", [42]),
        ("settings", 5),
        ("history", {"train_loss": [1.0]}),
        ("history", {**HISTORY.to_dict(), "epoch": [float("inf")]}),
        ("history", {**HISTORY.to_dict(), "train_loss": [float("nan")]}),
        ("history", {**HISTORY.to_dict(), "train_loss": [torch.ones(2)]}),
        ("history", None),
        ("loss", "contrastive"),
        ("loss", None),
        ("loss", ["softmax"]),
        ("tar", float("inf")),
        ("optimizer_names", "logits.weight"),
        ("optimizer_names", [1, 2]),
        ("run", 5),
    ],
)
def test_odd_values_are_one_line(saved, key, value):
    data = torch.load(saved, weights_only=True)
    torch.save({**data, key: value}, saved)
    with pytest.raises(ModelError) as error:
        load_checkpoint(saved)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_weights_without_a_classifier_cannot_be_continued(tmp_path):
    torch.save(TinyNetwork().state_dict(), tmp_path / "bare.pth")
    with pytest.raises(ModelError, match=r"no classifier .* train_model\.py --weights"):
        load_checkpoint(tmp_path / "bare.pth")


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04 half a zip"])
def test_what_is_no_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(ModelError):
        load_checkpoint(tmp_path / "m.pth")


def test_a_full_disk_leaves_the_earlier_file(saved, network, optimizer, monkeypatch):
    before = saved.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("facesync.files.os.fsync", full)
    with pytest.raises(FileError, match="No space left"):
        save(saved, network, optimizer, epoch=2)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def start(state, network, named=True) -> Checkpoint:
    """Return a checkpoint with an optimizer's state; the older format does not name the weights."""
    return Checkpoint(
        path=Path("m.pth"), state=network.state_dict(), optimizer_state=state,
        optimizer_names=names(network) if named else None, epoch=1, accuracy=None, tar=None,
        loss="softmax", num_classes=3, label_map=None, crop=SQUARE, split=None, settings={},
        history=History(), run=None,
    )  # fmt: skip


def averages_are_the_same(one, other, network) -> bool:
    return all(
        torch.equal(one.state[p][name], value)
        for p in network.parameters()
        for name, value in other.state[p].items()
    )


@pytest.mark.parametrize("form", ["saved", "older"])
def test_optimizer_keeps_its_averages_and_takes_the_new_rate(network, optimizer, form, request):
    fresh = torch.optim.Adam(network.parameters(), lr=3e-5)
    loaded = load_checkpoint(request.getfixturevalue(form))
    assert restore_optimizer(fresh, names(network), loaded)
    assert fresh.param_groups[0]["lr"] == 3e-5
    assert averages_are_the_same(fresh, optimizer, network)


def test_averages_go_to_the_weights_of_their_name_whatever_the_order(network, optimizer, saved):
    """Weight decay sorts the weights into groups: two runs may have two orders."""
    turned = list(reversed(list(network.named_parameters())))
    groups = [{"params": [p for _, p in turned[:2]]}, {"params": [p for _, p in turned[2:]]}]
    fresh = torch.optim.AdamW(groups, lr=3e-5, weight_decay=0.1)
    assert restore_optimizer(fresh, [name for name, _ in turned], load_checkpoint(saved))
    assert averages_are_the_same(fresh, optimizer, network)
    assert len(fresh.param_groups) == 2 and fresh.param_groups[0]["weight_decay"] == 0.1


def test_weights_that_were_frozen_so_far_have_no_averages_and_that_fits(network):
    network.features.requires_grad_(False)
    optimizer = stepped(network)
    state = optimizer.state_dict()
    assert len(state["state"]) == 2
    fresh = torch.optim.Adam(network.parameters(), lr=3e-5)
    assert restore_optimizer(fresh, names(network), start(state, network))
    assert set(fresh.state) == {network.logits.weight, network.logits.bias}


def _drop(state):
    del state["state"]


def _other_shape(state):
    state["state"][0]["exp_avg"] = torch.zeros(2)


def _not_finite(state):
    state["state"][0]["exp_avg_sq"].fill_(float("nan"))


def _endless(state):
    state["state"][0]["step"].fill_(float("inf"))


def _of_sgd(state):
    state["state"] = {0: {"momentum_buffer": torch.zeros(16, 192)}}


def _too_many(state):
    state["state"][99] = state["state"][0]


def _text(state):
    state["state"][0] = "fast"


def _empty(state):
    state["state"] = {}


@pytest.mark.parametrize("named", [True, False], ids=["named", "older"])
@pytest.mark.parametrize(
    "spoil", [_drop, _other_shape, _not_finite, _endless, _of_sgd, _too_many, _text, _empty]
)
def test_an_optimizer_state_that_does_not_fit_leaves_a_fresh_one(network, optimizer, spoil, named):
    state = optimizer.state_dict()
    spoil(state)
    fresh = torch.optim.Adam(network.parameters(), lr=3e-5)
    assert not restore_optimizer(fresh, names(network), start(state, network, named))
    assert fresh.state_dict()["state"] == {} and fresh.param_groups[0]["lr"] == 3e-5
    stepped(network)  # the network itself still trains


def test_no_state_or_one_of_other_weights_leaves_a_fresh_optimizer(network, optimizer):
    fresh = torch.optim.Adam(network.parameters())
    for state in (None, "fast", [], {"state": None}):
        assert not restore_optimizer(fresh, names(network), start(state, network))
    other = [name.replace("logits", "head") for name in names(network)]
    assert not restore_optimizer(fresh, other, start(optimizer.state_dict(), network))
    assert fresh.state_dict()["state"] == {}


# Unfinished runs


def test_checkpoints_of_a_run_are_found_oldest_first(tmp_path):
    assert run_checkpoints(tmp_path) == []
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("batch-00000010.pth", "batch-00000009.pth", "batch-123456789.pth"):
        (folder / name).touch()
    for other in ("batch-x.pth", "best.pth", "batch-00000011.pth.tmp", "batch-.pth"):
        (folder / other).touch()
    found = [path.name for path in run_checkpoints(tmp_path)]
    assert found == ["batch-00000009.pth", "batch-00000010.pth", "batch-123456789.pth"]


def test_what_a_run_has_besides_is_loaded(tmp_path, network, optimizer):
    random = {"python": [3, [1, 2], None], "torch": torch.get_rng_state(), "cuda": None}
    run = {"script": "train", "batch": 3, "random": [random], "totals": {"undecodable": ["a"]}}
    save(tmp_path / "m.pth", network, optimizer, run=run)
    loaded = load_checkpoint(tmp_path / "m.pth").run
    assert loaded["script"] == "train" and loaded["totals"] == run["totals"]
    assert torch.equal(loaded["random"][0]["torch"], random["torch"])


@pytest.mark.parametrize(
    "name, value",
    [
        ("best", float("nan")),
        ("best", "high"),
        ("batch", float("inf")),
        ("step", float("inf")),
        ("step", torch.ones(2)),
        ("totals", None),
    ],
)
def test_a_run_with_odd_numbers_is_one_line(name, value):
    run = tiny_run(tiny_learner())
    state = run.state_dict()
    run.load_state_dict(state, "x.pth")
    with pytest.raises(ModelError, match=r"cannot resume from x\.pth"):
        run.load_state_dict({**state, name: value}, "x.pth")
