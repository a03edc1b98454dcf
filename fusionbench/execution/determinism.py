"""The same bits every time, also on CUDA, for the price of slower kernels; recorded with a cell, not keyed.

On a CPU cells are the same bits anyway, for one number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_FIXED = ":4096:8"
"""Two of cuBLAS's settings are deterministic; this is the faster one."""


def prepare() -> None:
    """Ask cuBLAS for its deterministic workspace; it reads this once, before its first use in a process."""
    os.environ.setdefault(WORKSPACE, _FIXED)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Inside, torch uses deterministic algorithms only, and an operation that has none raises; as before after that."""
    if not wanted:
        yield
        return
    prepare()
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
