"""Where a suite stands: what is done, what is to do and why; read from the files, nothing is computed or written.

Loads no tables and no statistics, so that an answer over thousands of cells takes seconds.
"""

from __future__ import annotations

from pathlib import Path

from fusionbench.core.garbage import uncollected
from fusionbench.core.registry import Registry
from fusionbench.execution.shared import Workbench
from fusionbench.results.store import Store
from fusionbench.suites.cell import Plan
from fusionbench.tools.planning import PlannedSuite, plan_readable
from fusionbench.tools.status.asked import Answer, Wanted
from fusionbench.tools.status.outdated import outdated_cells
from fusionbench.tools.status.running import Running, running_now
from fusionbench.tools.status.status import Status, status
from fusionbench.tools.status.stored import read_cells
from fusionbench.tools.status.why import why_key, why_place


def suite_status(name: str, out: Path, bench: Workbench) -> tuple[Status, Running, Store]:
    """How far a suite is, what is going on in its folder, and that folder.

    Raises:
        SuiteError, DataError, ResultsError: see `plan_readable`.
    """
    with uncollected():
        of = plan_readable(name, out, bench)
        going_on = running_now(of.store)  # before the cells: one that finishes in between is done
        return status(of, read_cells(of.store), bench.registry, going_on.cells), going_on, of.store


def count_outdated(whole: Plan, store: Store, registry: Registry) -> int:
    """How many stored cells no table of a whole suite can use any more."""
    return len(
        outdated_cells(PlannedSuite(whole.suite.name, whole.suite, whole, store, {}, {}), read_cells(store), registry)
    )


def why(wanted: Wanted | str, out: Path, bench: Workbench) -> Answer:
    """Why a cell, named by key or place, is where it is.

    Raises:
        SuiteError: there is no such cell; says what there is.
    """
    return why_key(wanted, out, bench) if isinstance(wanted, str) else why_place(wanted, out, bench)


__all__ = ["Answer", "Running", "Status", "count_outdated", "suite_status", "why"]
