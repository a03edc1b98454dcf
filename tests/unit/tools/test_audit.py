"""The audit reads what cells left on disk: each breach is planted there, and found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fusionbench import SurvivalPrediction
from fusionbench.core.cell_result import CellResult, PatternPrediction
from fusionbench.core.errors import ResultsError
from fusionbench.core.protocol import overlay
from fusionbench.data.masks import realised_rate
from fusionbench.results.cell_files import CELL, HISTORY, PREDICTIONS, PREPROCESS
from fusionbench.results.store import Store
from fusionbench.suites import cell as cells
from fusionbench.suites.cell import Cell, Plan, present_modalities
from fusionbench.survival import time_bins
from fusionbench.tools.audit import Audit, audit
from fusionbench.tools.audit.evidence import read_results
from tests.unit.suites.test_plan import SUITE, Toy, planned


class Cohort(Toy):
    """With what an audit asks of a cohort beside its cases."""

    @property
    def targets(self) -> dict[str, Any]:
        return {case.id: case.target for case in self.cases}


TOY = Cohort(true_risk={case.id: 0.0 for case in Toy().cases})
TEXT = SUITE.replace('"half"]', '"half"]\nmask_draws = 2')
LEDGERS, BINS, GROUPS, ONCE, KEPT, SPLIT, MASKS, HIDDEN, TESTED, DISTINCT = range(10)


def predicted(split: str, ids: tuple[str, ...], pattern: str = "full", draw: int = 0, realised: float = 0.0) -> Any:
    made = SurvivalPrediction(ids, np.linspace(-1.0, 1.0, len(ids)))
    return PatternPrediction(split, pattern, draw, made, realised=realised)  # type: ignore[arg-type]


def edges(ids: Iterable[str]) -> list[float]:
    time, event = (np.array([getattr(TOY.targets[i], name) for i in ids]) for name in ("time", "event"))
    return list(time_bins(time, event, 4))


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
        record={"ingredients": dict(cell.ingredients), "fit": {"edges": edges(cell.split.train)}},
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
    return audit(plan, read_results(plan, store), {("toy", "patient"): TOY})  # type: ignore[dict-item]


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

    class Twins(Cohort):
        def _case(self, i: int) -> Any:
            case = super()._case(i)
            return type(case)(case.id, "both" if case.id in (twin, test) else case.id, case.target, case.refs)

    found = audit(plan, read_results(plan, store), {("toy", "patient"): Twins()})  # type: ignore[dict-item]
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
    change_json(store.cells / cell.key / "cell.json", lambda c: c["record"]["fit"].update(best_epoch=3))
    assert_only(audited(plan, store), DISTINCT, cell.label)


def test_few_risks_of_a_sparse_model_are_declared_never_a_pass(plan: Plan, store: Store) -> None:
    change_predictions(store, chosen(plan), lambda f: f.assign(risk=1.0))
    line = audited(plan, store).lines[DISTINCT]
    assert (line.verdict, line.seen.split(";")[0]) == ("DECLARED", f"1 of {len(plan.todo())} cells")


@pytest.mark.parametrize(
    ("survival", "verdict", "said"),
    [
        ([1.0, 0.0, 0.0], "DECLARED", "saturated under a loss clamped at 1e-07: 1 times, first "),
        ([0.9, 0.5, 0.1], "BREACH", ""),  # everybody alike, but the clamp has no part in it
        ([1.0, 0.5, 0.0], "BREACH", ""),
        ([np.nan, np.nan, np.nan], "BREACH", ""),
    ],
)
def test_a_network_that_a_clamped_loss_left_saturated_is_declared(
    tmp_path: Path, survival: list[float], verdict: str, said: str
) -> None:
    plan = planned(TEXT.replace("[train]", "[train]\nclamp = 1e-7"), toy=TOY)
    store = Store(tmp_path, "mine")
    store.prepare()
    for cell in plan.todo():
        store.write(result(cell))
    cell = chosen(plan)
    columns: dict[str, Any] = {f"S_{12 * i}": s for i, s in enumerate(survival, 1)}
    change_predictions(store, cell, lambda f: f.assign(risk=1.0, **columns))
    change_json(store.cells / cell.key / "cell.json", lambda c: c["record"]["fit"].update(best_epoch=3))
    line = audited(plan, store).lines[DISTINCT]
    assert line.verdict == verdict
    assert said + cell.label in line.seen


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


def test_time_bins_of_other_cases_than_the_training_ones(plan: Plan, store: Store) -> None:
    cell = chosen(plan)
    everyone = edges(TOY.targets)
    change_json(store.cells / cell.key / CELL, lambda c: c["record"]["fit"].update(edges=everyone))
    assert_only(audited(plan, store), BINS, cell.label, f"edges {everyone[0]:.2f}")


def history(rows: list[tuple[int, str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["epoch", "split", "quantity", "value"])


def test_weights_of_another_epoch_than_the_best_on_validation(plan: Plan, store: Store) -> None:
    cell = chosen(plan)
    losses = [(1, "val", "loss", 0.9), (2, "val", "loss", 0.7), (3, "val", "loss", 0.8), (3, "train", "loss", 0.1)]
    history(losses).to_parquet(store.cells / cell.key / HISTORY, index=False)
    change_json(store.cells / cell.key / CELL, lambda c: c["record"]["fit"].update(best_epoch=3))
    assert_only(audited(plan, store), KEPT, cell.label, "kept epoch 3, the best on validation is 2")
    change_json(store.cells / cell.key / CELL, lambda c: c["record"]["fit"].update(best_epoch=2))
    found = audited(plan, store)
    assert found.passed
    assert found.lines[KEPT].seen == "1 trained network"


def test_a_case_that_is_tested_in_two_folds(plan: Plan, store: Store) -> None:
    """The split that the cells were given, and so their hash, says so."""
    first, second = (next(c for c in plan.cells if c.fold == fold).split for fold in (0, 1))
    double = replace(second, test=tuple(sorted({*second.test, first.test[0]})))
    cells_ = tuple(replace(c, split=double) if c.fold == 1 else c for c in plan.cells)
    found = audited(replace(plan, cells=cells_), store)
    assert found.lines[ONCE].verdict == "BREACH"
    assert f"{first.test[0]!r} is in 2 folds" in found.lines[ONCE].seen
    # Published splits may be drawn anew for each fold, as CLAM's are: declared, not a breach.
    given = tuple(replace(c, protocol=overlay(c.protocol, {"fold_source": "published"})) for c in cells_)
    assert audited(replace(plan, cells=given), store).lines[ONCE].verdict == "DECLARED"


@pytest.mark.parametrize("source", ["generated", "published"])
def test_a_patient_in_train_and_test_of_one_fold_is_a_breach_whoever_made_the_folds(
    plan: Plan, store: Store, source: str
) -> None:
    """Test sets may overlap from fold to fold; the two sides of one fold may not, also where they are published so."""

    class Pairs(Cohort):
        def _case(self, i: int) -> Any:
            case = super()._case(i)
            return replace(case, group=f"patient-{i // 2}")

    cells_ = tuple(replace(c, protocol=overlay(c.protocol, {"fold_source": source})) for c in plan.cells)
    cohorts = {("toy", plan.cells[0].unit): Pairs(true_risk=None)}
    changed = replace(plan, cells=cells_)
    found = audit(changed, read_results(changed, store), cohorts)  # type: ignore[arg-type]
    assert found.lines[GROUPS].verdict == "BREACH"
    assert "is in preprocessing and in" in found.lines[GROUPS].seen
    assert found.lines[ONCE].verdict == "pass"


DECLARED = {
    "as-published": (LEDGERS, BINS, GROUPS, ONCE),
    "split": (GROUPS, ONCE),
    "bins": (BINS,),
    "preprocessing": (LEDGERS,),
}


@pytest.mark.parametrize("variant", DECLARED)
def test_what_a_protocol_switches_off_is_declared_and_quantified(tmp_path: Path, variant: str) -> None:
    """Two rows a patient; the first of each pair is the slide that gives the patient its name."""

    class Pairs(Cohort):
        def _case(self, i: int) -> Any:
            case = super()._case(i)
            return replace(case, group=f"patient-{i // 2}")

    toy = Pairs(true_risk=None)
    changes = {
        "as-published": 'protocol.base = "as-published"\nprotocol.vectors = "separate"\nprotocol.impute = "median"\n'
        "protocol.clip = 5.0\nprotocol.scale = true",
        "split": 'protocol.fold_source = "random"',
        "bins": 'protocol.bins_from = "cohort"',
        "preprocessing": 'protocol.fitted_on = "cohort"',
    }[variant]
    plan = planned(f'{TEXT}\n[[variant]]\nname = "{variant}"\n{changes}\n', toy=toy)
    plan = replace(plan, cells=tuple(c for c in plan.cells if c.variant == variant))
    store = Store(tmp_path, "mine")
    store.prepare()
    for cell in plan.todo():
        seen = result(cell)
        everyone = tuple(c.id for c in toy.cases)
        if cell.protocol.fitted_on == "cohort":
            seen = replace(seen, preprocess={name: {"ledger": list(everyone)} for name in cell.modalities})
        if cell.protocol.bins_from == "cohort":
            seen = replace(seen, record={**seen.record, "fit": {"edges": edges(everyone)}})
        store.write(seen)
    unit = plan.cells[0].unit
    found = audit(plan, read_results(plan, store), {("toy", unit): toy})  # type: ignore[dict-item]
    assert {i for i, line in enumerate(found.lines) if line.verdict == "DECLARED"} == set(DECLARED[variant])
    assert found.passed
    assert not any(line.verdict == "BREACH" for line in found.lines)
    if GROUPS in DECLARED[variant]:
        assert "% of test rows share a patient with train" in found.lines[GROUPS].seen
    if LEDGERS in DECLARED[variant]:
        assert "100.0% of test rows were seen when preprocessing was fitted" in found.lines[LEDGERS].seen


def test_a_case_that_is_not_of_the_cohort_is_a_breach_under_any_protocol(tmp_path: Path) -> None:
    plan = planned(TEXT.replace("[train]", 'fold_source = "random"\n[train]'), toy=TOY)
    store = Store(tmp_path, "mine")
    store.prepare()
    for cell in plan.todo():
        store.write(result(cell))
    cell = chosen(plan)
    change_predictions(store, cell, lambda f: f.assign(case=f["case"].where(f["split"] == "test", "nobody")))
    assert audited(plan, store).lines[GROUPS].verdict == "BREACH"
