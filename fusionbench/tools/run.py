"""A plan's cells computed and stored, and how that ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fusionbench.core.cell_result import CellResult
from fusionbench.core.interfaces import Executor
from fusionbench.core.registry import Registry
from fusionbench.execution.scheduler import Driver
from fusionbench.execution.shared import Workbench
from fusionbench.execution.task import Work
from fusionbench.report.collecting import versions, write_tables
from fusionbench.report.mlflow.live import Live
from fusionbench.results.integrity import set_aside
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell, Plan
from fusionbench.suites.suite import BASE


class Reporter(Protocol):
    """Hears how a run goes."""

    def start(self, todo: int, done: int) -> None: ...
    def cell(self, cell: Cell) -> None: ...
    def epoch(self, epoch: int, epochs: int) -> None: ...
    def finished(self, cell: Cell, result: CellResult) -> None: ...
    def note(self, line: str) -> None: ...


class Nobody:
    """Hears nothing."""

    def start(self, todo: int, done: int) -> None: ...
    def cell(self, cell: Cell) -> None: ...
    def epoch(self, epoch: int, epochs: int) -> None: ...
    def finished(self, cell: Cell, result: CellResult) -> None: ...
    def note(self, line: str) -> None: ...


@dataclass(frozen=True)
class RunReport:
    """How a run ended.

    Attributes:
        ran: cells computed now; done: cells that were there already.
        failed: listed or member cells whose result is a failure, with their reasons.
        listed: cells of the whole suite, `there` of which have a result; None where the data of a part that was not
            asked for are not here.
        complete: every cell of the whole suite has a result.
        left_out: why other datasets of the suite could not be read; empty where they could.
        table: the file that was written, or None where nothing has finished.
        outdated: stored cells of other inputs, which no table can use any more.
    """

    suite: str
    ran: int
    done: int
    failed: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    there: int
    listed: int | None
    complete: bool
    table: Path | None
    left_out: str = ""
    notes: tuple[str, ...] = ()
    outdated: int = 0


@dataclass(frozen=True)
class Wanted:
    """Which of a plan's cells are to be computed: those that have no result, at most `limit`.

    Attributes:
        retry_failed: those that failed, too.
        rerun: all.
    """

    limit: int | None = None
    retry_failed: bool = False
    rerun: bool = False

    def done(self, cell: Cell, store: Store, registry: Registry) -> bool:
        record = store.finished(cell, versions(registry))
        return not self.rerun and record is not None and not (self.retry_failed and record["status"] == "failed")


def compute(
    plan: Plan,
    store: Store,
    work: Work,
    executor: Executor,
    retries: int,
    wanted: Wanted,
    live: Live | None,
    reporter: Reporter,
) -> int:
    """Run what is wanted; a finished cell is stored before anything else happens to it.

    Returns:
        how many cells ran.
    """
    todo = plan.todo()
    for line in set_aside(store, (cell.key for cell in todo)):
        reporter.note(line)
    waiting = [cell for cell in todo if not wanted.done(cell, store, work.bench.registry)]
    chosen = waiting[: wanted.limit]  # members stand first, so a cut leaves none out

    def sink(cell: Cell, result: CellResult) -> None:
        store.write(result)
        if live:
            for row in (c for c in plan.listed if c.key == cell.key):
                live.cell(row, result)
        reporter.finished(cell, result)

    reporter.start(len(chosen), len(todo) - len(waiting))
    Driver(executor, store, retries, sink=sink, begin=reporter.cell, tell=reporter.note).run(chosen, work)
    return len(chosen)


def finish(whole: Plan | None, plan: Plan, store: Store, bench: Workbench, ran: int, left_out: str = "") -> RunReport:
    """Write the tables of what there is; the full ones whenever the whole suite has finished.

    Args:
        whole: the whole suite; None where its data are not all here (`left_out` says why).
        plan: what was asked for.
    """
    current = versions(bench.registry)
    of_suite = None if whole is None else whole.todo()
    there = sum(store.finished(c, current) is not None for c in of_suite or ())
    complete = of_suite is not None and there == len(of_suite)
    full = write_tables(whole, store, bench, "table") if whole is not None and complete else None
    narrowed = whole is None or plan.suite != whole.suite
    shown = full if full and not narrowed else write_tables(plan, store, bench, "table.partial")
    cells = {c.key: c for c in plan.todo()}
    records = {key: record for key, c in cells.items() if (record := store.finished(c, current)) is not None}
    return RunReport(
        suite=plan.suite.name,
        ran=ran,
        done=len(records) - ran,
        failed=tuple((cells[k].label, r["reason"]) for k, r in records.items() if r["status"] == "failed"),
        skipped=tuple(dict.fromkeys((_row_label(c), c.skip) for c in plan.listed if c.skip)),
        there=there,
        listed=None if of_suite is None else len(of_suite),
        complete=complete,
        table=shown,
        left_out=left_out,
    )


def _row_label(cell: Cell) -> str:
    return " · ".join(part for part in cell.row if part != BASE)
