"""Global random numbers, seeded for a piece of work."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Global random numbers of torch, numpy and Python follow from `seed` inside, and are as they were afterwards."""
    kept, numpy_kept = random.getstate(), np.random.get_state()  # noqa: NPY002 - what a plugin may draw from
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            # What draws from numpy's or Python's global generator gives the same numbers in any order of cells.
            np.random.seed(seed % 2**32)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        random.setstate(kept)
        np.random.set_state(numpy_kept)  # noqa: NPY002
