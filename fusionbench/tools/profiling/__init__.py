"""`fusionbench profile`: where the time and the memory of one cell go, measured in the run that every cell takes."""

from __future__ import annotations

from collections.abc import Callable

from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store
from fusionbench.suites.cell import Plan
from fusionbench.tools.explain.request import Request
from fusionbench.tools.explain.select import row_of
from fusionbench.tools.profiling.measuring import Profile, measure, refuse_members, refuse_untrained
from fusionbench.tools.profiling.writing import Profiled, write

__all__ = ["Profile", "Profiled", "profile"]


def profile(
    plan: Plan,
    request: Request,
    resources: SharedResources,
    store: Store,
    before: float,
    tell: Callable[[str], None] | None = None,
) -> Profiled:
    """Run one cell twice, a short warming-up of one epoch first, and write what the second one took.

    The cell's result goes nowhere: what is stored of the suite stays as it is.

    Args:
        plan: the cells of one dataset and fold, perhaps of several models and modality sets.
        request: says which; its model, modalities, variant and repeat are looked at.
        before: seconds that the plan took, with reading the cohort.

    Raises:
        SuiteError: there is no such cell, it is skipped, or it trains no torch module. FusionBenchError: it fails.
    """
    row, _ = row_of(plan, request)
    cell = row[0]
    refuse_members(cell)
    refuse_untrained(cell, resources.registry)
    if tell is not None:
        tell(f"profiling {cell.label} on {resources.device.type}: one epoch to warm up, then the whole cell")
    return write(measure(cell, resources, store, before), store)
