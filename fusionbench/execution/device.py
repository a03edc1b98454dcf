"""CPU threads and deterministic kernels of a cell; the process is as it was before once the cell has ended.

Small models lose by threads: their operations take microseconds, and threads that wait for one another spin. On two
cores of which one is busy, a cell of the quickstart suite took four times as long with two threads as with one. Bags of
thousands of patch features gain by them.

Deterministic kernels give the same bits every time on CUDA, too, and are slower; this is recorded with a cell and is
not in its key. On a CPU cells are the same bits anyway, for one number of threads.
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

MANY_NUMBERS = 250_000
"""Numbers in an average case from which threads pay: about 120 patches of 2,048 features."""
_SAMPLED_CASES = 8


def threads_for(cases: CaseSet, wanted: int | None, most: int | None = None) -> int:
    """`wanted`, or by the size of the cases: one thread for small ones, `most` for large ones, else every core."""
    if wanted is not None:
        return wanted
    sampled = [cases[i] for i in range(min(_SAMPLED_CASES, len(cases)))]
    numbers = sum(bag.values.numel() for case in sampled for bag in case.bags.values())
    return (most or cores()) if numbers > MANY_NUMBERS * len(sampled) else 1


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


WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_FIXED = ":4096:8"
"""Two of cuBLAS's settings are deterministic; this is the faster one."""


def ask_deterministic_cublas() -> None:
    """Ask cuBLAS for its deterministic workspace; it reads this once, before its first use in a process."""
    os.environ.setdefault(WORKSPACE, _FIXED)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Inside, torch uses deterministic algorithms only, and an operation that has none raises; as before after that."""
    if not wanted:
        yield
        return
    ask_deterministic_cublas()
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
