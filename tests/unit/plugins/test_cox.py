"""Penalised Cox regression on concatenated vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fusionbench_controls.cox import Cox, CoxOptions
from fusionbench_controls.coxnet import fit_path, inner_folds, log_partial_likelihood, penalty_path
from fusionbench_controls.features import Outcomes, design_matrix
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.util import Surv

from fusionbench import DataError
from tests.unit.control_cases import FakeContext, case_set, cohort, outcomes, parts

COX = Cox(CoxOptions())


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
