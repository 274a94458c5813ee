import argparse

import pytest

from facesync.data.shards import Shard, parse_shard, shard_in_force
from facesync.errors import UsageError


@pytest.mark.parametrize("total", [0, 1, 7, 1000])
def test_shares_are_disjoint_and_everything(total):
    shares = [list(parse_shard(f"{n}/3").range_of(total)) for n in (1, 2, 3)]
    assert [item for share in shares for item in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/", "-1/2", "1/0", "a/b", "1/2/3", "²/3"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="such as 1/4 to 4/4"):
        parse_shard(text)


def test_torchrun_names_the_share(monkeypatch):
    assert shard_in_force(None) is None
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    assert shard_in_force(None) == Shard(3, 4)
    assert shard_in_force(Shard(1, 2)) == Shard(1, 2)  # what is asked for goes first
    for rank in ("4", "-1", "x", ""):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(UsageError, match="use --shard I/N"):
            shard_in_force(None)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert shard_in_force(None) is None
