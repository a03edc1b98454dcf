"""How many CPU threads a cell gets, and nothing else of this process changed by it.

Small models lose by threads: their operations take microseconds, and threads that wait for one another spin. On two
cores of which one is busy, a cell of the quickstart suite took four times as long with two threads as with one. Bags of
thousands of patch features gain by them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import sksurv.ensemble  # noqa: F401  its libraries have threads of their own, limited only once they are loaded
import torch
from threadpoolctl import ThreadpoolController

from fusionbench.core.types import CaseSet

LARGE = 250_000
"""Numbers in an average case from which threads pay: about 120 patches of 2,048 features."""
_LOOKED_AT = 8


def threads_for(cases: CaseSet, wanted: int | None, most: int | None = None) -> int:
    """`wanted`, or by the size of the cases: one thread for small ones, `most` for large ones, else every core."""
    if wanted is not None:
        return wanted
    looked_at = [cases[i] for i in range(min(_LOOKED_AT, len(cases)))]
    numbers = sum(bag.values.numel() for case in looked_at for bag in case.bags.values())
    return (most or cores()) if numbers > LARGE * len(looked_at) else 1


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Torch and BLAS use at most so many threads inside."""
    before = torch.get_num_threads()
    with _libraries(len(sys.modules)).limit(limits=threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """The libraries of this process that have threads; looked for again once a module more is loaded.

    Looking takes 10 ms, and a library comes with the module that needs it.
    """
    return ThreadpoolController()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
