"""The controls: penalised Cox, survival forest, late fusion."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fusionbench_controls import fusionbench_models
from fusionbench_controls.cox import Cox, CoxOptions
from fusionbench_controls.coxnet import fit_path, inner_folds, log_partial_likelihood, penalty_path
from fusionbench_controls.features import Outcomes, design_matrix, encode_ids, positions
from fusionbench_controls.forest import SurvivalForest, SurvivalForestOptions, last_event_before
from fusionbench_controls.late_fusion import LateFusion, LateFusionOptions
from fusionbench_controls.trees import TreeArrays
from pydantic import ValidationError
from safetensors.numpy import load, save
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

from fusionbench import (
    Case,
    CaseSet,
    DataError,
    FusionModel,
    Member,
    ModalitySpec,
    PluginError,
    PluginRef,
    Predictor,
    PreparedBag,
    PreparedCase,
    SuiteError,
    SurvivalPrediction,
    SurvivalTarget,
    SurvivalTargets,
    Task,
)

Tables = Mapping[str, np.ndarray]


def _prepare(case: Case, visible: tuple[str, ...]) -> PreparedCase:
    """A modality's ref is the array of its instances."""
    return PreparedCase(case.id, {m: PreparedBag(torch.as_tensor(case.refs[m])) for m in visible})


def case_set(
    tables: Mapping[str, Sequence[np.ndarray | None]], time: np.ndarray, event: np.ndarray, groups: Sequence[str] = ()
) -> CaseSet:
    """`tables`: modality to one (instance, feature) array a case, None = missing."""
    cases = tuple(
        Case(
            f"case-{i}",
            groups[i] if groups else f"case-{i}",
            SurvivalTarget(float(time[i]), bool(event[i])),
            {m: rows[i] for m, rows in tables.items() if rows[i] is not None},
        )
        for i in range(len(time))
    )
    widths = {m: next(r.shape[1] for r in rows if r is not None) for m, rows in tables.items()}
    specs = {m: ModalitySpec(m, "vector", width) for m, width in widths.items()}
    return CaseSet(cases, specs, SurvivalTargets(time, event, np.zeros(len(time), dtype=np.int64)), _prepare)


def cohort(n: int = 120, columns: int = 6, signal: float = 1.0, seed: int = 0) -> CaseSet:
    """`a` carries the hazard in its first column; `b` is noise of as many columns."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((n, columns)).astype(np.float32) for _ in range(2))
    death, censoring = rng.exponential(20 * np.exp(-signal * a[:, 0])), rng.exponential(40, n)
    tables = {"a": list(a[:, None]), "b": list(b[:, None])}
    return case_set(tables, np.minimum(death, censoring) + 0.01, death <= censoring)


def parts(cases: CaseSet) -> tuple[CaseSet, CaseSet, CaseSet]:
    """Training, validation and test cases: half, a quarter, a quarter."""
    n = len(cases)
    return cases[: n // 2], cases[n // 2 : 3 * n // 4], cases[3 * n // 4 :]


@dataclass
class FakeContext:
    """Context of fit and of restore, with members as they are handed in."""

    specs: Mapping[str, ModalitySpec]
    seed: int = 0
    task: Task = field(default_factory=Task)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    members: dict[Member, Any] = field(default_factory=dict)
    logged: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def member(self, member: Member) -> Any:
        return self.members[member]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.logged.append((step, dict(values)))

    def train(self, module: Any, train: CaseSet, val: CaseSet) -> Predictor:
        raise AssertionError("the controls do not train torch modules")

    def module(self, module: Any, state: Any) -> Predictor:
        raise AssertionError("the controls do not restore torch modules")


def concordance(cases: CaseSet, prediction: SurvivalPrediction) -> float:
    assert cases.targets is not None
    return float(concordance_index_censored(cases.targets.event, cases.targets.time, prediction.risk)[0])


def outcomes(n: int = 60, columns: int = 4, seed: int = 0, *, ties: bool = True) -> Outcomes:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, columns))
    time = rng.exponential(10 * np.exp(-x[:, 0])) + 0.5
    return Outcomes(x, np.ceil(time) if ties else time, rng.random(n) < 0.6, np.arange(n))


def same(one: SurvivalPrediction, other: SurvivalPrediction) -> bool:
    assert one.survival is not None
    assert other.survival is not None
    return (
        one.ids == other.ids
        and np.array_equal(one.risk, other.risk)
        and np.array_equal(one.survival, other.survival)
        and np.array_equal(np.asarray(one.times), np.asarray(other.times))
    )


COX, FOREST = Cox(CoxOptions()), SurvivalForest(SurvivalForestOptions(trees=40))
either = pytest.mark.parametrize("model", [COX, FOREST], ids=["cox", "forest"])


def test_the_hook_offers_the_three_controls() -> None:
    models = list(fusionbench_models())
    assert [model.name for model in models] == ["cox", "survival-forest", "late-fusion"]
    assert [model.missing for model in models] == ["impute", "impute", "native"]
    assert all(model(model.Options()).skip(Task(), {"a": ModalitySpec("a", "bag", 3)}) is None for model in models[:2])


def test_options_are_strict() -> None:
    for options, bad in (
        (CoxOptions, {"l1_ratio": 0.0}),
        (SurvivalForestOptions, {"trees": 5}),
        (CoxOptions, {"l2": 1}),
    ):
        with pytest.raises(ValidationError):
            options(**bad)


# Cases to columns


def test_design_matrix_averages_instances_in_the_order_of_the_specs() -> None:
    bags = [np.array([[1.0, 3.0], [3.0, 5.0]]), np.array([[7.0, 9.0]])]
    cases = case_set({"b": bags, "a": [np.array([[0.5]]), np.array([[1.5]])]}, np.array([1.0, 2.0]), np.ones(2, bool))
    assert design_matrix(cases).tolist() == [[2.0, 4.0, 0.5], [7.0, 9.0, 1.5]]
    assert design_matrix(cases.restrict(("a", "b"))).tolist() == [[0.5, 2.0, 4.0], [1.5, 7.0, 9.0]]


def test_design_matrix_names_the_case_that_was_not_imputed() -> None:
    cases = case_set({"a": [np.ones((1, 2)), None]}, np.array([1.0, 2.0]), np.ones(2, bool))
    with pytest.raises(PluginError, match="case 'case-1' has no 'a'"):
        design_matrix(cases)


def test_ids_survive_as_bytes() -> None:
    ids = ["TCGA-2F-A9KO", "é", "653"]
    encoded = encode_ids(ids)
    assert encoded.dtype == np.uint8
    assert positions(encoded, ["653", "TCGA-2F-A9KO"], "cox").tolist() == [2, 0]
    with pytest.raises(PluginError, match="'x' was no validation case"):
        positions(encoded, ["653", "x"], "cox")
    assert encode_ids([]).shape == (0, 0)


# What Cox and forest share


@either
def test_higher_risk_means_earlier_event(model: FusionModel) -> None:
    train, val, test = parts(cohort(200, signal=2.0))
    predictor = model.fit(train, val, FakeContext(train.specs))
    assert concordance(test, predictor.predict(test.without_targets())) > 0.7
    assert concordance(val, predictor.predict_validation(val.without_targets())) > 0.6


@either
def test_survival_falls_from_at_most_one_at_event_times(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    said = model.fit(train, val, FakeContext(train.specs)).predict(test.without_targets())
    assert said.survival is not None
    assert train.targets is not None
    assert val.targets is not None
    events = [targets.time[targets.event] for targets in (train.targets, val.targets)]
    np.testing.assert_array_equal(np.asarray(said.times), np.unique(np.concatenate(events)))
    assert said.survival.min() >= 0
    assert said.survival.max() <= 1
    assert (np.diff(said.survival, axis=1) <= 0).all()
    middle = said.survival[:, said.survival.shape[1] // 2]
    assert np.corrcoef(np.argsort(np.argsort(middle)), np.argsort(np.argsort(said.risk)))[0, 1] < -0.8


@either
def test_restored_predicts_bit_for_bit_the_same(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    context = FakeContext(train.specs, seed=3)
    fitted = model.fit(train, val, context)
    stored = load(save(dict(fitted.state())))
    restored = model.restore(stored, context)
    assert same(fitted.predict(test.without_targets()), restored.predict(test.without_targets()))
    assert same(fitted.predict_validation(val.without_targets()), restored.predict_validation(val.without_targets()))


@either
def test_a_prediction_does_not_depend_on_the_other_cases(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    predictor = model.fit(train, val, FakeContext(train.specs))
    together = predictor.predict(test.without_targets())
    for i in range(len(test)):
        assert predictor.predict(test[i : i + 1].without_targets()).risk[0] == together.risk[i]


@either
def test_the_seed_decides_and_nothing_else(model: FusionModel) -> None:
    train, val, _ = parts(cohort(160))

    def state(seed: int) -> dict[str, bytes]:
        np.random.default_rng().random()
        return {k: v.tobytes() for k, v in model.fit(train, val, FakeContext(train.specs, seed)).state().items()}

    assert state(2**62) == state(2**62)
    assert state(1) != state(2)


@either
def test_validation_predictions_are_out_of_sample(model: FusionModel) -> None:
    """On noise with many columns a model ranks what it was fitted on well, and everything else by chance."""
    inside, outside = [], []
    for seed in range(3):
        train, val, _ = parts(cohort(120, columns=150, signal=0.0, seed=seed))
        predictor = model.fit(train, val, FakeContext(train.specs, seed))
        inside.append(concordance(val, predictor.predict(val.without_targets())))
        outside.append(concordance(val, predictor.predict_validation(val.without_targets())))
    assert np.mean(inside) > 0.75
    assert 0.35 < np.mean(outside) < 0.65


@either
def test_validation_predictions_are_for_validation_cases_only(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    predictor = model.fit(train, val, FakeContext(train.specs))
    reversed_val = val.take(range(len(val) - 1, -1, -1)).without_targets()
    assert (predictor.predict_validation(reversed_val).risk[::-1] == predictor.predict_validation(val).risk).all()
    with pytest.raises(PluginError, match=f"'{test.ids[0]}' was no validation case"):
        predictor.predict_validation(test.without_targets())


@either
def test_other_columns_than_fitted_are_refused(model: FusionModel) -> None:
    train, val, test = parts(cohort(160))
    predictor = model.fit(train, val, FakeContext(train.specs))
    with pytest.raises(PluginError, match="fitted on 12 columns, asked to predict on 6"):
        predictor.predict(test.restrict(("a",)).without_targets())


@either
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda t: replace(t, event=np.arange(len(t.event)) == 0),
            "1 of 120 patients have an observed event",
        ),
        (lambda t: replace(t, event=np.zeros(len(t.event), dtype=bool)), "0 of 120 patients have"),
        (lambda t: replace(t, time=np.zeros(len(t.time))), "has its event at time 0"),
    ],
)
def test_what_cannot_be_fitted_is_said(model: FusionModel, spoil: Callable[[Any], Any], message: str) -> None:
    train, val, _ = parts(cohort(160))
    assert val.targets is not None
    spoiled = replace(train, targets=spoil(train.targets))
    val = replace(val, targets=replace(val.targets, event=np.zeros(len(val), dtype=bool)))
    with pytest.raises(DataError, match=message):
        model.fit(spoiled, val, FakeContext(train.specs))


@either
def test_columns_without_information_are_refused(model: FusionModel) -> None:
    cases = cohort(160)
    assert cases.targets is not None
    constant = case_set({"a": [np.ones((1, 3))] * 160}, cases.targets.time, cases.targets.event)
    train, val, _ = parts(constant)
    with pytest.raises(DataError, match=r"none of the 3 columns varies|no tree splits"):
        model.fit(train, val, FakeContext(train.specs))


# Cox


@pytest.mark.parametrize("l1_ratio", [0.01, 0.5, 1.0])
def test_the_path_starts_where_the_solver_starts_it(l1_ratio: float) -> None:
    rows = outcomes()
    scaled = (rows.x - rows.x.mean(axis=0)) / rows.x.std(axis=0)
    theirs = CoxnetSurvivalAnalysis(l1_ratio=l1_ratio, n_alphas=5).fit(scaled, Surv.from_arrays(rows.event, rows.time))
    np.testing.assert_allclose(penalty_path(rows, l1_ratio, 5), theirs.alphas_, rtol=1e-10)
    path = fit_path(rows, l1_ratio, penalty_path(rows, l1_ratio, 30))
    assert (path.coef[0] == 0).all()
    assert (path.coef[1] != 0).any()


@pytest.mark.parametrize("l1_ratio", [0.01, 0.5])
def test_coefficients_meet_the_conditions_of_the_optimum(l1_ratio: float) -> None:
    """Slope of the partial likelihood per case = penalty (l1 sign(b) + (1 - l1) b), or within the l1 part at b = 0."""
    rows = outcomes(80, 6)
    scale = rows.x.std(axis=0)
    path = fit_path(rows, l1_ratio, penalty_path(rows, l1_ratio, 20))
    b, penalty, step = path.coef[12] * scale, path.penalty[12], 1e-5
    for j in range(len(b)):
        ends = np.stack([b + step * np.eye(6)[j], b - step * np.eye(6)[j]], axis=1)
        up, down = log_partial_likelihood((rows.x / scale) @ ends, rows)
        slope = (up - down) / (2 * step) / len(rows)
        if b[j] == 0:
            assert abs(slope) <= penalty * l1_ratio * 1.01
        else:  # as near as the solver's tolerance goes
            assert slope == pytest.approx(
                penalty * (l1_ratio * np.sign(b[j]) + (1 - l1_ratio) * b[j]), abs=0.03 * penalty
            )


def test_log_risk_is_zero_at_the_mean_and_knows_no_units() -> None:
    rows = outcomes()
    penalties = penalty_path(rows, 0.01, 10)
    path = fit_path(rows, 0.01, penalties)
    np.testing.assert_allclose(path.log_risk(rows.x).mean(axis=0), 0, atol=1e-10)
    other_units = Outcomes(rows.x * [1, 1000, 1e-3, 1] + [0, 5, -2, 100], rows.time, rows.event, rows.group)
    np.testing.assert_allclose(
        fit_path(other_units, 0.01, penalties).log_risk(other_units.x), path.log_risk(rows.x), atol=1e-6
    )


def test_constant_and_duplicate_columns_are_no_problem() -> None:
    rows = outcomes()
    wide = Outcomes(np.c_[rows.x, np.full(60, 3.7), np.zeros(60), rows.x], rows.time, rows.event, rows.group)
    path = fit_path(wide, 0.01, penalty_path(wide, 0.01, 30))
    assert (path.coef[:, 4:6] == 0).all()
    np.testing.assert_allclose(path.coef[:, :4], path.coef[:, 6:], rtol=0.1, atol=1e-3)
    assert path.dropped == 0


def test_penalties_that_do_not_converge_are_counted_and_given_up() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3))
    rows = Outcomes(x, np.exp(-5 * x[:, 0]), np.ones(40, dtype=bool), np.arange(40))
    penalties = np.geomspace(100, 1e-6, 30)
    path = fit_path(rows, 0.01, penalties)
    assert path.dropped > 0
    np.testing.assert_array_equal(path.penalty, penalties[: 30 - path.dropped])
    with pytest.raises(DataError, match="no penalty from 1e-09 down converges on 40 cases x 3 columns"):
        fit_path(rows, 0.01, np.array([1e-9]))


def test_cox_logs_the_path_and_what_was_given_up() -> None:
    train, val, _ = parts(cohort(160))
    context = FakeContext(train.specs)
    COX.fit(train, val, context)
    *path, (chosen, last) = context.logged
    scores = [values["log_partial_likelihood_per_event"] for _, values in path]
    assert [step for step, _ in path] == list(range(len(path)))
    assert chosen == int(np.argmax(scores))
    assert last == {"chosen_penalty": path[chosen][1]["penalty"], "penalties_unconverged": 0}


def test_cox_sees_the_mean_of_a_bag() -> None:
    cases = cohort(160)
    assert cases.targets is not None
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((4, 6)) for _ in range(160)]
    bags = [cases.cases[i].refs["a"] + (e - e.mean(axis=0)) for i, e in enumerate(noise)]
    train, val, test = parts(case_set({"a": bags}, cases.targets.time, cases.targets.event))
    plain = [part.restrict(("a",)) for part in parts(cases)]
    bagged = COX.fit(train, val, FakeContext(train.specs)).predict(test)
    np.testing.assert_allclose(
        bagged.risk, COX.fit(plain[0], plain[1], FakeContext(train.specs)).predict(plain[2]).risk
    )


def test_cox_takes_far_more_columns_than_cases_and_never_empties_the_model() -> None:
    train, val, test = parts(cohort(100, columns=400, signal=0.0))
    said = COX.fit(train, val, FakeContext(train.specs)).predict(test)
    assert len(np.unique(said.risk)) == len(test)


def test_a_wild_case_has_no_survival_rather_than_an_overflow() -> None:
    train, val, test = parts(cohort(160))
    refs = {m: np.full((1, 6), 1e6, dtype=np.float32) for m in ("a", "b")}
    wild = replace(test, cases=(replace(test.cases[0], refs=refs), *test.cases[1:]))
    predictor = COX.fit(train, val, FakeContext(train.specs))
    said = predictor.predict(wild.without_targets())
    assert said.survival is not None
    assert np.isfinite(said.risk).all()
    assert np.isfinite(said.survival).all()


def test_fold_models_are_fitted_without_their_fold() -> None:
    train, val, _ = parts(cohort(120))
    state = COX.fit(train, val, FakeContext(train.specs, seed=5)).state()
    x = design_matrix(train.restrict(("a", "b"))), design_matrix(val)
    assert train.targets is not None
    assert val.targets is not None
    time, event = (np.concatenate([getattr(p.targets, name) for p in (train, val)]) for name in ("time", "event"))
    rows = Outcomes(np.concatenate(x), time, event, np.unique(train.ids + val.ids, return_inverse=True)[1])
    fold = inner_folds(rows, 5, np.random.default_rng(5))
    np.testing.assert_array_equal(state["val_fold"], fold[len(train) :])
    penalties = penalty_path(rows, 0.01, 30)
    outside = fit_path(rows.take(fold != 2), 0.01, penalties)
    assert any(np.array_equal(state["coef"][1 + 2], coef) for coef in outside.coef)


def test_inner_folds_keep_groups_together_and_spread_events() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(50), 2)
    event = np.repeat(np.arange(50) < 20, 2)
    rows = Outcomes(np.zeros((100, 1)), np.ones(100), event, group)
    fold = inner_folds(rows, 5, rng)
    assert (fold[::2] == fold[1::2]).all()
    assert np.bincount(fold).tolist() == [20] * 5
    assert np.bincount(fold, weights=event).tolist() == [8] * 5
    few = replace(rows, event=np.isin(group, [3, 7]))
    assert set(inner_folds(few, 5, rng)) == {0, 1}


# Forest


def grown(rows: Outcomes, **options: Any) -> RandomSurvivalForest:
    forest = RandomSurvivalForest(n_estimators=30, min_samples_leaf=5, random_state=1, n_jobs=1, **options)
    return forest.fit(rows.x.astype(np.float32), Surv.from_arrays(rows.event, rows.time))


def test_tree_arrays_predict_what_the_forest_predicts() -> None:
    rows, new = outcomes(150, 8), np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)
    forest = grown(rows)
    trees = TreeArrays.of(forest)
    hazard = trees.cumulative_hazard(new, np.ones((40, 30), dtype=bool))
    theirs = forest.predict_cumulative_hazard_function(new, return_array=True)[:, forest.is_event_time_]
    np.testing.assert_allclose(hazard, theirs, rtol=1e-6)
    np.testing.assert_allclose(hazard.sum(axis=1), forest.predict(new), rtol=1e-6)


def test_moving_censored_times_back_changes_no_tree() -> None:
    rows = outcomes(150, 8, ties=False)
    moved = last_event_before(rows.time, rows.event)
    np.testing.assert_array_equal(moved[rows.event], rows.time[rows.event])
    assert (moved <= rows.time).all()
    one, other = TreeArrays.of(grown(rows)), TreeArrays.of(grown(replace(rows, time=moved)))
    for name in ("left", "right", "feature", "threshold", "hazard", "times"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert last_event_before(np.array([1.0, 2, 3, 4]), np.array([False, True, False, True])).tolist() == [0, 2, 2, 4]


def test_out_of_bag_by_hand() -> None:
    cases = cohort(160)
    two_slides = tuple(replace(case, group=f"patient-{i // 2}") for i, case in enumerate(cases.cases))
    train, val, _ = parts(replace(cases, cases=two_slides))
    both = replace(train, cases=train.cases + val.cases)
    predictor = FOREST.fit(train, val, FakeContext(train.specs, seed=9))
    assert train.targets is not None
    assert val.targets is not None
    time, event = (np.concatenate([getattr(p.targets, name) for p in (train, val)]) for name in ("time", "event"))
    x = design_matrix(both).astype(np.float32)
    seed = int(np.random.SeedSequence(9).generate_state(1)[0])
    forest = RandomSurvivalForest(n_estimators=40, min_samples_leaf=15, random_state=seed, n_jobs=1)
    forest.fit(x, Surv.from_arrays(event, time))
    for i in range(5):
        row = len(train) + i
        patient = {j for j, case in enumerate(both.cases) if case.group == both.cases[row].group}
        free = [
            t
            for t, sample in zip(forest.estimators_, forest.estimators_samples_, strict=True)
            if not patient & {*sample}
        ]
        assert 0 < len(free) < 40
        by_hand = np.mean([tree.predict(x[row : row + 1])[0] for tree in free])
        assert predictor.predict_validation(val).risk[i] == pytest.approx(by_hand, rel=1e-6)


def test_leaves_hold_at_least_the_cases_asked_for() -> None:
    train, val, _ = parts(cohort(200))
    few, many = (
        SurvivalForest(SurvivalForestOptions(trees=25, min_leaf=size)).fit(train, val, FakeContext(train.specs)).state()
        for size in (30, 5)
    )
    assert len(few["hazard"]) < len(many["hazard"])
    assert np.bincount(np.searchsorted(few["root"], np.flatnonzero(few["left"] < 0), side="right")).max() <= 150 // 30


def test_too_few_cases_for_a_split_is_said() -> None:
    train, val, _ = parts(cohort(32))
    with pytest.raises(DataError, match=r"no tree splits 24 cases into leaves of 15; .*min_leaf"):
        FOREST.fit(train, val, FakeContext(train.specs))


# Late fusion


@dataclass
class _Scripted(Predictor):
    """Says `scale` times the modality's first number; remembers what it was asked."""

    modality: str
    scale: float = 1.0
    times: tuple[float, ...] | None = (6.0, 12.0)
    asked: list[CaseSet] = field(default_factory=list)

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        self.asked.append(cases)
        risk = np.array([self.scale * float(case.bags[self.modality].values[0, 0]) for case in cases])
        if self.times is None:
            return SurvivalPrediction(cases.ids, risk)
        survival = np.exp(-np.outer(1 / (1 + np.exp(-risk)), self.times) / 10)
        return SurvivalPrediction(cases.ids, risk, survival, np.array(self.times))

    def state(self) -> dict[str, np.ndarray]:
        return {}


@dataclass
class _Fit:
    predictor: Predictor
    validation: SurvivalPrediction
    prior: SurvivalPrediction | None = None
    validation_loss: float = float("nan")


def fused(
    val: CaseSet, members: Mapping[str, _Scripted], model: LateFusion | None = None
) -> tuple[LateFusion, FakeContext]:
    """A late-fusion model and a context that has its members, validated on the cases of `val` that have them."""
    model = model or LateFusion(LateFusionOptions(member="cox"))
    context = FakeContext(val.specs)
    for member in model.members(context.task, val.specs):
        (name,) = member.modalities
        rows = [i for i, case in enumerate(val.cases) if name in val.visible(case)]
        context.members[member] = _Fit(members[name], members[name].predict(val.restrict((name,)).take(rows)))
        members[name].asked.clear()
    return model, context


def numbers(a: Sequence[float | None], b: Sequence[float | None]) -> CaseSet:
    tables = {m: [None if v is None else np.array([[v]]) for v in values] for m, values in (("a", a), ("b", b))}
    return case_set(tables, np.arange(1.0, len(a) + 1), np.ones(len(a), dtype=bool))


VAL = numbers([1, 2, 3, None], [10, None, 30, 50])


def test_default_members_follow_the_kind_of_modality() -> None:
    specs = {
        "clinical": ModalitySpec("clinical", "vector", 2),
        "image": ModalitySpec("image", "bag", 8),
        "map": ModalitySpec("map", "grid", 3, axes=2),
    }
    members = LateFusion(LateFusionOptions()).members(Task(), specs)
    assert [(str(m.model), m.modalities) for m in members] == [
        ("snn", ("clinical",)),
        ("abmil", ("image",)),
        ("abmil", ("map",)),
    ]
    named = LateFusion(LateFusionOptions(member="survival-forest[min_leaf=5]")).members(Task(), specs)
    assert {m.model for m in named} == {PluginRef.of("survival-forest", min_leaf=5)}
    with pytest.raises(SuiteError, match="cannot read"):
        LateFusionOptions(member="cox[")


def test_one_modality_is_skipped_with_a_reason() -> None:
    model = LateFusion(LateFusionOptions())
    spec = ModalitySpec("omic", "vector", 2)
    assert model.skip(Task(), {"omic": spec}) == "late fusion needs at least two modalities, not omic"
    assert model.skip(Task(), {"omic": spec, "image": spec}) is None


def test_risk_is_the_sum_of_z_scores_of_the_modalities_a_case_has() -> None:
    members = {"a": _Scripted("a"), "b": _Scripted("b", scale=-2.0)}
    model, context = fused(VAL, members)
    predictor = model.fit(VAL, VAL, context)
    test = numbers([5, None, 2], [30, 70, None])
    said = predictor.predict(test.without_targets())
    # a: validation mean 2, sd 1; b: risks -20, -60, -100, so mean -60, sd 40
    np.testing.assert_allclose(said.risk, [3 + 0, (-140 + 60) / 40, 0])
    assert [cases.ids for cases in members["b"].asked] == [("case-0", "case-1")]
    assert all(tuple(cases.specs) == (m.modality,) for m in members.values() for cases in m.asked)
    assert all(cases.targets is None for m in members.values() for cases in m.asked)
    assert context.logged[1] == (0, {"validation_mean/b": -60.0, "validation_sd/b": 40.0})


def test_a_hidden_modality_is_a_missing_one() -> None:
    model, context = fused(VAL, {"a": _Scripted("a"), "b": _Scripted("b")})
    predictor = model.fit(VAL, VAL, context)
    shown, hidden = numbers([5], [30]), replace(numbers([5], [30]), hidden={"case-0": frozenset({"a"})})
    assert predictor.predict(hidden).risk != predictor.predict(shown).risk
    assert predictor.predict(hidden).risk == predictor.predict(numbers([None, 1], [30, 1])[:1]).risk


def test_survival_is_the_mean_of_the_members_that_speak() -> None:
    members = {"a": _Scripted("a"), "b": _Scripted("b", times=(3.0, 6.0, 12.0, 24.0))}
    model, context = fused(VAL, members)
    said = model.fit(VAL, VAL, context).predict(numbers([0.5, None], [1.0, 2.0]))
    np.testing.assert_array_equal(np.asarray(said.times), [3, 6, 12, 24])
    a, b = (
        np.exp(-np.outer(1 / (1 + np.exp(-np.array(risk))), times) / 10)
        for risk, times in (([0.5], (6, 12)), ([1.0, 2.0], (3, 6, 12, 24)))
    )
    a_there = [(1 + a[0, 0]) / 2, a[0, 0], a[0, 1], a[0, 1]]  # linear through S(0) = 1, flat behind the last time
    assert said.survival is not None
    np.testing.assert_allclose(said.survival, [(a_there + b[0]) / 2, b[1]])


def test_no_survival_where_a_member_has_none() -> None:
    model, context = fused(VAL, {"a": _Scripted("a"), "b": _Scripted("b", times=None)})
    said = model.fit(VAL, VAL, context).predict(numbers([1], [2]))
    assert said.survival is None
    assert said.times is None


def test_a_constant_member_adds_nothing_and_is_logged() -> None:
    model, context = fused(VAL, {"a": _Scripted("a"), "b": _Scripted("b", scale=0.0)})
    predictor = model.fit(VAL, VAL, context)
    assert context.logged[1][1] == {"validation_mean/b": 0.0, "validation_sd/b": 0.0}
    np.testing.assert_allclose(predictor.predict(numbers([3, None], [9, 9])).risk, [1, 0])


def test_validation_uses_the_members_out_of_sample_predictions() -> None:
    model, context = fused(VAL, {"a": _Scripted("a"), "b": _Scripted("b")})
    predictor = model.fit(VAL, VAL, context)
    for fit in context.members.values():
        fit.predictor = None  # nobody may ask it again
    said = predictor.predict_validation(VAL.without_targets())
    np.testing.assert_allclose(said.risk, [-1 - 1, 0, 1 + 0, 1])
    with pytest.raises(PluginError, match="'case-4' has 'a' but was no validation case"):
        predictor.predict_validation(numbers([1, 2, 3, None, 5], [10, None, 30, 50, None]))


def test_late_fusion_of_cox_is_restored_from_its_members_and_scores() -> None:
    train, val, test = parts(cohort(200))
    model = LateFusion(LateFusionOptions(member="cox"))
    context = FakeContext(train.specs)
    for member in model.members(context.task, train.specs):
        one = [part.restrict(member.modalities) for part in (train, val)]
        fitted = COX.fit(one[0], one[1], FakeContext(one[0].specs))
        context.members[member] = _Fit(fitted, fitted.predict_validation(one[1].without_targets()))
    predictor = model.fit(train, val, context)
    restored = model.restore(load(save(dict(predictor.state()))), context)
    said = predictor.predict(test.without_targets())
    assert same(said, restored.predict(test.without_targets()))
    assert concordance(test, said) > 0.65
    assert concordance(val, predictor.predict_validation(val.without_targets())) > 0.65


# Real data


@pytest.mark.data
@pytest.mark.slow
def test_cox_and_forest_reach_what_plain_models_reach_on_kirp() -> None:
    """KIRP, clinical and omics, published folds: about .81 for either (Coxnet .806, forest .810 on omics)."""
    home = os.environ.get("FUSIONBENCH_DATA")
    if not home:
        pytest.skip("FUSIONBENCH_DATA is not set")
    x, time, event, folds = _kirp(Path(home) / "porpoise")
    forest = SurvivalForest(SurvivalForestOptions())
    scores = np.array([[_kirp_score(model, x, time, event, *fold) for fold in folds] for model in (COX, forest)])
    assert (scores.mean(axis=1) > 0.76).all(), scores


def _kirp(home: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    import pandas as pd

    table = pd.read_csv(home / "datasets_csv_mutsig/tcga_kirp_all_clean.csv.zip", index_col=0, low_memory=False)
    table = table.drop_duplicates("case_id").set_index("case_id")
    meta = ["slide_id", "survival_months", "censorship", "site", "oncotree_code", "train"]
    x = table.drop(columns=meta).to_numpy(dtype=np.float64)
    splits = [pd.read_csv(home / f"splits/5foldcv/tcga_kirp/splits_{k}.csv") for k in range(5)]
    place = {case: row for row, case in enumerate(table.index)}
    train, test = ([np.array([place[case] for case in s[part].dropna()]) for s in splits] for part in ("train", "val"))
    time, event = table["survival_months"].to_numpy(), (table["censorship"] == 0).to_numpy()
    return x, time, event, list(zip(train, test, strict=True))


def _kirp_score(
    model: FusionModel, x: np.ndarray, time: np.ndarray, event: np.ndarray, fit: np.ndarray, test: np.ndarray
) -> float:
    middle = np.nanmedian(x[fit], axis=0)
    x = np.where(np.isnan(x), middle, x)
    spread = np.subtract(*np.quantile(x[fit], [0.75, 0.25], axis=0))
    x = np.where(spread > 0, np.clip(x, middle - 5 * spread, middle + 5 * spread), x).astype(np.float32)
    train, val, test_set = (
        case_set({"all": list(x[rows][:, None])}, time[rows], event[rows]) for rows in (fit[::2], fit[1::2], test)
    )
    renamed = tuple(replace(case, id=f"val-{case.id}", group=f"val-{case.id}") for case in val.cases)
    predictor = model.fit(train, replace(val, cases=renamed), FakeContext(train.specs))
    return concordance(test_set, predictor.predict(test_set.without_targets()))
