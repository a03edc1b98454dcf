"""How far a suite is: each of its cells done, running, failed, stale, damaged or to do; what else lies beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fusionbench.core.registry import Registry
from fusionbench.suites.cell import Cell
from fusionbench.suites.lock import suite_in_lock
from fusionbench.tools.planning import PlannedSuite
from fusionbench.tools.status.diff import Change, changes
from fusionbench.tools.status.left import seconds_left
from fusionbench.tools.status.outdated import outdated_cells
from fusionbench.tools.status.stored import Cells, Place, Stored, place_of

State = Literal["done", "running", "failed", "stale", "damaged", "to do"]
STATES: tuple[State, ...] = ("done", "running", "failed", "stale", "damaged", "to do")
_CHANGED = ("name", "title", "reference", "claims", "counts")
"""Keys of a suite that no cell depends on."""


@dataclass(frozen=True)
class Row:
    """A cell of the plan and its state.

    Attributes:
        key: of the cell as it is planned now.
        reason: of a failure, of damage, or what changed since a stale result was made; else empty.
        old: the stored cell that it would replace; empty where there is none.
    """

    key: str
    label: str
    state: State
    reason: str = ""
    old: str = ""


@dataclass(frozen=True)
class Status:
    """How far a suite is.

    Attributes:
        rows: every cell that runs, members included, each once.
        skipped: (row, reason, cells) of what a model cannot take.
        seconds_left: estimate for the cells that are not done, in one process; None where nothing has finished yet.
        outdated: stored cells that no table can use any more: their place has other inputs now, or a plugin changed.
        extra: how many stored cells belong to no cell of the plan and are in order: rows, repeats or seeds that were
            asked for on the command line, or parts of the suite that cannot be read here.
        suite_changes: keys of the suite that differ from its last run.
        unread: dataset to why its cells cannot be planned here.
    """

    suite: str
    rows: tuple[Row, ...]
    skipped: tuple[tuple[str, str, int], ...]
    seconds_left: float | None
    outdated: tuple[Stored, ...]
    extra: int
    suite_changes: tuple[str, ...]
    unread: Mapping[str, str]

    def count(self, state: State) -> int:
        """How many cells are in a state."""
        return sum(row.state == state for row in self.rows)

    @property
    def failed(self) -> bool:
        """Whether any cell has failed."""
        return any(row.state == "failed" for row in self.rows)


Running = Mapping[str, str]
"""Key of a cell that is being computed to who computes it since when."""


def status(planned: PlannedSuite, cells: Cells, registry: Registry, running: Running) -> Status:
    """The state of every cell that a suite asks for, from what is stored."""
    todo = planned.plan.todo()
    old = _by_place(planned, cells)
    rows = tuple(_row(cell, cells, registry, running, old) for cell in todo)
    outdated = outdated_cells(planned, cells, registry)
    known = {c.key for c in todo} | {stored.key for stored in outdated}
    skips: dict[tuple[str, str], int] = defaultdict(int)
    for cell in planned.plan.listed:
        if cell.skip:
            skips[" · ".join(cell.row[:3]), cell.skip] += 1
    return Status(
        suite=planned.suite.name,
        rows=rows,
        skipped=tuple((row, reason, n) for (row, reason), n in skips.items()),
        seconds_left=seconds_left(todo, [row.state in ("done", "failed") for row in rows], cells),
        outdated=outdated,
        extra=len(cells.readable.keys() - known),
        suite_changes=tuple(map(str, suite_changes(planned))),
        unread=planned.unread,
    )


def _by_place(planned: PlannedSuite, cells: Cells) -> dict[Place, Stored]:
    """The youngest stored cell of each place under the plan's seed whose key is not planned."""
    wanted = {cell.key for cell in planned.plan.todo()}
    found: dict[Place, Stored] = {}
    for stored in sorted(cells.readable.values(), key=lambda s: s.written):
        if stored.key not in wanted and stored.seed == planned.suite.seed:
            found[stored.place] = stored
    return found


def _row(cell: Cell, cells: Cells, registry: Registry, running: Running, old: Mapping[Place, Stored]) -> Row:
    stored = cells.readable.get(cell.key)
    if cell.key in running and (stored is None or stored.status == "failed"):
        return Row(cell.key, cell.label, "running", running[cell.key])
    if cell.key in cells.damaged:
        return Row(cell.key, cell.label, "damaged", cells.damaged[cell.key])
    if stored is not None and stored.status == "failed":
        return Row(cell.key, cell.label, "failed", stored.reason)
    if stored is not None:
        other = scored_by_others(cell, stored, registry)
        return Row(cell.key, cell.label, "stale" if other else "done", in_words(other), stored.key if other else "")
    before = old.get(place_of(cell))
    if before is None:
        return Row(cell.key, cell.label, "to do")
    return Row(cell.key, cell.label, "stale", in_words(changed_inputs(before, cell)), before.key)


def scored_by_others(cell: Cell, stored: Stored, registry: Registry) -> tuple[Change, ...]:
    """Metrics whose version is another one than that which scored a cell."""
    now = {name: registry.metric(name).version for name in cell.metrics}
    then = {name: stored.metrics.get(name, "not scored") for name in cell.metrics}
    return tuple(Change(f"metric {name}", then[name], now[name]) for name in now if then[name] != now[name])


def changed_inputs(before: Stored, cell: Cell) -> tuple[Change, ...]:
    """What differs between a stored cell and the planned cell of its place."""
    if not before.ingredients:
        return (Change("inputs", "not recorded with this failure", "as planned"),)
    return changes(before.ingredients, cell.ingredients)


def in_words(of: Iterable[Change]) -> str:
    """Changes as one line."""
    return "; ".join(map(str, of))


def suite_changes(planned: PlannedSuite) -> tuple[Change, ...]:
    """The keys of a suite whose value differs from that of its last run."""
    if not planned.lock:
        return ()

    def kept(suite: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in suite.items() if key not in _CHANGED}

    return changes(kept(planned.lock["suite"]), kept(suite_in_lock(planned.suite)))
