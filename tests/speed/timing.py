"""Ways to do the same thing, timed turn and turn about in one run."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Ways = Mapping[str, Callable[[], object]]


def alternating(ways: Ways, runs: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, list[float]]:
    """Seconds of each way in each of `runs` rounds, after one that is not counted; every other round is reversed.

    Args:
        clock: `time.process_time` counts this process's own work, which other processes hardly disturb.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name in list(ways) if turn % 2 else reversed(list(ways)):
            gc.collect()
            begun = clock()
            ways[name]()
            if turn:
                seconds[name].append(clock() - begun)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times as fast: the median of the rounds' own ratios, which a disturbance of both does not move."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
