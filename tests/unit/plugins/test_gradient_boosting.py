"""Gradient-boosted Cox regression on concatenated vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fusionbench_controls.boosting import GradientBoosting, GradientBoostingOptions
from fusionbench_controls.features import design_matrix
from sksurv.ensemble import GradientBoostingSurvivalAnalysis
from sksurv.util import Surv

from fusionbench import CaseSet, DataError
from tests.unit.control_cases import FakeContext, case_set, cohort, concordance, parts

BOOSTING = GradientBoosting(GradientBoostingOptions())


def theirs(*fitted: CaseSet, seed: int) -> GradientBoostingSurvivalAnalysis:
    """scikit-survival's own model with the documented defaults."""
    targets = [cases.targets for cases in fitted if cases.targets is not None]
    time, event = (np.concatenate([getattr(t, name) for t in targets]) for name in ("time", "event"))
    model = GradientBoostingSurvivalAnalysis(
        n_estimators=200,
        learning_rate=0.05,
        max_depth=3,
        min_samples_leaf=10,
        subsample=0.5,
        max_features="sqrt",
        random_state=seed,
    )
    x = np.concatenate([design_matrix(cases) for cases in fitted]).astype(np.float32)
    return model.fit(x, Surv.from_arrays(event, time))


@pytest.mark.parametrize("seed", [0, 2**62])
def test_it_predicts_what_scikit_survival_predicts(seed: int) -> None:
    train, val, test = parts(cohort(200, columns=30))
    predictor = BOOSTING.fit(train, val, FakeContext(train.specs, seed))
    of_all, of_training = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
    for said, cases, model in (
        (predictor.predict(test.without_targets()), test, theirs(train, val, seed=of_all)),
        (predictor.predict_validation(val.without_targets()), val, theirs(train, seed=of_training)),
    ):
        x = design_matrix(cases).astype(np.float32)
        np.testing.assert_allclose(said.risk, model.predict(x), rtol=0, atol=1e-6)
        at_events = np.isin(model.unique_times_, np.asarray(said.times))
        assert said.survival is not None
        curves = model.predict_survival_function(x, return_array=True)[:, at_events]
        np.testing.assert_allclose(said.survival, curves, rtol=0, atol=1e-6)


def test_validation_predictions_come_from_training_cases_alone() -> None:
    train, val, test = parts(cohort(160))
    assert val.targets is not None
    noise = np.random.default_rng(0)
    other_targets = replace(val.targets, time=noise.permutation(val.targets.time))
    refs = [{m: noise.standard_normal((1, 6)).astype(np.float32) for m in ("a", "b")} for _ in val.cases]
    other_val = replace(
        val, targets=other_targets, cases=tuple(replace(c, refs=r) for c, r in zip(val.cases, refs, strict=True))
    )
    one, other = (BOOSTING.fit(train, part, FakeContext(train.specs)) for part in (val, other_val))
    blind = val.without_targets()
    np.testing.assert_array_equal(one.predict_validation(blind).risk, other.predict_validation(blind).risk)
    assert (one.predict(test.without_targets()).risk != other.predict(test.without_targets()).risk).any()


def test_trees_have_the_size_asked_for() -> None:
    train, val, _ = parts(cohort(200))
    options = GradientBoostingOptions(trees=20, depth=1, min_leaf=30, subsample=1.0, max_features="log2")
    state = GradientBoosting(options).fit(train, val, FakeContext(train.specs)).state()
    assert len(state["all.root"]) == 20
    assert (np.diff([*state["all.root"], len(state["all.left"])]) <= 3).all()
    x = np.concatenate([design_matrix(train), design_matrix(val)]).astype(np.float32)
    inner = state["all.left"] >= 0
    for column, threshold in zip(state["all.feature"][inner], state["all.threshold"][inner], strict=True):
        assert 30 <= (x[:, column] <= threshold).sum() <= len(x) - 30


def test_it_finds_what_no_line_through_a_column_finds() -> None:
    """Either sign of `a` shortens life, so that its slope is nil."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((600, 3)).astype(np.float32) for _ in range(2))
    death, censoring = rng.exponential(20 * np.exp(-2 * np.abs(a[:, 0]))), rng.exponential(20, 600)
    tables = {"a": list(a[:, None]), "b": list(b[:, None])}
    train, val, test = parts(case_set(tables, np.minimum(death, censoring) + 0.01, death <= censoring))
    said = BOOSTING.fit(train, val, FakeContext(train.specs)).predict(test.without_targets())
    assert concordance(test, said) > 0.65


def test_it_takes_far_more_columns_than_cases() -> None:
    train, val, test = parts(cohort(120, columns=600, signal=0.0))
    said = BOOSTING.fit(train, val, FakeContext(train.specs)).predict(test.without_targets())
    assert len(np.unique(said.risk)) == len(test)


def test_two_events_are_enough_and_nothing_is_undefined() -> None:
    train, val, test = parts(cohort(160))
    assert train.targets is not None
    assert val.targets is not None
    train = replace(train, targets=replace(train.targets, event=np.arange(len(train)) == 20))
    val = replace(val, targets=replace(val.targets, event=np.arange(len(val)) == 20))
    predictor = BOOSTING.fit(train, val, FakeContext(train.specs))
    for said in (predictor.predict(test.without_targets()), predictor.predict_validation(val.without_targets())):
        assert said.survival is not None
        assert np.isfinite(said.risk).all()
        assert np.isfinite(said.survival).all()


def test_training_cases_without_an_event_are_refused() -> None:
    train, val, _ = parts(cohort(160))
    assert train.targets is not None
    train = replace(train, targets=replace(train.targets, event=np.zeros(len(train), dtype=bool)))
    with pytest.raises(DataError, match="none of the 80 training cases has an observed event"):
        BOOSTING.fit(train, val, FakeContext(train.specs))


def test_too_few_cases_for_a_split_is_said() -> None:
    train, val, _ = parts(cohort(32))
    with pytest.raises(DataError, match=r"no tree splits 16 cases into leaves of 10; .*boosting\[min_leaf"):
        BOOSTING.fit(train, val, FakeContext(train.specs))
