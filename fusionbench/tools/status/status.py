"""How far a suite is: the state of each of its cells, and what else lies beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry
from fusionbench.suites.cell import Cell, CellPosition
from fusionbench.suites.lock import suite_in_lock
from fusionbench.tools.planning import PlannedSuite
from fusionbench.tools.status.diff import Change, diff
from fusionbench.tools.status.outdated import outdated_cells, uninstalled_cells
from fusionbench.tools.status.stored import StoredCell, StoredCells

NOT_SCORED = "not scored"
"""Stands for the version of a metric that has not scored a cell."""

CellState = Literal["done", "running", "failed", "to score", "stale", "damaged", "to do"]
STATES: tuple[CellState, ...] = ("done", "running", "failed", "to score", "stale", "damaged", "to do")
_NO_INPUTS = ("name", "title", "reference", "claims", "counts")
"""Keys of a suite that no cell depends on."""


@dataclass(frozen=True)
class CellStatus:
    """A cell of the plan and its state.

    Attributes:
        key: of the cell as it is planned now.
        reason: of a failure, of damage, or what changed since a stale result was made; else empty.
        old: the stored cell that it would replace; empty where there is none.
    """

    key: str
    label: str
    state: CellState
    reason: str = ""
    old: str = ""


@dataclass(frozen=True)
class Status:
    """How far a suite is.

    Attributes:
        called: what a command calls it; see `PlannedSuite`.
        rows: every cell that runs, members included, each once.
        skipped: (row, reason, cells) of what a model cannot take.
        seconds_left: estimate for the cells that are not done, in one process; None where nothing has finished yet.
        outdated: stored cells that no table can use any more: the planned cell has other inputs, or a plugin
            changed.
        extra: how many stored cells belong to no cell of the plan and are undamaged: rows, repeats or seeds that were
            asked for on the command line, or parts of the suite that cannot be read here.
        kept: how many stored cells are of a plugin that is not installed here, or broken; never outdated.
        uninstalled: model of the last run that is not installed to the distribution that brought it.
        suite_changes: keys of the suite that differ from its last run.
        unread: dataset to why its cells cannot be planned here.
    """

    suite: str
    called: str
    rows: tuple[CellStatus, ...]
    skipped: tuple[tuple[str, str, int], ...]
    seconds_left: float | None
    outdated: tuple[StoredCell, ...]
    extra: int
    kept: int
    uninstalled: Mapping[str, str]
    suite_changes: tuple[str, ...]
    unread: Mapping[str, str]

    def count(self, state: CellState) -> int:
        """How many cells are in a state."""
        return sum(row.state == state for row in self.rows)

    @property
    def failed(self) -> bool:
        """Whether any cell has failed."""
        return any(row.state == "failed" for row in self.rows)


RunningCells = Mapping[str, str]
"""Key of a cell that is being computed to who computes it since when."""


def status(planned: PlannedSuite, cells: StoredCells, registry: Registry, running: RunningCells) -> Status:
    """The state of every cell that a suite asks for, from what is stored."""
    todo = planned.plan.todo()
    old = _by_position(planned, cells)
    rows = tuple(_row(cell, cells, registry, running, old) for cell in todo)
    outdated = outdated_cells(planned, cells, registry)
    uninstalled = {stored.key for stored in uninstalled_cells(cells, registry)}
    known = {c.key for c in todo} | {stored.key for stored in outdated} | uninstalled
    skips: dict[tuple[str, str], int] = defaultdict(int)
    for cell in planned.plan.listed:
        if cell.skip:
            skips[" · ".join(cell.row[:3]), cell.skip] += 1
    return Status(
        suite=planned.suite.name,
        called=planned.called,
        rows=rows,
        skipped=tuple((row, reason, n) for (row, reason), n in skips.items()),
        seconds_left=seconds_left(
            [cell for cell, row in zip(todo, rows, strict=True) if row.state not in ("done", "failed")],
            [stored for stored in cells.readable.values() if stored.status == "ok"],
        ),
        outdated=outdated,
        extra=len(cells.readable.keys() - known),
        kept=len(uninstalled),
        uninstalled=planned.uninstalled,
        suite_changes=tuple(map(str, suite_changes(planned))),
        unread=planned.unread,
    )


def _by_position(planned: PlannedSuite, cells: StoredCells) -> dict[CellPosition, list[StoredCell]]:
    """The stored cells of each place under the plan's seed whose keys are not planned."""
    wanted = {cell.key for cell in planned.plan.todo()}
    found: dict[CellPosition, list[StoredCell]] = defaultdict(list)
    for stored in cells.readable.values():
        if stored.key not in wanted and stored.seed == planned.suite.seed:
            found[stored.position].append(stored)
    return found


def most_similar(stored: Iterable[StoredCell], cell: Cell) -> StoredCell | None:
    """The stored cell from which a planned one differs in the fewest inputs; None where there is none."""
    return min(stored, key=lambda s: (not s.ingredients, len(changed_inputs(s, cell)), s.key), default=None)


def _row(
    cell: Cell,
    cells: StoredCells,
    registry: Registry,
    running: RunningCells,
    old: Mapping[CellPosition, Sequence[StoredCell]],
) -> CellStatus:
    stored = cells.readable.get(cell.key)
    if cell.key in running and (stored is None or stored.status == "failed"):
        return CellStatus(cell.key, cell.label, "running", running[cell.key])
    if cell.key in cells.damaged:
        return CellStatus(cell.key, cell.label, "damaged", cells.damaged[cell.key])
    if stored is not None and stored.status == "failed":
        return CellStatus(cell.key, cell.label, "failed", stored.reason)
    if stored is not None:
        other = scored_by_others(cell, stored, registry)
        if not other:
            return CellStatus(cell.key, cell.label, "done")
        reason = "; ".join(f"lacks {of.what}" if of.old == NOT_SCORED else str(of) for of in other)
        return CellStatus(cell.key, cell.label, "to score", reason, stored.key)
    before = most_similar(old.get(cell.position, ()), cell)
    if before is None:
        return CellStatus(cell.key, cell.label, "to do")
    return CellStatus(cell.key, cell.label, "stale", format_changes(changed_inputs(before, cell)), before.key)


def scored_by_others(cell: Cell, stored: StoredCell, registry: Registry) -> tuple[Change, ...]:
    """Metrics that have not scored a cell, and those of which another version has."""
    now = {name: registry.metric(name).version for name in cell.metrics}
    then = {name: stored.metrics.get(name, NOT_SCORED) for name in cell.metrics}
    return tuple(Change(f"metric {name}", then[name], now[name]) for name in now if then[name] != now[name])


def changed_inputs(before: StoredCell, cell: Cell) -> tuple[Change, ...]:
    """What differs between a stored cell and the planned cell of its place."""
    if not before.ingredients:
        return (Change("inputs", "not recorded with this failure", "as planned"),)
    return diff(before.ingredients, cell.ingredients)


def format_changes(changes: Iterable[Change]) -> str:
    """Changes as one line."""
    return "; ".join(map(str, changes))


def suite_changes(planned: PlannedSuite) -> tuple[Change, ...]:
    """The keys of a suite whose value differs from that of its last run."""
    if not planned.lock:
        return ()

    def kept(suite: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in suite.items() if key not in _NO_INPUTS}

    return diff(kept(planned.lock["suite"]), kept(suite_in_lock(planned.suite)))


def seconds_left(todo: Sequence[Cell], finished: Sequence[StoredCell]) -> float | None:
    """Estimated seconds to compute cells, in one process: the mean over the most similar finished cells.

    Returns:
        None where nothing similar has finished.
    """
    # From the most to the least similar: the same dataset, model and modalities; ... ; any cell at all.
    groups: tuple[Callable[[Sequence[Any]], tuple[Any, ...]], ...] = (
        lambda row: (*row[:3],),
        lambda row: (*row[:2],),
        lambda row: (PluginRef.parse(row[1]).name,),
        lambda row: (),
    )
    means = [_mean_seconds(finished, group) for group in groups]
    total = 0.0
    for cell in todo:
        estimates = (mean.get(group(cell.row)) for group, mean in zip(groups, means, strict=True))
        seconds = next((estimate for estimate in estimates if estimate is not None), None)
        if seconds is None:
            return None
        total += seconds
    return total


def _mean_seconds(
    finished: Sequence[StoredCell], group: Callable[[Sequence[Any]], tuple[Any, ...]]
) -> dict[tuple[Any, ...], float]:
    seconds: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for stored in finished:
        seconds[group(stored.position)].append(stored.seconds)
    return {key: fmean(values) for key, values in seconds.items()}
