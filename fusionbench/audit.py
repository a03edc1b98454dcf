"""What a suite's written results prove about its protocol, one line a rule.

pass; DECLARED (a rule that the protocol switches off, counted); BREACH. A declared deviation is never called a pass.
The plan says what should be there; what is judged is what the cells left on disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from fusionbench.cells import Cell, Plan
from fusionbench.errors import ResultsError
from fusionbench.runner import FEW_RISKS
from fusionbench.splits import fold_hash
from fusionbench.store import PREPROCESS, Store

if TYPE_CHECKING:
    from fusionbench.cohort import Cohort

Verdict = Literal["pass", "DECLARED", "BREACH"]


@dataclass(frozen=True)
class Line:
    """One rule.

    Attributes:
        seen: what was counted, with the first offender where there is one.
    """

    rule: str
    verdict: Verdict
    seen: str


@dataclass(frozen=True)
class Audit:
    suite: str
    lines: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        return all(line.verdict != "BREACH" for line in self.lines)

    def to_json(self) -> str:
        return json.dumps({"suite": self.suite, "rules": [asdict(line) for line in self.lines]}, indent=1)


@dataclass(frozen=True)
class Written:
    """What one finished cell has left behind.

    Attributes:
        ledgers: modality to the ids that its preprocessing was fitted on.
        validated: ids predicted as validation cases.
        tested: (pattern, draw) to the sorted ids predicted as test cases.
        split, masks: hashes of what it was given; empty where it recorded none.
        hidden: (pattern, draw, share of modalities hidden) of every mask laid over its test fold.
        distinct: different risks on the test fold under the pattern `full`.
        trained: by the training loop.
    """

    cell: Cell
    ledgers: Mapping[str, frozenset[str]]
    validated: frozenset[str]
    tested: Mapping[tuple[str, int], tuple[str, ...]]
    split: str
    masks: str
    hidden: tuple[tuple[str, int, float], ...]
    distinct: int
    trained: bool

    @classmethod
    def of(cls, cell: Cell, record: Mapping[str, Any], store: Store) -> Written:
        frame = store.predictions(cell.key)
        test = frame[frame["split"] == "test"]
        draws = test.groupby(["pattern", "draw"], sort=False)["case"]
        given = record["record"].get("ingredients", {})
        return cls(
            cell=cell,
            ledgers={name: frozenset(part["ledger"]) for name, part in _preprocess(cell, store).items()},
            validated=frozenset(frame.loc[frame["split"] == "val", "case"]),
            tested={(str(key[0]), int(str(key[1]))): tuple(sorted(ids)) for key, ids in draws},
            split=given.get("split", ""),
            masks=given.get("masks", ""),
            hidden=tuple((p["pattern"], p["draw"], p["realised"]) for p in record["patterns"] if p["split"] == "test"),
            distinct=int(test.loc[test["pattern"] == "full", "risk"].nunique()),
            trained=record["record"].get("fit", {}).get("best_epoch") is not None,
        )


def audit(plan: Plan, store: Store, cohorts: Mapping[str, Cohort]) -> Audit:
    """Read every finished cell and hold it against the protocol.

    Raises:
        ResultsError: a file of a finished cell is missing or damaged.
    """
    records = {c.key: store.record(c.key) for c in plan.todo() if store.has(c.key)}
    cells = [Written.of(c, records[c.key], store) for c in plan.todo() if _finished(records.get(c.key))]
    # One cell may stand in several variants; it is compared within each.
    by_key = {written.cell.key: written for written in cells}
    rows = {(c.row, c.repeat, c.fold): replace(by_key[c.key], cell=c) for c in plan.cells if c.key in by_key}
    everywhere = tuple(rows.values())
    lines = (
        _ledgers(cells),
        _groups(cells, cohorts),
        _agree("all models of a fold had its split", everywhere, _fold, lambda w: w.split, _planned_split),
        _agree("all models of a fold had its masks", everywhere, _mask_place, lambda w: w.masks, _planned_masks),
        _agree("all models of a fold lost the same share of modalities", everywhere, _mask_place, lambda w: w.hidden),
        _coverage(cells),
        _degenerate(cells),
    )
    return Audit(plan.suite.name, lines)


def _finished(record: Mapping[str, Any] | None) -> bool:
    return record is not None and record["status"] == "ok"


def _preprocess(cell: Cell, store: Store) -> dict[str, Any]:
    path = store.cells / cell.key / PREPROCESS
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); remove the folder and run the suite again") from error
    return state


def _line(rule: str, offenders: Sequence[str], counted: str) -> Line:
    if offenders:
        return Line(rule, "BREACH", f"{len(offenders)} of {counted}; first: {offenders[0]}")
    return Line(rule, "pass", counted)


def _ledgers(cells: Sequence[Written]) -> Line:
    """Fitted preprocessing has seen training ids only."""
    offenders = [
        f"{written.cell.label}: {name} saw {min(foreign)!r}"
        for written in cells
        for name, ledger in written.ledgers.items()
        if (foreign := ledger - set(written.cell.split.train))
    ]
    return _line(
        "fitted states saw training cases only", offenders, f"{sum(len(w.ledgers) for w in cells)} fitted states"
    )


def _groups(cells: Sequence[Written], cohorts: Mapping[str, Cohort]) -> Line:
    """No patient (or site) was on two of the sides: fitted on, predicted as validation, predicted as test."""
    groups = {name: {case.id: case.group for case in cohort.cases} for name, cohort in cohorts.items()}
    offenders = [
        f"{written.cell.label}: {problem}"
        for written in cells
        for problem in _on_two_sides(written, groups[str(written.cell.dataset)])
    ]
    return _line("groups stand on one side of a split", offenders, f"{len(cells)} cells")


def _on_two_sides(written: Written, group: Mapping[str, str]) -> Iterator[str]:
    """At most one problem of a cell."""
    parts = {
        "preprocessing": frozenset[str]().union(*written.ledgers.values()),
        "validation": written.validated,
        "test": frozenset(i for ids in written.tested.values() for i in ids),
    }
    side_of: dict[str, str] = {}
    for side, ids in parts.items():
        for i in sorted(ids):
            if i not in group:
                yield f"case {i!r} of {side} is not of the cohort"
                return
            before = side_of.setdefault(group[i], side)
            if before != side:
                yield f"group {group[i]!r} is in {before} and in {side}"
                return


def _agree(
    rule: str,
    cells: Sequence[Written],
    place: Callable[[Written], Hashable],
    seen: Callable[[Written], Hashable],
    planned: Callable[[Written], Hashable] | None = None,
) -> Line:
    """Cells of one place recorded the same, and what was planned for them."""
    found: dict[Hashable, dict[Hashable, str]] = {}
    for written in cells:
        at = found.setdefault(place(written), {})
        if planned is not None:
            at.setdefault(planned(written), "the plan")
        at.setdefault(seen(written), written.cell.label)
    odd = [list(at.values()) for at in found.values() if len(at) > 1]
    kinds = "folds" if place is _fold else "folds of modality sets"
    return _line(rule, [f"{who[1]} differs from {who[0]}" for who in odd], f"{len(found)} {kinds}")


def _fold(written: Written) -> Hashable:
    cell = written.cell
    return str(cell.dataset), cell.variant, cell.repeat, cell.fold


def _mask_place(written: Written) -> Hashable:
    """Where masks must be the same; the true hazards are asked for the pattern `full` only."""
    return _fold(written), written.cell.modalities, written.cell.patterns


def _planned_split(written: Written) -> Hashable:
    return fold_hash(written.cell.split)


def _planned_masks(written: Written) -> Hashable:
    return str(written.cell.ingredients["masks"])


def _coverage(cells: Sequence[Written]) -> Line:
    """Every test case of a fold has one prediction under every mask, and no other case has any."""
    offenders = [
        f"{written.cell.label}: pattern {pattern}"
        for written in cells
        for pattern in written.cell.patterns
        if not _covered(written, pattern)
    ]
    return _line(
        "exactly the test cases were predicted", offenders, f"{sum(len(w.tested) for w in cells)} masked folds"
    )


def _covered(written: Written, pattern: str) -> bool:
    draws = [ids for (name, _), ids in written.tested.items() if name == pattern]
    return bool(draws) and all(ids == tuple(sorted(written.cell.split.test)) for ids in draws)


def _degenerate(cells: Sequence[Written]) -> Line:
    """A fold's risks take at least three values.

    A model trained by the loop that does not has learnt nothing: a breach. A sparse linear model may rest on one binary
    column, and a cohort's true hazards may take two values: declared, with their number.
    """
    rule = f"at least {FEW_RISKS} distinct risks in a fold"
    few = [written for written in cells if written.distinct < FEW_RISKS]
    trained = [written.cell.label for written in few if written.trained]
    if trained or not few:
        return _line(rule, trained, f"{len(cells)} cells")
    seen = f"{len(few)} of {len(cells)} cells, none of a trained network; first: {few[0].cell.label}"
    return Line(rule, "DECLARED", seen)
