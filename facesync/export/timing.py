"""How long things take, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def processor_ms(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median processor time in ms of each way, taken in turns in one run.

    Processor time, not wall time, so that whatever else the machine does is not counted. It counts
    all threads: give each way one.
    """
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, action in ways.items():
            started = time.process_time()
            action()
            if number:  # the first round warms up
                times[way].append(1000 * (time.process_time() - started))
    return {way: statistics.median(taken) for way, taken in times.items()}
