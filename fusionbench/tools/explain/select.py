"""Which stored cells answer a request: those of one row whose test fold holds the case."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from fusionbench.core.errors import ResultsError, SuiteError, did_you_mean
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.data.protocol_view import JOIN
from fusionbench.report.model import FULL
from fusionbench.results.store import Store
from fusionbench.suites.cell import ORACLE, Cell, Plan
from fusionbench.suites.suite import BASE
from fusionbench.tools.explain.request import Request


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
    row, usual = row_of(plan, request)
    if request.case is not None:
        cell = _holding(row, request.case)
        ready(store, cell, request.suite)
        risks = _test_risks(store, cell)
        return [Chosen(cell, request.case, usual, _rank(risks, request.case), len(risks))]
    datasets = list(dict.fromkeys(str(c.dataset) for c in row))
    _one(datasets, "--dataset", f"{request.model} ran on")
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
        seen.setdefault(id_, Chosen(cell, id_, usual, rank, of))
    return list(seen.values())[: request.top_risk]


def row_of(plan: Plan, request: Request) -> tuple[list[Cell], bool]:
    """The cells of one model, modality set, variant and repeat, of several datasets where none is named.

    Returns:
        the cells, and whether the model alone would have named them.
    """
    cells = [c for c in plan.listed if c.model.name != ORACLE]
    wanted = str(PluginRef.parse(request.model))
    cells = [c for c in cells if str(c.model) == wanted] or cells
    _one([str(c.model) for c in cells], "--model", "this suite has")
    taken = [c for c in cells if not c.skip]
    if not taken:
        raise SuiteError(f"{request.model} runs nowhere in this suite: {cells[0].skip}")
    largest = _largest(taken)
    chosen = _of_modalities(cells, taken, request) if request.modalities else largest
    names = list(dict.fromkeys(c.variant for c in chosen))
    first = BASE if BASE in names else names[0] if len(names) == 1 else None
    variant = request.variant or first or _one(names, "--variant", "this row has variants")
    if variant not in names:
        raise SuiteError(did_you_mean("variant", variant, names))
    repeats = sorted({c.repeat for c in chosen})
    if request.repeat not in repeats:
        raise SuiteError(f"--repeat {request.repeat}: this run has repeats {repeats[0]} to {repeats[-1]}")
    row = [c for c in chosen if (c.variant, c.repeat) == (variant, request.repeat)]
    usual = variant == first and request.repeat == repeats[0] and all(c in largest for c in row)
    return row, usual


def _of_modalities(cells: Sequence[Cell], taken: Sequence[Cell], request: Request) -> list[Cell]:
    wanted = {part for name in request.modalities for part in name.split("+")}
    same = [c for c in cells if _parts(c) == wanted]
    if not same:
        raise SuiteError(did_you_mean("modality set", "+".join(request.modalities), {_set(c) for c in taken}))
    if all(c.skip for c in same):
        raise SuiteError(f"{request.model} was skipped on {'+'.join(request.modalities)}: {same[0].skip}")
    return [c for c in same if not c.skip]


def _largest(taken: Sequence[Cell]) -> list[Cell]:
    """The cells on each dataset's largest set."""
    largest = {str(c.dataset): max((_parts(d) for d in taken if d.dataset == c.dataset), key=len) for c in taken}
    return [c for c in taken if _parts(c) == largest[str(c.dataset)]]


def _parts(cell: Cell) -> set[str]:
    """The modalities as the suite names them; a protocol may have joined some."""
    return {part for name in cell.modalities for part in name.split(JOIN)}


def _set(cell: Cell) -> str:
    return "+".join(part for name in cell.modalities for part in name.split(JOIN))


def _one(found: Sequence[str], flag: str, what: str) -> str:
    """The only one.

    Raises:
        SuiteError: there are several; says which, and the flag that tells.
    """
    names = list(dict.fromkeys(found))
    if len(names) > 1:
        raise SuiteError(f"{what} {', '.join(names)}: say which with {flag}")
    return names[0]


def _holding(row: Sequence[Cell], case: str) -> Cell:
    """The first cell whose test fold holds the case."""
    holding = [c for c in row if case in c.split.test]
    if not holding:
        tested = sorted({id_ for c in row for id_ in c.split.test})
        near = get_close_matches(case, tested, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? There" if near else "there"
        known = any(case in (*c.split.train, *c.split.val) for c in row)
        why = "is in no test fold" if known else "is no case of this row"
        raise SuiteError(f"case {case!r} {why}; {hint} are {len(tested)} test cases, {tested[0]!r} to {tested[-1]!r}")
    _one([str(c.dataset) for c in holding], "--dataset", f"case {case!r} is in")
    return holding[0]


def ready(store: Store, cell: Cell, suite: str) -> None:
    """Whether a cell is stored as the suite wants it now.

    Raises:
        SuiteError: complete cases were not predicted.
        ResultsError: it has not run, has failed, or what is stored was made otherwise; says what to do.
    """
    again = shlex.join(["fusionbench", "run", suite, "-m", str(cell.model), "--out", str(store.root)])
    if FULL not in cell.patterns:
        raise SuiteError(f"{cell.label} was not tested on complete cases: add {FULL!r} to protocol.test_patterns")
    if not store.has(cell.key):
        keys = store.keys()
        stale = any(_place(store, key) == cell.columns for key in keys)
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
    own = stored[(stored["split"] == "test") & (stored["pattern"] == FULL) & (stored["draw"] == 0)]
    return own.set_index("case")["risk"].astype(np.float64)


def _ranks(risks: pd.Series[float]) -> list[int]:
    return [int(rank) for rank in risks.rank(ascending=False, method="min")]


def _rank(risks: pd.Series[float], case: str) -> int:
    ranks: dict[str, int] = dict(zip(risks.index, _ranks(risks), strict=True))
    return ranks[case]
