"""From a plan and the cells that are stored of it to its lock and its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fusionbench.core.registry import Registry
from fusionbench.data.cohort import Cohort
from fusionbench.execution.shared import Workbench
from fusionbench.report import build as views
from fusionbench.results.frames import collect
from fusionbench.results.store import Store
from fusionbench.suites import lock as locks
from fusionbench.suites import published_numbers as references
from fusionbench.suites.cell import Plan


def cohorts(plan: Plan, bench: Workbench) -> dict[tuple[str, str], Cohort]:
    """The plan's cohorts by dataset as written and unit."""
    return {(str(dataset), unit): bench.cohort(dataset, unit) for dataset, unit in plan.cohorts}


def lock_of(plan: Plan, bench: Workbench) -> dict[str, Any]:
    """The content of suite.lock.toml."""
    wanted = references.units(plan.suite, bench.registry)
    counted = {(str(d), unit): bench.cohort(d, unit) for d, _ in plan.cohorts for unit in wanted}
    return locks.make_lock(plan, bench.registry, cohorts(plan, bench), counted)


def versions(registry: Registry) -> dict[str, str]:
    """Metric to its version: scores of another version are not those of a finished cell."""
    return {name: registry.metric(name).version for name in registry.names("metrics")}


def write_tables(plan: Plan, store: Store, bench: Workbench, kind: Literal["table", "table.partial"]) -> Path | None:
    """Table and, of a whole suite, its frames, from the cells; None where no cell has a score."""
    frames = collect(plan, store, cohorts(plan, bench), versions(bench.registry))
    return views.write_tables(frames, store, lock_of(plan, bench), bench.registry, kind)
