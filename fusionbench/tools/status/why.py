"""Why a cell is where it is: its result, its failure, or which input changed against the stored result of its place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError, SuiteError, did_you_mean
from fusionbench.core.registry import Registry
from fusionbench.execution.shared import SharedResources
from fusionbench.results.cell_files import CELL
from fusionbench.results.store import Store
from fusionbench.suites import lock as locks
from fusionbench.suites.cell import Cell
from fusionbench.tools.planning import PlannedSuite, plan_readable
from fusionbench.tools.status.asked import Answer, Wanted
from fusionbench.tools.status.diff import Change
from fusionbench.tools.status.running import running_now
from fusionbench.tools.status.status import changed_inputs, scored_by_others
from fusionbench.tools.status.stored import Cells, Stored, place_of, read_cell, read_cells

FEWEST = 4
"""Letters of a key that say which one is meant."""
_KEY = re.compile(rf"[0-9a-f]{{{FEWEST},20}}")
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$', re.MULTILINE)


def why_key(text: str, out: Path, resources: SharedResources) -> Answer:
    """The cell with a key, or the one whose key begins so, of any suite that was run under `out`.

    Raises:
        SuiteError: no key, none or several begin so. ResultsError, DataError: see `plan_readable`.
    """
    if not _KEY.fullmatch(text):
        raise SuiteError(
            f"{text!r} is no cell key: write {FEWEST} to 20 digits of one, 0-9 and a-f, or "
            "SUITE DATASET MODEL MODALITIES FOLD"
        )
    names = sorted(path.parent.name for path in out.glob(f"*/{locks.LOCK}"))
    stored = [(name, path.parent.name) for name in names for path in Store(out, name).cells.glob(f"{text}*/{CELL}")]
    found = stored or [(name, key) for name in names for key in _planned_keys(name, text, out, resources)]
    if not found:
        where = f"{', '.join(names)} under {out}" if names else f"any suite: nothing has been run under {out}"
        raise SuiteError(
            f"no cell of {where} has a key that begins with {text}; keys: {command(out, 'status', 'SUITE', '--json')}"
        )
    if len(found) > 1:
        shown = ", ".join(f"{key} of {name}" for name, key in found[:4])
        raise SuiteError(f"{len(found)} cells have a key that begins with {text}: {shown}; give more digits")
    name, key = found[0]
    if name not in resources.registry.names("suites"):
        dataset, model, modalities, variant, repeat, fold = read_cell(Store(out, name), key).place
        place = (dataset, model, modalities, str(fold), "--repeat", str(repeat), "--variant", variant)
        told = command(out, "why", f"PATH/{name}.toml", *place)
        raise SuiteError(f"cell {key} is of {name}, a suite file of your own: {told}")
    of = plan_readable(name, out, resources)
    return _of_key(key, of, read_cells(of.store), resources.registry)


def _planned_keys(name: str, text: str, out: Path, resources: SharedResources) -> list[str]:
    if name not in resources.registry.names("suites"):
        return []  # a suite by path: its file may be anywhere; its stored cells were looked at
    return [cell.key for cell in plan_readable(name, out, resources).plan.todo() if cell.key.startswith(text)]


def why_place(wanted: Wanted, out: Path, resources: SharedResources) -> Answer:
    """The cell of a place.

    Raises:
        SuiteError: the suite has no such cell; says what there is.
    """
    of = plan_readable(wanted.suite, out, resources)
    cells = of.plan.cells
    for name, value, had in (
        ("dataset", wanted.dataset, [c.row[0] for c in cells]),
        ("model", wanted.model, [c.row[1] for c in cells if c.row[0] == wanted.dataset]),
        ("modalities", wanted.modalities, [c.row[2] for c in cells if c.row[:2] == (wanted.dataset, wanted.model)]),
        ("variant", wanted.variant, [c.variant for c in cells]),
    ):
        if value not in had:
            raise SuiteError(f"{of.suite.name}: {did_you_mean(name, value, set(had))}")
    row = (wanted.dataset, wanted.model, wanted.modalities, wanted.variant)
    here = [c for c in cells if c.row == row]
    cell = next((c for c in here if (c.repeat, c.fold) == (wanted.repeat, wanted.fold)), None)
    if cell is None:
        shown = sorted({(c.repeat, c.fold) for c in here})
        last = f"the last of {len(shown)} is repeat {shown[-1][0]} fold {shown[-1][1]}" if shown else "it has none"
        raise SuiteError(
            f"{of.suite.name}: {' · '.join(row[:3])} has no repeat {wanted.repeat} fold {wanted.fold}; {last}"
        )
    stored = read_cells(of.store)
    if cell.skip:
        return Answer(of.suite.name, cell.label, cell.key, "skipped", None, reason=cell.skip)
    return _of_cell(cell, of, stored, resources.registry)


def _of_key(key: str, of: PlannedSuite, cells: Cells, registry: Registry) -> Answer:
    for cell in of.plan.todo():
        if cell.key == key:
            return _of_cell(cell, of, cells, registry)
    folder = of.store.cells / key
    if key in cells.damaged:
        again = of.run
        return Answer(of.suite.name, key, key, "damaged", folder, reason=cells.damaged[key], advice=again)
    stored = cells.readable[key]
    now = next((c for c in of.plan.todo() if place_of(c) == stored.place), None)
    if now is None:
        reason = "the suite as it is now asks for no cell of this place (another row, repeat or seed was asked for)"
        return _answer(of, stored, "other", stored.label, reason=reason)
    changed = changed_inputs(stored, now)
    advice = f"the cell of this place is now {now.key}; {of.run} computes it"
    if now.key in cells.readable:
        advice = f"the cell of this place is now {now.key}, and is there; this one is in no table"
    return _answer(of, stored, "stale", now.label, _with_members(changed, stored, now, of.store.root), advice=advice)


def _of_cell(cell: Cell, of: PlannedSuite, cells: Cells, registry: Registry) -> Answer:
    """A planned cell that runs."""
    suite, label, key = of.suite.name, cell.label, cell.key
    again = of.run
    running = running_now(of.store)
    if key in running.cells:
        return Answer(suite, label, key, "running", None, reason=running.cells[key])
    if key in cells.damaged:
        folder = of.store.cells / key
        return Answer(suite, label, key, "damaged", folder, reason=cells.damaged[key], advice=again)
    stored = cells.readable.get(key)
    if stored is None:
        return _without_result(cell, of, cells, running.lost.get(key, ""))
    if stored.status == "failed":
        return _answer(of, stored, "failed", label, reason=stored.reason, advice=f"{again} --retry failed")
    other = scored_by_others(cell, stored, registry)
    try:
        of.store.load(key)
    except ResultsError as error:  # inside one of its other files; `status` looks at their ends alone
        return Answer(suite, label, key, "damaged", of.store.cells / key, reason=str(error), advice=again)
    return _answer(of, stored, "stale", label, other, advice=again) if other else _answer(of, stored, "done", label)


def _without_result(cell: Cell, of: PlannedSuite, cells: Cells, lost: str) -> Answer:
    again = of.run
    here = [s for s in cells.readable.values() if s.place == place_of(cell)]
    before = max((s for s in here if s.seed == cell.seed), key=lambda s: s.written, default=None)
    if before is None:
        reason = lost or "it has not been run with any inputs"
        return Answer(of.suite.name, cell.label, cell.key, "to do", None, reason=reason, advice=again)
    changed = _with_members(changed_inputs(before, cell), before, cell, of.store.root)
    found = _answer(of, before, "stale", cell.label, changed, advice=again)
    return Answer(**{**vars(found), "key": cell.key, "reason": lost, "scores": ()})


def _with_members(changed: Sequence[Change], before: Stored, cell: Cell, root: Path) -> tuple[Change, ...]:
    """With each member whose key changed as a line of its own, since its inputs say why."""
    old = [str(key) for key in before.ingredients.get("members", ())]
    if len(old) != len(cell.members):
        return tuple(changed)
    mine = [
        Change(f"member {m.model} on {'+'.join(m.modalities)}", was, f"{key} ({command(root, 'why', key)})")
        for (m, key), was in zip(cell.members, old, strict=True)
        if was != key
    ]
    return (*(c for c in changed if c.what != "members"), *mine)


def _answer(
    of: PlannedSuite,
    stored: Stored,
    state: str,
    label: str,
    changed: Sequence[Change] = (),
    reason: str = "",
    advice: str = "",
) -> Answer:
    return Answer(
        suite=of.suite.name,
        label=label,
        key=stored.key,
        state=state,
        folder=of.store.cells / stored.key,
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
