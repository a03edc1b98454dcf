"""A suite's plan: as it is asked for, as it was last run, or as far as its data are on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusionbench.core.commands import command
from fusionbench.core.errors import DataError, ResultsError
from fusionbench.core.registry import Registry
from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell, Plan
from fusionbench.suites.lock import LOCK, read_lock
from fusionbench.suites.plan import expand
from fusionbench.suites.selection import WHOLE, Selection
from fusionbench.suites.suite import Suite, load_suite, narrow_suite, suite_name


def plan_suite(name: str, resources: SharedResources, selection: Selection = WHOLE) -> Plan:
    """The cells that a selection of a suite asks for.

    Args:
        name: a suite's name, or the path of its file, here and below.

    Raises:
        SuiteError: no such suite, or it is wrong. DataError: a cohort cannot be read.
    """
    suite = selection.narrow(load_suite(resources.registry, name))
    return selection.pick(expand(suite, resources.registry, resources.cohort))


def plan_as_run(name: str, out: Path, resources: SharedResources, selection: Selection = WHOLE) -> tuple[Plan, Store]:
    """The whole suite, or part of it, with the repeats and the seed of its last run, and where its results are.

    Raises:
        SuiteError, DataError: as `plan_suite`. ResultsError: the suite has not been run under `out`.
    """
    store = results_of(name, out, resources.registry)
    if not store.has_file(LOCK):
        load_suite(resources.registry, name)  # an unknown name gets its own message
        raise not_run(name, out)
    locked = selection_of(read_lock(store.folder))
    return plan_suite(name, resources, replace(selection, repeats=locked.repeats, seed=locked.seed)), store


def results_of(name: str, out: Path, registry: Registry) -> Store:
    """Where a suite's results are, or will be."""
    return Store(out, suite_name(registry, name))


def not_run(name: str, out: Path) -> ResultsError:
    """The error of a suite without results."""
    return ResultsError(f"{name}: nothing has been run under {out}; start with: {command(out, 'run', name)}")


def selection_of(lock: Mapping[str, Any]) -> Selection:
    """The whole suite with the repeats and the seed that a lock has."""
    return Selection(repeats=lock["suite"]["protocol"]["repeats"], seed=lock["suite"]["seed"])


@dataclass(frozen=True)
class PlannedSuite:
    """What a suite asks for now, with the repeats and the seed of its last run.

    Attributes:
        called: the suite's name, or its path, as it was asked for; what a command takes.
        suite: as its file has it, with those repeats and that seed.
        lock: of the last run; empty where the suite has not been run.
        unread: dataset to why its cells cannot be planned on this machine.
    """

    called: str
    suite: Suite
    plan: Plan
    store: Store
    lock: Mapping[str, Any]
    unread: Mapping[str, str]

    @property
    def run_command(self) -> str:
        """The command that goes on with it, to be pasted."""
        return command(self.store.root, "run", self.called)


def plan_readable(name: str, out: Path, resources: SharedResources) -> PlannedSuite:
    """A suite whose results may be incomplete, and some of whose datasets may not be on this machine.

    Raises:
        SuiteError: no such suite, or it is wrong. DataError: none of its datasets can be read.
        ResultsError: its lock is damaged, or what lies there was published and has no cells.
    """
    suite, store = load_suite(resources.registry, name), results_of(name, out, resources.registry)
    if store.has_file("run.toml"):
        look = command(out, "table", suite.name)
        raise ResultsError(f"{store.folder} was published: its cells lie where it was run; look at it with: {look}")
    lock = read_lock(store.folder) if store.has_file(LOCK) else {}
    suite = (selection_of(lock) if lock else WHOLE).narrow(suite)
    try:
        return PlannedSuite(name, suite, expand(suite, resources.registry, resources.cohort), store, lock, {})
    except DataError:
        return _by_dataset(name, suite, store, lock, resources)


def _by_dataset(
    called: str, suite: Suite, store: Store, lock: Mapping[str, Any], resources: SharedResources
) -> PlannedSuite:
    """A dataset's cells depend on no other dataset, so each dataset that can be read is planned alone."""
    cells: list[Cell] = []
    unread: dict[str, str] = {}
    last: DataError | None = None
    for dataset in suite.datasets:
        try:
            one = narrow_suite(suite, datasets=[str(dataset)])
            cells += expand(one, resources.registry, resources.cohort).cells
        except DataError as error:
            unread[str(dataset)] = str(error)
            last = error
    if last is not None and len(unread) == len(suite.datasets):
        raise last
    return PlannedSuite(called, suite, Plan(suite, tuple(cells)), store, lock, unread)
