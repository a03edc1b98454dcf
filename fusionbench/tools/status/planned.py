"""A suite's plan as it was last run, as far as its data are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionbench.core.commands import command
from fusionbench.core.errors import DataError, ResultsError
from fusionbench.execution.shared import Workbench
from fusionbench.results.store import Store
from fusionbench.suites import lock as locks
from fusionbench.suites import suite as suites
from fusionbench.suites.cell import Cell, Plan
from fusionbench.suites.plan import expand
from fusionbench.suites.selection import WHOLE, Selection
from fusionbench.suites.suite import Suite


@dataclass(frozen=True)
class Planned:
    """What a suite asks for now, with the repeats and the seed of its last run.

    Attributes:
        called: the suite's name, or its path, as it was asked for; what a command takes.
        suite: as its file has it, with those repeats and that seed.
        lock: of the last run; empty where it has not been run.
        unread: dataset to why its cells cannot be planned here.
    """

    called: str
    suite: Suite
    plan: Plan
    store: Store
    lock: Mapping[str, Any]
    unread: Mapping[str, str]

    @property
    def run(self) -> str:
        """The command that goes on with it, to be pasted."""
        return command(self.store.root, "run", self.called)


def planned(name: str, out: Path, bench: Workbench) -> Planned:
    """
    Raises:
        SuiteError: no such suite, or it is wrong. DataError: none of its datasets can be read.
        ResultsError: its lock is damaged, or what lies there was published and has no cells.
    """
    bench.registry, known = suites.named(bench.registry, name)
    suite, store = suites.load(bench.registry, known), Store(out, known)
    if store.has_file("run.toml"):
        raise ResultsError(
            f"{store.folder} was published: its cells lie where it was run; look at it with: "
            f"{command(out, 'table', known)}"
        )
    lock = locks.read_lock(store.folder) if store.has_file(locks.LOCK) else {}
    wanted = as_locked(lock) if lock else WHOLE
    suite = wanted.narrow(suite)
    try:
        return Planned(name, suite, expand(suite, bench.registry, bench.cohort), store, lock, {})
    except DataError:
        return _by_dataset(name, suite, store, lock, bench)


def as_locked(lock: Mapping[str, Any]) -> Selection:
    """The whole suite with the repeats and the seed that a lock has."""
    return Selection(repeats=lock["suite"]["protocol"]["repeats"], seed=lock["suite"]["seed"])


def _by_dataset(called: str, suite: Suite, store: Store, lock: Mapping[str, Any], bench: Workbench) -> Planned:
    """A dataset's cells depend on no other one, so those that can be read are planned alone."""
    cells: list[Cell] = []
    unread: dict[str, str] = {}
    last: DataError | None = None
    for dataset in suite.datasets:
        try:
            cells += expand(suites.narrow(suite, datasets=[str(dataset)]), bench.registry, bench.cohort).cells
        except DataError as error:
            unread[str(dataset)] = str(error)
            last = error
    if last is not None and len(unread) == len(suite.datasets):
        raise last
    return Planned(called, suite, Plan(suite, tuple(cells)), store, lock, unread)
