"""How much is simulated, what is wanted of it, and the processes that do it."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

from threadpoolctl import threadpool_limits

from fusionbench.survival.stats import DRAWS

ALPHA = 0.05
LOSS = 0.05
"""The difference in c whose power is asked for."""
REJECTED, COVERED = (0.035, 0.065), (0.93, 0.97)
"""Wanted of an interval at 95 %: how often it excludes, and covers, what is true."""
SECONDS, EXACT = 2.0, 1e-12

Made = TypeVar("Made")


@dataclass(frozen=True)
class Scale:
    """How much is simulated.

    Attributes:
        replicates: samples of test patients, for each setting.
        draws: of each bootstrap.
        suites, epochs: suites with trained models, and epochs of each fit.
        pairs: independent pairs of patients behind a true c.
        leeway: Monte-Carlo errors by which a wanted range is wider, for a look at few replicates.
    """

    replicates: int = 2000
    draws: int = DRAWS
    suites: int = 500
    epochs: int = 8
    pairs: int = 20_000_000
    leeway: float = 0.0

    def range(self, low: float, high: float) -> tuple[float, float]:
        more = self.leeway * math.sqrt(ALPHA * (1 - ALPHA) / self.replicates)
        return max(0.0, low - more), min(1.0, high + more)


QUICK = Scale(replicates=200, draws=400, suites=10, epochs=4, pairs=2_000_000, leeway=3)


def spread(function: Callable[[int], Made], count: int, jobs: int) -> list[Made]:
    """`function` of 0, 1, ... in so many processes of one thread; each seed has its own result, whoever computes it."""
    if jobs == 1:
        with threadpool_limits(limits=1):
            return [function(seed) for seed in range(count)]
    with ProcessPoolExecutor(jobs, get_context("spawn"), _one_thread) as pool:
        return list(pool.map(function, range(count), chunksize=max(1, count // (20 * jobs))))


def _one_thread() -> None:
    threadpool_limits(limits=1)
