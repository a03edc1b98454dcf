"""A suite's plan: as it is asked for, as it was last run, or as far as its data are on this machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fusionbench.core.commands import command
from fusionbench.core.errors import DataError, ResultsError
from fusionbench.core.registry import Registry, names_folder
from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell, Plan
from fusionbench.suites.lock import LOCK, is_older, read_lock, suite_from_lock
from fusionbench.suites.plan import expand
from fusionbench.suites.selection import WHOLE, Selection
from fusionbench.suites.suite import Suite, load_suite, narrow_suite, suite_name
from fusionbench.tools.older_results import as_stored


def plan_suite(name: str, resources: SharedResources, selection: Selection = WHOLE) -> Plan:
    """The cells that a selection of a suite asks for.

    Args:
        name: a suite's name, or the path of its file, here and below.

    Raises:
        SuiteError: no such suite, or it is wrong. DataError: a cohort cannot be read.
    """
    suite = selection.narrow(load_suite(resources.registry, name))
    return selection.pick(expand(suite, resources.registry, resources.cohort))


def plan_as_run(
    name: str,
    out: Path,
    resources: SharedResources,
    selection: Selection = WHOLE,
    *,
    installed_only: bool = False,
) -> tuple[Plan, Store]:
    """The whole suite, or part of it, with the repeats and the seed of its last run, and where its results are.

    Args:
        installed_only: leave out the models of the last run that are not installed; see `uninstalled_models`.

    Raises:
        SuiteError, DataError: as `plan_suite`. ResultsError: the suite has not been run under `out`.
    """
    store = results_of(name, out, resources.registry)
    if not store.has_file(LOCK):
        load_suite(resources.registry, name)  # an unknown name gets its own message
        raise not_run(name, out)
    lock = read_lock(store.folder)
    locked = selection_of(lock)
    selection = replace(selection, repeats=locked.repeats, seed=locked.seed)
    registry = resources.registry
    suite = stored_suite(name, out, registry) if installed_only else load_suite(registry, name)
    suite = selection.narrow(suite)
    if installed_only:
        suite = without_models(suite, uninstalled_models(suite, lock, resources.registry))
    plan = selection.pick(expand(suite, resources.registry, resources.cohort))
    return (as_stored(plan, store, resources) if is_older(lock) else plan), store


def uninstalled_models(suite: Suite, lock: Mapping[str, Any], registry: Registry) -> dict[str, str]:
    """Models of a suite's last run whose plugin is not installed, or broken, to the distribution that brought them.

    Args:
        lock: of the last run; empty where there was none.
    """
    plugins = lock.get("model_plugins", {})
    unknown = {"distribution": "a distribution", "distribution_version": "that no cell names"}
    return {
        str(model): "{distribution} {distribution_version}".format_map(plugins.get(model.name, unknown))
        for model in suite.models
        if model.name in lock.get("models", {}) and not registry.knows("models", model.name)
    }


def without_models(suite: Suite, left_out: Collection[str]) -> Suite:
    """The suite without some of its models, as they are written."""
    return suite.model_copy(update={"models": tuple(m for m in suite.models if str(m) not in left_out)})


def stored_suite(name: str, out: Path, registry: Registry) -> Suite:
    """A suite with results under `out`; where the plugin that brings it is not installed, as its last run locked it.

    Raises:
        SuiteError: no such suite, or it is wrong. ResultsError: its lock is damaged.
    """
    folder = out / name
    if name in registry.names("suites") or not names_folder(name) or not (folder / LOCK).is_file():
        return load_suite(registry, name)
    return suite_from_lock(read_lock(folder), str(folder / LOCK))


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
        uninstalled: model that is not installed to the distribution that brought it in the last run; not in the plan.
    """

    called: str
    suite: Suite
    plan: Plan
    store: Store
    lock: Mapping[str, Any]
    unread: Mapping[str, str] = field(default_factory=dict)
    uninstalled: Mapping[str, str] = field(default_factory=dict)

    @property
    def run_command(self) -> str:
        """The command that goes on with it, to be pasted."""
        return command(self.store.root, "run", self.called)


def plan_readable(name: str, out: Path, resources: SharedResources) -> PlannedSuite:
    """A suite whose results may be incomplete, and some of whose datasets and models may not be on this machine.

    Raises:
        SuiteError: no such suite, or it is wrong. DataError: none of its datasets can be read.
        ResultsError: its lock is damaged, or what lies there was published and has no cells.
    """
    suite, store = stored_suite(name, out, resources.registry), results_of(name, out, resources.registry)
    if store.has_file("run.toml"):
        look = command(out, "table", suite.name)
        raise ResultsError(f"{store.folder} was published: its cells lie where it was run; look at it with: {look}")
    lock = read_lock(store.folder) if store.has_file(LOCK) else {}
    suite = (selection_of(lock) if lock else WHOLE).narrow(suite)
    gone = uninstalled_models(suite, lock, resources.registry)
    installed = without_models(suite, gone)
    try:
        plan, unread = expand(installed, resources.registry, resources.cohort), dict[str, str]()
    except DataError:
        plan, unread = _by_dataset(installed, resources)
    return PlannedSuite(name, suite, plan, store, lock, unread, gone)


def _by_dataset(suite: Suite, resources: SharedResources) -> tuple[Plan, dict[str, str]]:
    """The cells of the datasets that can be read, and why the others cannot.

    A dataset's cells depend on no other dataset, so that each can be planned alone.
    """
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
    return Plan(suite, tuple(cells)), unread
