"""A cell, or a stack of them, as a task that can be sent anywhere, and what a process needs to do it."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import DataError, ResultsError
from fusionbench.core.interfaces import Executor, Lost
from fusionbench.core.registry import Registry, discover
from fusionbench.execution.fit_context import Progress
from fusionbench.execution.run_cell import run_cell
from fusionbench.execution.shared import Workbench
from fusionbench.execution.stacked.running import note_of, run_stack
from fusionbench.suites.cell import Cell


class Portion(ABC):
    """What an executor is handed as one task."""

    @property
    @abstractmethod
    def cells(self) -> tuple[Cell, ...]:
        """Those whose results it gives."""


@dataclass(frozen=True, eq=False)
class Job(Portion):
    """A cell with the results of the cells it builds on, and of those that these build on."""

    cell: Cell
    members: Mapping[str, CellResult] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (self.cell,)

    def load(self, key: str) -> CellResult:
        if key not in self.members:
            raise ResultsError(f"member cell {key} was not handed to {self.cell.label}")
        return self.members[key]


@dataclass(frozen=True, eq=False)
class Together(Portion):
    """Cells of one stack that have no result yet; they build on no others.

    Attributes:
        stack: all of its cells: what is computed does not depend on which of them are wanted.
    """

    wanted: tuple[Cell, ...]
    stack: tuple[Cell, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.wanted

    @property
    def size(self) -> int:
        """How many cells the task computes, which its timeout is multiplied by."""
        return len(self.stack)


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
    """Computes tasks with the driver's workbench; unpickled in another process, with one of that process's own."""

    def __init__(self, bench: Workbench, place: Place, progress: Progress | None = None) -> None:
        """
        Args:
            place: of a cell that runs in another process.
            progress: hears the epochs of a cell that runs in this one.
        """
        self.bench, self.place, self.progress = bench, place, progress

    def __call__(self, task: Portion) -> tuple[CellResult, ...]:
        return computed(task, self.bench, self.progress)

    def __reduce__(self) -> tuple[Any, ...]:
        return elsewhere, (self.place,)


def computed(task: Portion, bench: Workbench, progress: Progress | None = None) -> tuple[CellResult, ...]:
    """The results of a task's cells, in their order."""
    if isinstance(task, Together):
        return run_stack(task.stack, {cell.key for cell in task.wanted}, bench, progress)
    assert isinstance(task, Job)
    return (run_cell(task.cell, bench, task.load, progress, note_of(task.cell, bench)),)


def work_of(executor: Executor, bench: Workbench, progress: Progress | None = None) -> Work:
    """What an executor is to do with this driver's cells."""
    terms = executor.terms
    device = "cuda" if terms.gpus else "cpu" if terms.address else bench.device.type
    known = plugins(bench.registry)
    place = Place(bench.home.absolute(), Path.cwd(), device, bench.threads, terms.threads, bench.deterministic, known)
    return Work(bench, place, progress)


class Elsewhere:
    """Computes tasks in a process that is not the driver, perhaps on another machine."""

    def __init__(self, place: Place) -> None:
        self.here = f"on {socket.gethostname()}"
        if place.folder.is_dir():  # a cohort's file may be named relative to it
            os.chdir(place.folder)
        registry = installed()
        self.unfit = _other_plugins(place.plugins, plugins(registry))
        self.bench = Workbench(
            registry,
            place.home,
            place.device,
            threads=place.threads,
            cores=place.cores,
            deterministic=place.deterministic,
        )

    def __call__(self, task: Portion) -> tuple[CellResult, ...] | Lost:
        reason = self.unfit or self._other_data(task.cells[0])
        return Lost(f"{self.here}: {reason}") if reason else computed(task, self.bench)

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
