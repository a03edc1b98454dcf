"""Selection of the stored cells that answer a request: those of one row whose test fold has the case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd

from fusionbench.core.commands import RESULTS, command
from fusionbench.core.endpoints import ClassPrediction, Prediction, SurvivalPrediction
from fusionbench.core.errors import ResultsError, SuiteError, did_you_mean
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.data.protocol_view import JOIN
from fusionbench.report.model import FULL
from fusionbench.results.cell_files import probability_column
from fusionbench.results.store import Store
from fusionbench.suites.cell import ORACLE, Cell, Plan
from fusionbench.suites.suite import BASE
from fusionbench.tools.explain.request import Request
from fusionbench.tools.explain.score import ExplainedScore
from fusionbench.tools.find_suite import FoundSuite


@dataclass(frozen=True)
class SelectedCase:
    """A case and the cell in whose test fold it is.

    Attributes:
        case: its id.
        is_default_row: whether a request that names nothing but the model selects the same row.
        rank: of the case's score in the test fold; 1 = highest.
        fold_size: cases of the test fold.
        score: what is explained.
    """

    cell: Cell
    case: str
    is_default_row: bool
    rank: int
    fold_size: int
    score: ExplainedScore


def refuse_published(found: FoundSuite) -> None:
    """Refuse a folder of published results, which has tables and no weights.

    Raises:
        ResultsError: with the command that trains the models again.
    """
    store = found.store
    if store.has_file("folds.csv") and not store.cells.is_dir():
        again = command(RESULTS, "run", found.name if found.file is not None else f"<path of {found.name}.toml>")
        raise ResultsError(
            f"{store.folder}: published results hold no weights, which explain needs; train the models with: {again}"
        )


def select_cases(plan: Plan, store: Store, request: Request) -> list[SelectedCase]:
    """The cases of a request with their cells: the one that it names, or those of the highest score, the highest first.

    Raises:
        SuiteError: the suite has no such row, or no test fold has the case. ResultsError: a cell is not stored.
    """
    row, is_default = row_of(plan, request)
    if request.case is not None:
        cell = _cell_testing(row, request.case)
        check_stored(store, cell)
        score = ExplainedScore.of(cell.task.classes, request.class_name)
        scores = _test_scores(store, cell, score)
        return [SelectedCase(cell, request.case, is_default, _ranks(scores)[request.case], len(scores), score)]
    _only([str(c.dataset) for c in row], "--dataset", f"{request.model} ran on")
    score = ExplainedScore.of(row[0].task.classes, request.class_name)
    for cell in row:
        check_stored(store, cell)
    candidates = [
        SelectedCase(cell, case, is_default, rank, len(scores), score)
        for cell in row
        for scores in [_test_scores(store, cell, score)]
        for case, rank in _ranks(scores).items()
    ]
    # Scores of two fitted models have no common scale, so ranks within the test folds are compared.
    candidates.sort(key=lambda one: (one.rank / one.fold_size, one.case))
    first: dict[str, SelectedCase] = {}  # folds with random test sets may test a case twice
    for one in candidates:
        first.setdefault(one.case, one)
    return list(first.values())[: request.top_risk]


def row_of(plan: Plan, request: Request) -> tuple[list[Cell], bool]:
    """The cells of one model, modality set, variant and repeat; of all datasets where the request names none.

    Returns:
        the cells, and whether a request that names nothing but the model selects the same row.

    Raises:
        SuiteError: the suite has no such row, or several of which the request names none.
    """
    cells = [c for c in plan.listed if c.model.name != ORACLE]
    wanted = str(PluginRef.parse(request.model))
    cells = [c for c in cells if str(c.model) == wanted] or cells
    _only([str(c.model) for c in cells], "--model", "this suite has")
    run = [c for c in cells if not c.skip]
    if not run:
        raise SuiteError(f"{request.model} runs nowhere in this suite: {cells[0].skip}")
    largest = _largest(run)
    same_set = _with_modalities(cells, run, request) if request.modalities else largest
    names = list(dict.fromkeys(c.variant for c in same_set))
    first = BASE if BASE in names else names[0] if len(names) == 1 else None
    variant = request.variant or first or _only(names, "--variant", "this row has variants")
    if variant not in names:
        raise SuiteError(did_you_mean("variant", variant, names))
    repeats = sorted({c.repeat for c in same_set})
    if request.repeat not in repeats:
        raise SuiteError(f"--repeat {request.repeat}: this run has repeats {repeats[0]} to {repeats[-1]}")
    row = [c for c in same_set if (c.variant, c.repeat) == (variant, request.repeat)]
    is_default = variant == first and request.repeat == repeats[0] and all(c in largest for c in row)
    return row, is_default


def _with_modalities(cells: Sequence[Cell], run: Sequence[Cell], request: Request) -> list[Cell]:
    wanted = {part for name in request.modalities for part in name.split("+")}
    same = [c for c in cells if _parts(c) == wanted]
    if not same:
        raise SuiteError(did_you_mean("modality set", "+".join(request.modalities), {_set_name(c) for c in run}))
    if all(c.skip for c in same):
        raise SuiteError(f"{request.model} was skipped on {'+'.join(request.modalities)}: {same[0].skip}")
    return [c for c in same if not c.skip]


def _largest(run: Sequence[Cell]) -> list[Cell]:
    """The cells on the largest modality set of each dataset."""
    largest = {str(c.dataset): max((_parts(d) for d in run if d.dataset == c.dataset), key=len) for c in run}
    return [c for c in run if _parts(c) == largest[str(c.dataset)]]


def _parts(cell: Cell) -> set[str]:
    """The cell's modalities as the suite names them; a protocol may have joined some of them into one."""
    return {part for name in cell.modalities for part in name.split(JOIN)}


def _set_name(cell: Cell) -> str:
    return "+".join(part for name in cell.modalities for part in name.split(JOIN))


def _only(values: Sequence[str], flag: str, what: str) -> str:
    """The single distinct value.

    Raises:
        SuiteError: there are several; lists them and names the flag that selects one.
    """
    names = list(dict.fromkeys(values))
    if len(names) > 1:
        raise SuiteError(f"{what} {', '.join(names)}: choose one with {flag}")
    return names[0]


def _cell_testing(row: Sequence[Cell], case: str) -> Cell:
    """The first cell whose test fold has the case.

    Raises:
        SuiteError: none has it, with similar ids; or cells of several datasets have it.
    """
    testing = [c for c in row if case in c.split.test]
    if not testing:
        tested = sorted({id_ for c in row for id_ in c.split.test})
        near = get_close_matches(case, tested, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? There" if near else "there"
        known = any(case in (*c.split.train, *c.split.val) for c in row)
        why = "is in no test fold" if known else "is no case of this row"
        raise SuiteError(f"case {case!r} {why}; {hint} are {len(tested)} test cases, {tested[0]!r} to {tested[-1]!r}")
    _only([str(c.dataset) for c in testing], "--dataset", f"case {case!r} is in")
    return testing[0]


def check_stored(store: Store, cell: Cell) -> None:
    """Refuse a cell that is not stored as the suite asks for it now.

    Raises:
        SuiteError: it did not predict complete cases.
        ResultsError: it has not run, has failed, or is stored with other inputs; with the command to run.
    """
    again = command(store.root, "run", store.suite, "-m", str(cell.model))
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


def _test_scores(store: Store, cell: Cell, score: ExplainedScore) -> pd.Series[float]:
    """Case id to the cell's score for it, over the test fold with all modalities."""
    stored = store.predictions(cell.key)
    own = stored[(stored["split"] == "test") & (stored["pattern"] == FULL) & (stored["draw"] == 0)]
    ids, classes = tuple(own["case"].astype(str)), cell.task.classes
    made: Prediction = (
        ClassPrediction(ids, classes, own[[probability_column(name) for name in classes]].to_numpy(np.float64))
        if classes
        else SurvivalPrediction(ids, own["risk"].to_numpy(np.float64))
    )
    return pd.Series(score.values(made), index=ids)


def _ranks(scores: pd.Series[float]) -> dict[str, int]:
    """Case id to rank; 1 = highest score, and equal scores share the better rank."""
    ranks = scores.rank(ascending=False, method="min")
    return {case: int(rank) for case, rank in zip(scores.index, ranks, strict=True)}
