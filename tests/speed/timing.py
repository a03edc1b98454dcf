"""Ways to do the same thing, timed turn and turn about in one run."""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Clock = Callable[[], float]
Ways = Mapping[str, Callable[[], object]]


def alternating(ways: Ways, runs: int, clock: Clock = time.perf_counter) -> dict[str, list[float]]:
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


def arguments(about: str | None) -> tuple[argparse.Namespace, Clock]:
    """What the scripts of models are asked for: runs, tokens, and threads, which are set; and which clock counts."""
    import torch

    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="count processor time, for a machine that is not idle")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args, time.process_time if args.cpu else time.perf_counter
