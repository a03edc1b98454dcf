"""One cell as a task that can be sent anywhere, and what a process needs to do it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fusionbench.cells import Cell
from fusionbench.determinism import prepare
from fusionbench.errors import DataError, ResultsError
from fusionbench.fitting import Progress
from fusionbench.interfaces import Executor, Lost
from fusionbench.nn import pick_device
from fusionbench.registry import Registry, discover
from fusionbench.results import CellResult
from fusionbench.runner import run_cell
from fusionbench.workbench import Workbench


@dataclass(frozen=True, eq=False)
class Job:
    """A cell with the results of the cells it builds on, and of those that these build on."""

    cell: Cell
    members: Mapping[str, CellResult] = field(default_factory=dict)

    def load(self, key: str) -> CellResult:
        if key not in self.members:
            raise ResultsError(f"member cell {key} was not handed to {self.cell.label}")
        return self.members[key]


@dataclass(frozen=True)
class Place:
    """Where and with what a process works that is not the driver.

    Attributes:
        device: as `--device` names it.
        threads, cores, deterministic: as the workbench has them.
        plugins: (name, version) of the driver's.
    """

    home: Path
    folder: Path
    device: str
    threads: int | None
    cores: int
    deterministic: bool
    plugins: tuple[tuple[str, str], ...]


class Work:
    """Computes jobs with the driver's workbench; unpickled in another process, with one of that process's own."""

    def __init__(self, bench: Workbench, place: Place, progress: Progress | None = None) -> None:
        """
        Args:
            place: of a cell that runs in another process.
            progress: hears the epochs of a cell that runs in this one.
        """
        self.bench, self.place, self.progress = bench, place, progress

    def __call__(self, job: Job) -> CellResult:
        return run_cell(job.cell, self.bench, job.load, self.progress)

    def __reduce__(self) -> tuple[Any, ...]:
        return elsewhere, (self.place,)


def work_of(executor: Executor, bench: Workbench, progress: Progress | None = None) -> Work:
    """What an executor is to do with this driver's cells."""
    terms = executor.terms
    device = "cuda" if terms.gpus else "cpu" if terms.address else bench.device.type
    known = plugins(bench.registry)
    place = Place(bench.home.absolute(), Path.cwd(), device, bench.threads, terms.threads, bench.deterministic, known)
    return Work(bench, place, progress)


class Elsewhere:
    """Computes jobs in a process that is not the driver, perhaps on another machine."""

    def __init__(self, place: Place) -> None:
        self.here = f"on {socket.gethostname()}"
        if place.folder.is_dir():  # a cohort's file may be named relative to it
            os.chdir(place.folder)
        registry = installed()
        self.unfit = _other_plugins(place.plugins, plugins(registry))
        if place.deterministic:
            prepare()
        self.bench = Workbench(
            registry,
            place.home,
            pick_device(place.device),
            threads=place.threads,
            cores=place.cores,
            deterministic=place.deterministic,
        )

    def __call__(self, job: Job) -> CellResult | Lost:
        reason = self.unfit or self._other_data(job.cell)
        return Lost(f"{self.here}: {reason}") if reason else run_cell(job.cell, self.bench, job.load)

    def _other_data(self, cell: Cell) -> str:
        """Why this machine's files are not those the cell is named by; empty where they are."""
        try:
            found = self.bench.cohort(cell.dataset, cell.unit).fingerprint
        except DataError as error:
            return str(error)
        same = found == cell.ingredients["dataset"]["fingerprint"]
        return (
            "" if same else f"{cell.dataset} is not what the driver has read; the data homes must hold the same files"
        )


@cache
def elsewhere(place: Place) -> Elsewhere:
    """Made once a process: cohorts and preprocessing are shared by the cells that it runs."""
    return Elsewhere(place)


@cache
def installed() -> Registry:
    """The plugins of this process, looked for once."""
    return discover()


def plugins(registry: Registry) -> tuple[tuple[str, str], ...]:
    """(name, version) of every plugin that could be loaded."""
    return tuple((p.name, p.version) for p in registry.plugins if p.status == "ok")


def _other_plugins(wanted: tuple[tuple[str, str], ...], found: tuple[tuple[str, str], ...]) -> str:
    """How two sets of plugins differ; empty where they do not."""
    if wanted == found:
        return ""
    lacking = ", ".join(f"{name} {version}" for name, version in wanted if (name, version) not in found)
    more = ", ".join(f"{name} {version}" for name, version in found if (name, version) not in wanted)
    parts = [f"has not {lacking}" if lacking else "", f"has {more}" if more else ""]
    return f"other plugins than the driver's ({'; '.join(filter(None, parts))}); install the same everywhere"
