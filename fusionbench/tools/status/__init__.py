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
from fusionbench.tools.status.asked import Answer, Wanted
from fusionbench.tools.status.outdated import outdated_cells
from fusionbench.tools.status.running import Running, running_now
from fusionbench.tools.status.status import Status, status
from fusionbench.tools.status.stored import read_cells
from fusionbench.tools.status.why import why_key, why_place


def suite_status(name: str, out: Path, resources: SharedResources) -> tuple[Status, Running, Store]:
    """How far a suite is, what is going on in its folder, and that folder.

    Raises:
        SuiteError, DataError, ResultsError: see `plan_readable`.
    """
    planned = plan_readable(name, out, resources)
    going_on = running_now(planned.store)  # before the cells: one that finishes in between is done
    found = status(planned, read_cells(planned.store), resources.registry, going_on.cells)
    return found, going_on, planned.store


def count_outdated(whole: Plan, store: Store, registry: Registry) -> int:
    """How many stored cells no table of a whole suite can use any more."""
    return len(
        outdated_cells(PlannedSuite(whole.suite.name, whole.suite, whole, store, {}, {}), read_cells(store), registry)
    )


def why(wanted: Wanted | str, out: Path, resources: SharedResources) -> Answer:
    """Why a cell, named by key or place, is where it is.

    Raises:
        SuiteError: there is no such cell; says what there is.
    """
    return why_key(wanted, out, resources) if isinstance(wanted, str) else why_place(wanted, out, resources)


__all__ = ["Answer", "Running", "Status", "count_outdated", "suite_status", "why"]
