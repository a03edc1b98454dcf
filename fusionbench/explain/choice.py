"""Which stored cells answer a request: those of one row whose test fold holds the case."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from fusionbench.arrangement import JOIN
from fusionbench.cells import ORACLE, Cell, Plan
from fusionbench.errors import ResultsError, SuiteError, did_you_mean
from fusionbench.explain.request import Request
from fusionbench.store import Store
from fusionbench.suites import BASE

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Chosen:
    """A case and the cell that predicted it while it was a test case.

    Attributes:
        usual: whether it is the row that is taken where nothing but the model is named.
        rank: 1 = the highest predicted risk of its test fold.
    """

    cell: Cell
    case: str
    usual: bool
    rank: int
    of: int


def refuse_published(folder: Path, suite: str) -> None:
    """Published results are frames.

    Raises:
        ResultsError: saying how to get the weights.
    """
    if (folder / "folds.csv").is_file() and not (folder / "cells").is_dir():
        again = f"fusionbench run {shlex.quote(suite)}"
        raise ResultsError(f"{folder}: published results hold no weights, which explain needs; make some with: {again}")


def choose(plan: Plan, store: Store, request: Request) -> list[Chosen]:
    """The cases of a request, each with its cell.

    Raises:
        SuiteError: the suite has no such row, or no test fold holds the case. ResultsError: the cell is not there.
    """
    usual = _row(plan, Request(request.suite, request.model, "", dataset=request.dataset))
    row = _row(plan, request)
    if request.case is not None:
        cell = _holding(row, request.case)
        ready(store, cell, request.suite)
        risks = _test_risks(store, cell)
        return [Chosen(cell, request.case, cell in usual, _rank(risks, request.case), len(risks))]
    datasets = list(dict.fromkeys(str(c.dataset) for c in row))
    _one(datasets, "--dataset", lambda name: name, f"{request.model} ran on")
    for cell in row:
        ready(store, cell, request.suite)
    ranked = [
        (cell, id_, rank, len(risks))
        for cell in row
        for risks in [_test_risks(store, cell)]
        for id_, rank in zip(risks.index, _ranks(risks), strict=True)
    ]
    # Risks of two fitted models have no common scale: a case's place within its own test fold is what is compared.
    ranked.sort(key=lambda found: (found[2] / found[3], found[1]))
    seen: dict[str, Chosen] = {}
    for cell, id_, rank, of in ranked:
        seen.setdefault(id_, Chosen(cell, id_, cell in usual, rank, of))
    return list(seen.values())[: request.top_risk]


def _row(plan: Plan, request: Request) -> list[Cell]:
    """The cells of one model, modality set, variant and repeat; of several datasets where none is named."""
    cells = [c for c in plan.listed if c.model.name != ORACLE]
    exact = [c for c in cells if str(c.model) == request.model]
    cells = exact or cells
    _one([str(c.model) for c in cells], "--model", lambda name: name, "this suite has")
    taken = [c for c in cells if not c.skip]
    if not taken:
        raise SuiteError(f"{request.model} runs nowhere in this suite: {cells[0].skip}")
    cells = _of_modalities(cells, taken, request)
    cells = _of_variant(cells, request)
    repeats = sorted({c.repeat for c in cells})
    if request.repeat not in repeats:
        raise SuiteError(f"--repeat {request.repeat}: this run has repeats {repeats[0]} to {repeats[-1]}")
    return [c for c in cells if c.repeat == request.repeat]


def _of_modalities(cells: Sequence[Cell], taken: Sequence[Cell], request: Request) -> list[Cell]:
    if request.modalities:
        wanted = {part for name in request.modalities for part in name.split("+")}
        same = [c for c in cells if _parts(c) == wanted]
        if not same:
            raise SuiteError(did_you_mean("modality set", "+".join(request.modalities), {_set(c) for c in taken}))
        if all(c.skip for c in same):
            raise SuiteError(f"{request.model} was skipped on {'+'.join(request.modalities)}: {same[0].skip}")
        return [c for c in same if not c.skip]
    largest = {str(c.dataset): max((_parts(d) for d in taken if d.dataset == c.dataset), key=len) for c in taken}
    return [c for c in taken if _parts(c) == largest[str(c.dataset)]]


def _parts(cell: Cell) -> set[str]:
    """The modalities as the suite names them; a protocol may have joined some."""
    return {part for name in cell.modalities for part in name.split(JOIN)}


def _set(cell: Cell) -> str:
    return "+".join(part for name in cell.modalities for part in name.split(JOIN))


def _of_variant(cells: Sequence[Cell], request: Request) -> list[Cell]:
    names = list(dict.fromkeys(c.variant for c in cells))
    wanted = request.variant or (BASE if BASE in names else None)
    if wanted is None:
        wanted = _one(names, "--variant", lambda name: name, "this row has variants")
    if wanted not in names:
        raise SuiteError(did_you_mean("variant", wanted, names))
    return [c for c in cells if c.variant == wanted]


def _one(found: Sequence[K], flag: str, shown: Callable[[K], str], what: str) -> K:
    """The only one.

    Raises:
        SuiteError: there are several; says which, and the flag that tells.
    """
    names = list(dict.fromkeys(found))
    if len(names) > 1:
        raise SuiteError(f"{what} {', '.join(map(shown, names))}: say which with {flag}")
    return names[0]


def _holding(row: Sequence[Cell], case: str) -> Cell:
    """The first cell whose test fold holds the case."""
    holding = [c for c in row if case in c.split.test]
    if not holding:
        tested = sorted({id_ for c in row for id_ in c.split.test})
        near = get_close_matches(case, tested, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        known = any(case in (*c.split.train, *c.split.val) for c in row)
        why = "is in no test fold" if known else "is no case of this row"
        raise SuiteError(
            f"case {case!r} {why}; {hint}There are {len(tested)} test cases, {tested[0]!r} to {tested[-1]!r}"
        )
    _one([str(c.dataset) for c in holding], "--dataset", lambda name: name, f"case {case!r} is in")
    return holding[0]


def ready(store: Store, cell: Cell, suite: str) -> None:
    """Whether a cell is stored as the suite wants it now.

    Raises:
        ResultsError: it has not run, has failed, or what is stored was made otherwise; says what to do.
    """
    again = f"fusionbench run {shlex.quote(suite)} --out {shlex.quote(str(store.root))}"
    if not store.has(cell.key):
        keys = store.keys()
        stale = any(_place(store, key) == cell.place for key in keys)
        why = "is stale: it was made with other options, data or versions" if stale else "has not run"
        raise ResultsError(f"{cell.label} {why}; run it with: {again}")
    record = store.record(cell.key)
    if record["status"] != "ok":
        raise ResultsError(f"{cell.label} {record['status']}: {record['reason']}; run it with: {again} --retry failed")


def _place(store: Store, key: str) -> dict[str, object]:
    about = store.record(key)["record"].get("cell", {})
    return {name: about.get(name) for name in ("dataset", "model", "modalities", "variant", "repeat", "fold")}


def _test_risks(store: Store, cell: Cell) -> pd.Series[float]:
    """Case to the risk that the cell gave it in its complete test fold."""
    stored = store.predictions(cell.key)
    own = stored[(stored["split"] == "test") & (stored["pattern"] == "full") & (stored["draw"] == 0)]
    return own.set_index("case")["risk"].astype(np.float64)


def _ranks(risks: pd.Series[float]) -> list[int]:
    return [int(rank) for rank in risks.rank(ascending=False, method="min")]


def _rank(risks: pd.Series[float], case: str) -> int:
    ranks: dict[str, int] = dict(zip(risks.index, _ranks(risks), strict=True))
    return ranks[case]
