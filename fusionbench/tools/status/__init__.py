"""Where a suite stands: what is done, what is to do and why; read from the files, nothing is computed or written.

Loads no tables and no statistics, so that an answer over thousands of cells takes seconds.
"""

from __future__ import annotations

from pathlib import Path

from fusionbench.core.registry import Registry
from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store
from fusionbench.suites.cell import Plan
from fusionbench.tools.planning import PlannedSuite, plan_readable
from fusionbench.tools.status.outdated import outdated_cells
from fusionbench.tools.status.status import Status, status
from fusionbench.tools.status.stored import RunningCells, read_cells, running_now
from fusionbench.tools.status.why import CellReport, CellSelector, why_key, why_selected


def suite_status(name: str, out: Path, resources: SharedResources) -> tuple[Status, RunningCells, Store]:
    """How far a suite is, what is being computed in its folder, and that folder.

    Raises:
        SuiteError, DataError, ResultsError: see `plan_readable`.
    """
    planned = plan_readable(name, out, resources)
    running = running_now(planned.store)  # before the cells: one that finishes in between is done
    found = status(planned, read_cells(planned.store), resources.registry, running.cells)
    return found, running, planned.store


def count_outdated(whole: Plan, store: Store, registry: Registry) -> int:
    """How many stored cells no table of a whole suite can use any more."""
    return len(
        outdated_cells(PlannedSuite(whole.suite.name, whole.suite, whole, store, {}), read_cells(store), registry)
    )


def why(selector: CellSelector | str, out: Path, resources: SharedResources) -> CellReport:
    """Why a cell, named by its key or a selector, is in its state.

    Raises:
        SuiteError: there is no such cell; says what there is.
    """
    return why_key(selector, out, resources) if isinstance(selector, str) else why_selected(selector, out, resources)


__all__ = ["CellReport", "RunningCells", "Status", "count_outdated", "suite_status", "why"]
