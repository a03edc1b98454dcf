"""The audit reads what cells left on disk: each breach is planted there, and found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fusionbench import SurvivalPrediction, cells
from fusionbench.audit import Audit, audit
from fusionbench.cells import Cell, Plan, present_modalities
from fusionbench.errors import ResultsError
from fusionbench.missing import realised_rate
from fusionbench.results import CellResult, PatternPrediction
from fusionbench.store import CELL, PREDICTIONS, PREPROCESS, Store
from tests.unit.test_plan import SUITE, Toy, planned

TOY = Toy(true_risk={case.id: 0.0 for case in Toy().cases})
TEXT = SUITE.replace('"half"]', '"half"]\nmask_draws = 2')
LEDGERS, BINS, GROUPS, ONCE, KEPT, SPLIT, MASKS, HIDDEN, TESTED, DISTINCT = range(10)


def predicted(split: str, ids: tuple[str, ...], pattern: str = "full", draw: int = 0, realised: float = 0.0) -> Any:
    made = SurvivalPrediction(ids, np.linspace(-1.0, 1.0, len(ids)))
    return PatternPrediction(split, pattern, draw, made, realised=realised)  # type: ignore[arg-type]


def result(cell: Cell) -> CellResult:
    """What a run leaves behind, without a model."""
    present = present_modalities((c for c in TOY.cases if c.id in cell.split.test), cell.modalities)
    tested = [
        predicted("test", cell.split.test, mask.pattern, mask.draw, realised_rate(mask, present, cell.modalities))
        for masks in cells.test_masks(cell, TOY.cases).values()
        for mask in masks
    ]
    return CellResult(
        cell.key,
        "ok",
        predictions=(predicted("val", cell.split.val), *tested),
        record={"ingredients": dict(cell.ingredients)},
        preprocess={name: {"ledger": list(cell.split.train)} for name in cell.modalities},
    )


@pytest.fixture
def plan() -> Plan:
    return planned(TEXT, toy=TOY)


@pytest.fixture
def store(tmp_path: Path, plan: Plan) -> Store:
    made = Store(tmp_path, "mine")
    made.prepare()
    for cell in plan.todo():
        made.write(result(cell))
    return made


def audited(plan: Plan, store: Store) -> Audit:
    return audit(plan, store, {("toy", "patient"): TOY})  # type: ignore[dict-item]


def chosen(plan: Plan, fold: int = 0) -> Cell:
    return next(c for c in plan.listed if c.row[1:3] == ("uni", "clinical+omic") and c.fold == fold)


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def change_predictions(store: Store, cell: Cell, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = store.cells / cell.key / PREDICTIONS
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def assert_only(found: Audit, number: int, *said: str) -> None:
    """One rule is broken, no other, and its line names the cell and what was seen."""
    assert [i for i, line in enumerate(found.lines) if line.verdict == "BREACH"] == [number]
    assert not found.passed
    for text in said:
        assert text in found.lines[number].seen


def test_a_clean_run_passes_every_rule(plan: Plan, store: Store) -> None:
    found = audited(plan, store)
    assert {line.verdict for line in found.lines} == {"pass"}
    assert found.passed
    seen = [line.seen for line in found.lines]
    assert seen[SPLIT] == "2 folds"
    # clinical, omic (a member's), both, and the true hazards, which are asked for `full` only
    assert seen[MASKS] == seen[HIDDEN] == "8 folds of modality sets"
    assert json.loads(found.to_json())["suite"] == "mine"


def test_cells_that_have_not_finished_are_not_judged(plan: Plan, store: Store) -> None:
    store.write(CellResult(chosen(plan).key, "failed", "out of memory", record={}))
    assert audited(plan, store).passed


def test_a_fitted_state_that_saw_a_test_case(plan: Plan, store: Store) -> None:
    cell = chosen(plan)
    stranger = cell.split.val[0]
    path = store.cells / cell.key / PREPROCESS
    change_json(path, lambda state: state["omic"]["ledger"].append(stranger))
    found = audited(plan, store)
    assert [line.verdict for line in found.lines].count("BREACH") == 2
    assert f"{cell.label}: omic saw {stranger!r}" in found.lines[LEDGERS].seen
    assert f"group {stranger!r} is in preprocessing and in validation" in found.lines[GROUPS].seen


def test_a_group_on_both_sides(plan: Plan, store: Store) -> None:
    """The ids are those of the split: only the cohort says that two of them are one patient."""
    cell = chosen(plan)
    twin, test = cell.split.train[0], cell.split.test[0]

    class Twins(Toy):
        def _case(self, i: int) -> Any:
            case = super()._case(i)
            return type(case)(case.id, "both" if case.id in (twin, test) else case.id, case.target, case.refs)

    found = audit(plan, store, {("toy", "patient"): Twins()})  # type: ignore[dict-item]
    assert_only(found, GROUPS, "group 'both' is in preprocessing and in test")


def test_a_predicted_case_that_nobody_knows(plan: Plan, store: Store) -> None:
    cell = chosen(plan)
    change_predictions(store, cell, lambda f: f.assign(case=f["case"].where(f["split"] == "test", "nobody")))
    assert_only(audited(plan, store), GROUPS, cell.label, "'nobody' of validation is not of the cohort")


@pytest.mark.parametrize("written", ["0" * 64, None], ids=["another", "none"])
@pytest.mark.parametrize(("name", "number"), [("split", SPLIT), ("masks", MASKS)])
def test_a_cell_that_was_given_another_split_or_masks(
    plan: Plan, store: Store, name: str, number: int, written: str | None
) -> None:
    cell = chosen(plan)

    def change(content: Any) -> None:
        del content["record"]["ingredients"][name]
        content["record"]["ingredients"] |= {name: written} if written else {}

    change_json(store.cells / cell.key / CELL, change)
    assert_only(audited(plan, store), number, f"{cell.label} differs from the plan")


def test_all_cells_of_a_fold_with_another_split_than_planned(plan: Plan, store: Store) -> None:
    for cell in (c for c in plan.todo() if c.fold == 1):
        change_json(store.cells / cell.key / CELL, lambda c: c["record"]["ingredients"].update(split="other"))
    assert_only(audited(plan, store), SPLIT, "1 of 2 folds", "fold 1 differs from the plan")


def test_a_cell_whose_masks_hid_another_share(plan: Plan, store: Store) -> None:
    cell = next(c for c in plan.listed if c.row[1:3] == ("late", "clinical+omic"))
    change_json(store.cells / cell.key / CELL, lambda c: c["patterns"][-1].update(realised=0.25))
    assert_only(audited(plan, store), HIDDEN, cell.label, "differs from toy · uni · clinical+omic")


PLANTED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a case is lacking under one mask": lambda f: f.drop(f.index[-1]),
    "a case is there twice": lambda f: pd.concat([f, f.tail(1)]),
    "a pattern is lacking": lambda f: f[f["pattern"] != "half"],
}


@pytest.mark.parametrize("what", PLANTED)
def test_other_than_the_test_cases(plan: Plan, store: Store, what: str) -> None:
    cell = chosen(plan)
    change_predictions(store, cell, PLANTED[what])
    assert_only(audited(plan, store), TESTED, cell.label, "pattern half")


def test_a_trained_network_that_says_the_same_of_everybody(plan: Plan, store: Store) -> None:
    cell = chosen(plan)
    change_predictions(store, cell, lambda f: f.assign(risk=1.0))
    change_json(store.cells / cell.key / "cell.json", lambda c: c["record"].update(fit={"best_epoch": 3}))
    assert_only(audited(plan, store), DISTINCT, cell.label)


def test_few_risks_of_a_sparse_model_are_declared_never_a_pass(plan: Plan, store: Store) -> None:
    change_predictions(store, chosen(plan), lambda f: f.assign(risk=1.0))
    line = audited(plan, store).lines[DISTINCT]
    assert (line.verdict, line.seen.split(";")[0]) == ("DECLARED", f"1 of {len(plan.todo())} cells")


def test_a_damaged_cell_is_named(plan: Plan, store: Store) -> None:
    path = store.cells / chosen(plan).key / PREPROCESS
    path.write_text("{")
    with pytest.raises(ResultsError, match=r"preprocess\.json: cannot be read"):
        audited(plan, store)


def test_a_cell_that_serves_two_variants_is_compared_in_both(tmp_path: Path) -> None:
    plan = planned(TEXT + '\n[[variant]]\nname = "deep"\nmodel.uni.depth = 3\n', toy=TOY)
    store = Store(tmp_path, "mine")
    store.prepare()
    for cell in plan.todo():
        store.write(result(cell))
    late = [c for c in plan.listed if c.row[1] == "late" and not c.skip and c.fold == 0]
    assert len(late) == 2
    assert len({c.key for c in late}) == 1
    change_json(store.cells / late[0].key / CELL, lambda c: c["record"]["ingredients"].update(split="other"))
    assert_only(audited(plan, store), SPLIT, "2 of 4 folds")
