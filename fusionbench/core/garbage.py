"""Stretches of work in which Python does not look for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """For work that makes a million small objects and keeps most of them: looking at them takes a sixth of its time.

    What it leaves in cycles stays until the end, so it has to be bounded.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
