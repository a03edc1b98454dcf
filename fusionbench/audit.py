"""What a suite's written results prove about its protocol, one line a rule.

pass; DECLARED (a rule that the protocol switches off, counted); BREACH. A declared deviation is never called a pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fusionbench.cells import Cell, Plan
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


def audit(plan: Plan, store: Store, cohorts: Mapping[str, Cohort]) -> Audit:
    """Read every finished cell and hold it against the protocol."""
    cells = [c for c in plan.todo() if store.has(c.key) and store.record(c.key)["status"] == "ok"]
    lines = (
        _ledgers(cells, store),
        _groups(plan, cohorts),
        _splits(plan),
        _coverage(cells, store),
        _degenerate(cells, store),
    )
    return Audit(plan.suite.name, lines)


def _line(rule: str, offenders: list[str], counted: str) -> Line:
    if offenders:
        return Line(rule, "BREACH", f"{len(offenders)} of {counted}; first: {offenders[0]}")
    return Line(rule, "pass", counted)


def _ledgers(cells: list[Cell], store: Store) -> Line:
    """Fitted preprocessing has seen training ids only."""
    offenders, states = [], 0
    for cell in cells:
        state = json.loads((store.cells / cell.key / PREPROCESS).read_text(encoding="utf-8"))
        for name, part in state.items():
            states += 1
            foreign = set(part["ledger"]) - set(cell.split.train)
            if foreign:
                offenders.append(f"{cell.label}: {name} saw {sorted(foreign)[0]!r}")
    return _line("fitted states saw training cases only", offenders, f"{states} fitted states")


def _groups(plan: Plan, cohorts: Mapping[str, Cohort]) -> Line:
    """No patient (or site) stands on two sides of a split."""
    offenders, folds = [], {(str(c.dataset), c.variant, c.repeat, c.fold): c for c in plan.listed}
    for (dataset, _, repeat, fold), cell in folds.items():
        group = {case.id: case.group for case in cohorts[dataset].cases}
        parts = [{group[i] for i in ids} for ids in (cell.split.train, cell.split.val, cell.split.test)]
        both = (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
        offenders += [f"{dataset} repeat {repeat} fold {fold}: {g!r}" for g in sorted(both)[:1]]
    return _line("groups stand on one side of a split", offenders, f"{len(folds)} folds")


def _splits(plan: Plan) -> Line:
    """Every model of a fold was given the same split."""
    seen: dict[tuple[str, str, int, int], set[str]] = {}
    for cell in plan.listed:
        seen.setdefault((str(cell.dataset), cell.variant, cell.repeat, cell.fold), set()).add(fold_hash(cell.split))
    offenders = [str(place) for place, hashes in seen.items() if len(hashes) > 1]
    return _line("all models share a fold's split", offenders, f"{len(seen)} folds")


def _tested(cells: list[Cell], store: Store) -> Iterator[tuple[Cell, set[str], int]]:
    for cell in cells:
        frame = store.predictions(cell.key)
        full = frame[(frame["split"] == "test") & (frame["pattern"] == "full")]
        yield cell, set(full["case"]), len(np.unique(full["risk"]))


def _coverage(cells: list[Cell], store: Store) -> Line:
    """Every test case of a fold has a prediction, and no other case has."""
    offenders = [cell.label for cell, ids, _ in _tested(cells, store) if ids != set(cell.split.test)]
    return _line("exactly the test cases were predicted", offenders, f"{len(cells)} cells")


def _degenerate(cells: list[Cell], store: Store) -> Line:
    """A fold's risks take at least three values."""
    offenders = [cell.label for cell, _, distinct in _tested(cells, store) if distinct < FEW_RISKS]
    return _line(f"at least {FEW_RISKS} distinct risks in a fold", offenders, f"{len(cells)} cells")
