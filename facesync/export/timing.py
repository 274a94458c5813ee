"""How long things take, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def processor_ms(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median processor time in ms of each way, taken in turns in one run.

    Processor time, not wall time, so that whatever else the machine does is not counted. It counts
    all threads: give each way one.
    """

    def spent(action: Callable[[], object]) -> float:
        started = time.process_time()
        action()
        return 1000 * (time.process_time() - started)

    times = in_turns({way: partial(spent, action) for way, action in ways.items()}, rounds)
    return {way: statistics.median(taken) for way, taken in times.items()}


def in_turns(
    ways: Mapping[str, Callable[[], T]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[T]]:
    """Call each way in turns; return what each gave, by default without a first round."""
    given: dict[str, list[T]] = {way: [] for way in ways}
    for number in range(rounds + warm_up):
        for way, action in ways.items():
            result = action()
            if number >= warm_up:
                given[way].append(result)
    return given
