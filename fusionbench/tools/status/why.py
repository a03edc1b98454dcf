"""Why a cell is where it is: its result, its failure, or the inputs that changed since it was computed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError, SuiteError, did_you_mean
from fusionbench.core.registry import Registry
from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store, suites_under
from fusionbench.suites.cell import Cell
from fusionbench.suites.suite import BASE
from fusionbench.tools.find_cell import CellKey
from fusionbench.tools.planning import PlannedSuite, plan_readable
from fusionbench.tools.status.diff import Change
from fusionbench.tools.status.status import changed_inputs, most_similar, scored_by_others
from fusionbench.tools.status.stored import StoredCell, StoredCells, read_cells, running_now


@dataclass(frozen=True)
class CellSelector:
    """Names a cell by suite, dataset, model, modalities, fold, repeat and variant."""

    suite: str
    dataset: str
    model: str
    modalities: str
    fold: int
    repeat: int = 0
    variant: str = BASE


@dataclass(frozen=True)
class CellReport:
    """The state of one cell, and the reasons for it.

    Attributes:
        state: done, running, failed, to score, stale, damaged, to do, skipped, or other: a stored cell that the suite
            as it is now does not ask for.
        folder: of the stored result that the answer is about; None where there is none.
        changes: inputs that differ between the stored result (old) and the cell as it is planned now (new).
        reason: of a failure, a skip or damage; who computes a running cell.
        raised_at: file, line and function in which a failure was raised.
        scores: pattern, metric, value or why it is undefined.
        advice: what to do; empty where there is nothing to do.
    """

    suite: str
    label: str
    key: str
    state: str
    folder: Path | None
    changes: tuple[Change, ...] = ()
    reason: str = ""
    raised_at: str = ""
    scores: tuple[str, ...] = ()
    advice: str = ""


def parse_selector(words: Sequence[str], repeat: int, variant: str) -> CellSelector | str:
    """The cell that the arguments of `fusionbench why` name: a key (one word), or a selector (five words).

    Raises:
        SuiteError: the words are neither.
    """
    if len(words) == 1:
        return words[0]
    if len(words) != 5 or not re.fullmatch(r"\d{1,6}", words[4]):
        raise SuiteError(
            f"cannot read {' '.join(words)!r} as a cell: write a key, SUITE/KEY, or SUITE DATASET MODEL "
            "MODALITIES FOLD, such as quickstart synthetic cox vector+bag 0"
        )
    suite, dataset, model, modalities, fold = words
    return CellSelector(suite, dataset, model, modalities, int(fold), repeat, variant)


_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$', re.MULTILINE)


def why_key(text: str, out: Path, resources: SharedResources) -> CellReport:
    """The report of the cell whose key is `text` or begins with it, in any suite that was run under `out`.

    Args:
        text: KEY, or SUITE/KEY for one suite.

    Raises:
        ResultsError: `text` is not a key, or no cell or several have such a key.
        SuiteError, DataError: see `plan_readable`.
    """
    key = CellKey.parse(text)
    found = key.stored(out) or list(_planned(key, out, resources))
    name, whole = key.only(found, out)
    planned = plan_readable(name, out, resources)
    return _report_key(whole, planned, read_cells(planned.store), resources.registry)


def _planned(key: CellKey, out: Path, resources: SharedResources) -> Iterator[tuple[str, str]]:
    """Suite and key of each planned cell that a key names, in the suites that were run."""
    names = [key.suite] if key.suite else suites_under(out)
    for name in names:
        cells = plan_readable(name, out, resources).plan.todo()
        yield from ((name, cell.key) for cell in cells if cell.key.startswith(key.start))


def why_selected(selector: CellSelector, out: Path, resources: SharedResources) -> CellReport:
    """The report of the cell that a selector names.

    Raises:
        SuiteError: the suite has no such cell; says what there is.
    """
    planned = plan_readable(selector.suite, out, resources)
    cells, models = planned.plan.cells, (selector.dataset, selector.model)
    for name, value, had in (
        ("dataset", selector.dataset, [c.row[0] for c in cells]),
        ("model", selector.model, [c.row[1] for c in cells if c.row[0] == selector.dataset]),
        (
            "modalities",
            selector.modalities,
            [c.row[2] for c in cells if c.row[:2] == models],
        ),
        ("variant", selector.variant, [c.variant for c in cells]),
    ):
        if value not in had:
            raise SuiteError(f"{planned.suite.name}: {did_you_mean(name, value, set(had))}")
    row = (selector.dataset, selector.model, selector.modalities, selector.variant)
    here = [c for c in cells if c.row == row]
    cell = next((c for c in here if (c.repeat, c.fold) == (selector.repeat, selector.fold)), None)
    if cell is None:
        shown = sorted({(c.repeat, c.fold) for c in here})
        last = f"the last of {len(shown)} is repeat {shown[-1][0]} fold {shown[-1][1]}" if shown else "it has none"
        raise SuiteError(
            f"{planned.suite.name}: {' · '.join(row[:3])} has no repeat {selector.repeat} fold {selector.fold}; {last}"
        )
    stored = read_cells(planned.store)
    if cell.skip:
        return CellReport(planned.suite.name, cell.label, cell.key, "skipped", None, reason=cell.skip)
    return _report_cell(cell, planned, stored, resources.registry)


def _report_key(key: str, planned: PlannedSuite, cells: StoredCells, registry: Registry) -> CellReport:
    for cell in planned.plan.todo():
        if cell.key == key:
            return _report_cell(cell, planned, cells, registry)
    folder = planned.store.cells / key
    if key in cells.damaged:
        run = planned.run_command
        return CellReport(planned.suite.name, key, key, "damaged", folder, reason=cells.damaged[key], advice=run)
    stored = cells.readable[key]
    now = next((c for c in planned.plan.todo() if c.position == stored.position), None)
    if now is None:
        reason = "the current suite has no cell with this row, repeat, fold and seed"
        return _report_stored(planned, stored, "other", stored.label, reason=reason)
    changed = changed_inputs(stored, now)
    advice = f"the current cell is {now.key}; compute it with: {planned.run_command}"
    if now.key in cells.readable:
        advice = f"the current cell is {now.key}, which has a result; the table uses that one"
    return _report_stored(
        planned, stored, "stale", now.label, _with_members(changed, stored, now, planned.store), advice=advice
    )


def _report_cell(cell: Cell, planned: PlannedSuite, cells: StoredCells, registry: Registry) -> CellReport:
    """The report of a planned cell that is not skipped."""
    suite, label, key = planned.suite.name, cell.label, cell.key
    run = planned.run_command
    running = running_now(planned.store)
    if key in running.cells:
        return CellReport(suite, label, key, "running", None, reason=running.cells[key])
    if key in cells.damaged:
        folder = planned.store.cells / key
        return CellReport(suite, label, key, "damaged", folder, reason=cells.damaged[key], advice=run)
    stored = cells.readable.get(key)
    if stored is None:
        return _report_missing(cell, planned, cells, running.lost.get(key, ""))
    if stored.status == "failed":
        return _report_stored(planned, stored, "failed", label, reason=stored.reason, advice=f"{run} --retry failed")
    other = scored_by_others(cell, stored, registry)
    try:
        planned.store.load(key)
    except ResultsError as error:  # `status` checks only the ends of the files, `why` reads them whole
        return CellReport(suite, label, key, "damaged", planned.store.cells / key, reason=str(error), advice=run)
    return (
        _report_stored(planned, stored, "to score", label, other, advice=run)
        if other
        else _report_stored(planned, stored, "done", label)
    )


def _report_missing(cell: Cell, planned: PlannedSuite, cells: StoredCells, lost: str) -> CellReport:
    run = planned.run_command
    here = [s for s in cells.readable.values() if s.position == cell.position]
    before = most_similar((s for s in here if s.seed == cell.seed), cell)
    if before is None:
        reason = lost or "it has never been run"
        return CellReport(planned.suite.name, cell.label, cell.key, "to do", None, reason=reason, advice=run)
    changed = _with_members(changed_inputs(before, cell), before, cell, planned.store)
    found = _report_stored(planned, before, "stale", cell.label, changed, advice=run)
    return CellReport(**{**vars(found), "key": cell.key, "reason": lost, "scores": ()})


def _with_members(changed: Sequence[Change], before: StoredCell, cell: Cell, store: Store) -> tuple[Change, ...]:
    """`changed` with one entry for each member whose key changed; `why` of that key says which inputs did."""
    old = [str(key) for key in before.ingredients.get("members", ())]
    if len(old) != len(cell.members):
        return tuple(changed)
    mine = [
        Change(
            f"member {m.model} on {'+'.join(m.modalities)}",
            was,
            f"{key} ({command(store.root, 'why', f'{store.suite}/{key}')})",
        )
        for (m, key), was in zip(cell.members, old, strict=True)
        if was != key
    ]
    return (*(c for c in changed if c.what != "members"), *mine)


def _report_stored(
    planned: PlannedSuite,
    stored: StoredCell,
    state: str,
    label: str,
    changed: Sequence[Change] = (),
    reason: str = "",
    advice: str = "",
) -> CellReport:
    return CellReport(
        suite=planned.suite.name,
        label=label,
        key=stored.key,
        state=state,
        folder=planned.store.cells / stored.key,
        changes=tuple(changed),
        reason=reason,
        raised_at=_raised_at(stored.traceback),
        scores=tuple(_score(score) for score in stored.scores),
        advice=advice,
    )


def _raised_at(traceback: str) -> str:
    frames = list(_FRAME.finditer(traceback))
    return f"{frames[-1]['file']}:{frames[-1]['line']} in {frames[-1]['name']}" if frames else ""


def _score(score: Mapping[str, object]) -> str:
    value = score.get("value")
    shown = f"{value:.4f}" if isinstance(value, (int, float)) else f"undefined: {score.get('reason')}"
    return f"{score.get('pattern')} {score.get('metric')} {shown}"
