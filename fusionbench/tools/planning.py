"""A suite's plan: as it is asked for, as it was last run, or as far as its data are on this machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fusionbench.core.class_files import file_of
from fusionbench.core.commands import command
from fusionbench.core.errors import DataError, ResultsError, SuiteError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry
from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell, Plan, external_name
from fusionbench.suites.external import with_external
from fusionbench.suites.lock import LOCK, is_older, read_lock
from fusionbench.suites.plan import expand
from fusionbench.suites.selection import WHOLE, Selection, narrow_suite
from fusionbench.suites.suite import External, Suite
from fusionbench.tools.find_suite import find_suite, not_run
from fusionbench.tools.older_results import as_stored


def plan_suite(
    suite: Suite, resources: SharedResources, selection: Selection = WHOLE, unread: dict[str, str] | None = None
) -> Plan:
    """The cells that a selection of a suite asks for.

    Args:
        unread: is told of external cohorts that cannot be read here, `TRAIN -> TEST` to why; their cells are left out
            of the plan. Without it they are an error.

    Raises:
        SuiteError: the suite is wrong, or has no such part. DataError: a cohort cannot be read.
    """
    return selection.pick(_expanded(selection.narrow(suite), resources, unread))


def _expanded(suite: Suite, resources: SharedResources, unread: dict[str, str] | None = None) -> Plan:
    """Every cell of a suite, and those of its external cohorts."""
    plan = expand(suite, resources.registry, resources.cohort)
    try:
        return with_external(plan, resources.registry, resources.cohort, resources.new_patients)
    except DataError:
        if unread is None:
            raise
    return replace(plan, external=_readable_external(plan, resources, unread))


def _readable_external(plan: Plan, resources: SharedResources, unread: dict[str, str]) -> tuple[Cell, ...]:
    """The cells of the external cohorts that can be read; of the others `unread` is told why not."""
    found: list[Cell] = []
    for train, test in [(asked.train, test) for asked in plan.suite.external for test in asked.test]:
        only = plan.suite.model_copy(update={"external": (External(train=train, test=(test,)),)})
        one = replace(plan, suite=only)
        try:
            found += with_external(one, resources.registry, resources.cohort, resources.new_patients).external
        except DataError as error:
            unread[external_name(train, test)] = str(error)
    return tuple(found)


def plan_as_run(
    name: str,
    out: Path,
    resources: SharedResources,
    selection: Selection = WHOLE,
    *,
    installed_only: bool = False,
    unread: dict[str, str] | None = None,
) -> tuple[Plan, Store]:
    """The whole suite, or part of it, with the repeats and the seed of its last run, and where its results are.

    Args:
        name: as `find_suite` takes it, here and below.
        installed_only: leave out the models of the last run that are not installed; see `uninstalled_models`.
        unread: as in `plan_suite`.

    Raises:
        SuiteError, DataError: as `plan_suite`. ResultsError: the suite has not been run under `out`.
    """
    found = find_suite(name, out, resources.registry)
    if not found.store.has_file(LOCK):
        found.load()  # what is wrong with it comes first
        raise not_run(found)
    lock = read_lock(found.store.folder)
    locked = selection_of(lock)
    suite = found.load_or_stored()
    if installed_only:
        suite = without_models(suite, uninstalled_models(suite, lock, resources.registry))
    else:
        refuse_gone(suite, found.called, out, resources.registry)
    plan = plan_suite(suite, resources, replace(selection, repeats=locked.repeats, seed=locked.seed), unread)
    return (as_stored(plan, found.store, resources) if is_older(lock) else plan), found.store


def uninstalled_models(suite: Suite, lock: Mapping[str, Any], registry: Registry) -> dict[str, str]:
    """Models of a suite's last run, or added to it, that cannot be loaded here, to what brought them.

    A class of a file counts as gone, too, where its name leads to another file than the one it was added from.

    Args:
        lock: of the last run; empty where there was none.
    """
    plugins = lock.get("model_plugins", {})
    unknown = {"distribution": "a distribution", "distribution_version": "that no cell names"}
    return {
        str(model): suite.added.get(str(model))
        or "{distribution} {distribution_version}".format_map(plugins.get(model.name, unknown))
        for model in suite.models
        if (model.name in lock.get("models", {}) or str(model) in suite.added)
        and not _is_here(model, suite.added.get(str(model), ""), registry)
    }


def _is_here(model: PluginRef, file: str, registry: Registry) -> bool:
    """Whether a model can be loaded; `file`: of its class, as it was added, else empty."""
    if file and str(file_of(model.name)) != file:
        return False
    return registry.knows("models", model.name)


def refuse_gone(suite: Suite, called: str, out: Path, registry: Registry) -> None:
    """A run computes all rows of a suite, also those that were added to it.

    Raises:
        SuiteError: a model that was added cannot be loaded; says why and what to do.
    """
    for model, file in suite.added.items():
        ref = PluginRef.parse(model)
        if _is_here(ref, file, registry):
            continue
        why = f"its class was in {file}"
        if not file or str(file_of(ref.name)) == file:  # a file elsewhere is not imported, whatever it says
            try:
                registry.model(ref.name)
            except SuiteError as error:
                why = str(error)
        mend = "put the file back or go to its folder" if file else "install it again"
        again = command(out, "run", called, "--remove", model)
        raise SuiteError(
            f"{model} was added to {suite.name} by an earlier run, and cannot be loaded now: {why}; {mend}, or take "
            f"its row out with: {again}"
        )


def without_models(suite: Suite, left_out: Collection[str]) -> Suite:
    """The suite without some of its models, as they are written."""
    return suite.model_copy(update={"models": tuple(m for m in suite.models if str(m) not in left_out)})


def selection_of(lock: Mapping[str, Any]) -> Selection:
    """The whole suite with the repeats and the seed that a lock has."""
    return Selection(repeats=lock["suite"]["protocol"]["repeats"], seed=lock["suite"]["seed"])


@dataclass(frozen=True)
class PlannedSuite:
    """What a suite asks for now, with the repeats and the seed of its last run.

    Attributes:
        called: what a command calls it: the suite's name, or the path of its file where that has not been run yet.
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
    found = find_suite(name, out, resources.registry)
    suite, store = found.load_or_stored(), found.store
    if store.has_file("run.toml"):
        look = command(out, "table", suite.name)
        raise ResultsError(f"{store.folder} was published: its cells lie where it was run; look at it with: {look}")
    lock = read_lock(store.folder) if store.has_file(LOCK) else {}
    suite = (selection_of(lock) if lock else WHOLE).narrow(suite)
    gone = uninstalled_models(suite, lock, resources.registry)
    installed = without_models(suite, gone)
    try:
        plan, unread = _expanded(installed, resources), dict[str, str]()
    except DataError:
        plan, unread = _by_dataset(installed, resources)
    return PlannedSuite(found.called, suite, plan, store, lock, unread, gone)


def _by_dataset(suite: Suite, resources: SharedResources) -> tuple[Plan, dict[str, str]]:
    """The cells of the datasets and external cohorts that can be read, and why the others cannot.

    A dataset's cells depend on no other dataset, so that each can be planned alone; likewise each external cohort.
    """
    cells: list[Cell] = []
    external: list[Cell] = []
    unread: dict[str, str] = {}
    last: DataError | None = None
    for dataset in suite.datasets:
        one = narrow_suite(suite, datasets=[str(dataset)])
        try:
            made = expand(one, resources.registry, resources.cohort)
        except DataError as error:
            unread[str(dataset)] = str(error)
            last = error
            continue
        cells += made.cells
        external += _readable_external(made, resources, unread)
    if last is not None and all(str(dataset) in unread for dataset in suite.datasets):
        raise last
    return Plan(suite, tuple(cells), tuple(external)), unread
