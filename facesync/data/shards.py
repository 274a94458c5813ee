"""A share of work that several processes, on one machine or many, do side by side."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from typing import Any

from facesync.errors import UsageError
from facesync.options import option, positive_int


@dataclass(frozen=True)
class Shard:
    """One of `of` shares of the work, by its number from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number} of {self.of}"

    def range_of(self, total: int) -> range:
        """Return the consecutive items, of so many, that belong to this share."""
        return range(total * (self.number - 1) // self.of, total * self.number // self.of)


def parse_shard(text: str) -> Shard:
    """Argparse type: `2/8`, the second of eight shares."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, such as 1/4 to 4/4")
    return Shard(int(found[1]), int(found[2]))


def shard_option(group: str, help: str) -> Any:
    """Declare `--shard I/N`; it is for one run only."""
    return option(
        None,
        help,
        parse=parse_shard,
        metavar="I/N",
        group=group,
        kept=False,
        shown_default="all, or under torchrun this process's share",
    )


def workers_option(group: str) -> Any:
    """Declare `--workers N`."""
    return option(
        None,
        "number of processes",
        parse=positive_int,
        metavar="N",
        group=group,
        shown_default="one per processor, at most 8",
    )


def shard_in_force(asked: Shard | None) -> Shard | None:
    """Return the share that was asked for, else that of this process of torchrun, if any.

    Raises:
        UsageError: RANK and WORLD_SIZE do not fit together.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if asked or size == "1":
        return asked
    rank = os.environ.get("RANK", "")
    try:
        return parse_shard(f"{int(rank) + 1}/{size}")
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise UsageError(
            f"RANK={rank} and WORLD_SIZE={size} in the environment are no share of the work; "
            "unset them, or use --shard I/N"
        ) from error
