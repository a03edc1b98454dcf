"""A cell as a task that can be sent to any process, and what computes it there."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import DataError, ResultsError
from fusionbench.core.executor import Executor, LostTask
from fusionbench.core.registry import Registry, discover
from fusionbench.execution.fit_context import Progress
from fusionbench.execution.run_cell import run_cell
from fusionbench.execution.shared import SharedResources
from fusionbench.suites.cell import Cell


@dataclass(frozen=True, eq=False)
class CellTask:
    """A cell with the results of the cells that it builds on, and of those that these build on.

    Attributes:
        members: key of a member's cell to its result.
    """

    cell: Cell
    members: Mapping[str, CellResult] = field(default_factory=dict)

    def load(self, key: str) -> CellResult:
        """A member's result.

        Raises:
            ResultsError: the task does not have it.
        """
        if key not in self.members:
            raise ResultsError(f"member cell {key} was not handed to {self.cell.label}")
        return self.members[key]


@dataclass(frozen=True)
class WorkerSettings:
    """Where and with what a worker process computes.

    Attributes:
        home: the data home.
        folder: the driver's working directory, which a cohort's path may be relative to.
        device: as `--device` names it.
        threads, cores, deterministic: as in `SharedResources`.
        plugins: (name, version) of the driver's plugins.
    """

    home: Path
    folder: Path
    device: str
    threads: int | None
    cores: int
    deterministic: bool
    plugins: tuple[tuple[str, str], ...]


class TaskRunner:
    """Computes tasks with the driver's resources; where it is unpickled in another process, with a `Worker` there."""

    def __init__(self, resources: SharedResources, settings: WorkerSettings, progress: Progress | None = None) -> None:
        """
        Args:
            settings: for the tasks that run in another process.
            progress: is told the epochs of a cell that runs in this process.
        """
        self.resources, self.settings, self.progress = resources, settings, progress

    def __call__(self, task: CellTask) -> CellResult:
        return run_cell(task.cell, self.resources, task.load, self.progress)

    def __reduce__(self) -> tuple[Any, ...]:
        return worker_of, (self.settings,)


def task_runner(executor: Executor, resources: SharedResources, progress: Progress | None = None) -> TaskRunner:
    """What an executor calls with each task of this driver."""
    request = executor.request
    device = "cuda" if request.gpus else "cpu" if request.address else resources.device.type
    settings = WorkerSettings(
        resources.home.absolute(),
        Path.cwd(),
        device,
        resources.threads,
        request.threads,
        resources.deterministic,
        plugin_versions(resources.registry),
    )
    return TaskRunner(resources, settings, progress)


class Worker:
    """Computes tasks in a process that is not the driver, perhaps on another machine."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.here = f"on {socket.gethostname()}"
        if settings.folder.is_dir():
            os.chdir(settings.folder)
        registry = installed()
        self.unfit = _plugin_differences(settings.plugins, plugin_versions(registry))
        self.resources = SharedResources(
            registry,
            settings.home,
            settings.device,
            threads=settings.threads,
            cores=settings.cores,
            deterministic=settings.deterministic,
        )

    def __call__(self, task: CellTask) -> CellResult | LostTask:
        reason = self.unfit or self._data_difference(task.cell)
        return LostTask(f"{self.here}: {reason}") if reason else run_cell(task.cell, self.resources, task.load)

    def _data_difference(self, cell: Cell) -> str:
        """Why this machine's files are not those that the cell's key names; empty where they are."""
        try:
            found = self.resources.cohort(cell.dataset, cell.unit).fingerprint
        except DataError as error:
            return str(error)
        if found == cell.ingredients["dataset"]["fingerprint"]:
            return ""
        return f"{cell.dataset} is not what the driver has read; the data homes must hold the same files"


@cache
def worker_of(settings: WorkerSettings) -> Worker:
    """One worker a process, so that its cells share cohorts and preprocessing."""
    return Worker(settings)


@cache
def installed() -> Registry:
    """The plugins of this process, looked for once."""
    return discover()


def plugin_versions(registry: Registry) -> tuple[tuple[str, str], ...]:
    """(name, version) of every plugin that could be loaded."""
    return tuple((p.name, p.version) for p in registry.plugins if p.status == "ok")


def _plugin_differences(wanted: tuple[tuple[str, str], ...], found: tuple[tuple[str, str], ...]) -> str:
    """How the driver's plugins and this machine's differ; empty where they do not."""
    if wanted == found:
        return ""
    lacking = ", ".join(f"{name} {version}" for name, version in wanted if (name, version) not in found)
    more = ", ".join(f"{name} {version}" for name, version in found if (name, version) not in wanted)
    parts = [f"has not {lacking}" if lacking else "", f"has {more}" if more else ""]
    return f"other plugins than the driver's ({'; '.join(filter(None, parts))}); install the same everywhere"
