"""What a machine has that results depend on, and what would make them differ from those of a lock; one line each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fusionbench.core.registry import Registry
from fusionbench.tools.doctor.locked import against_lock
from fusionbench.tools.doctor.places import data_home_lines, results_lines, tracking_lines
from fusionbench.tools.doctor.system import device_lines, extra_lines, thread_lines, version_lines
from fusionbench.tools.doctor.words import Line


def examine(registry: Registry, home: Path, out: Path, suite: str | None = None) -> Iterator[Line]:
    """Every line, in the order in which they are shown.

    Args:
        suite: compare what is installed with what its lock under `out` was run with.

    Raises:
        SuiteError: no such suite. ResultsError: it has no lock, or a damaged one.
    """
    if suite is not None:
        yield from against_lock(suite, out, registry)
        return
    yield from version_lines(registry)
    yield from device_lines()
    yield from thread_lines()
    yield from data_home_lines(registry, home)
    yield from results_lines(out)
    yield from tracking_lines()
    yield from extra_lines()


__all__ = ["Line", "examine"]
