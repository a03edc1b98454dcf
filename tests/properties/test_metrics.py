"""What must hold for any prediction: metrics of risk see its order only, and no metric sees the order of cases."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sksurv.metrics import concordance_index_censored, concordance_index_ipcw, cumulative_dynamic_auc
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

from fusionbench.builtin.calibration import interval_mass, merge_intervals
from fusionbench.builtin.metrics import METRICS, HarrellC, TimeDependentAuc, UnoC
from fusionbench.core.errors import UndefinedMetric
from fusionbench.core.types import SurvivalPrediction, SurvivalTargets
from fusionbench.survival.stats import Censoring, harrell_c

GRID = np.linspace(0, 60, 21)[1:]
TRAIN = SurvivalTargets(np.arange(1.0, 101.0), np.arange(100) % 3 > 0, np.zeros(100, dtype=np.int64))


@st.composite
def scored(draw):
    """A prediction with S on the grid, and targets censored beyond 60 months."""
    n = draw(st.integers(12, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    risk = rng.integers(-4, 5, size=n).astype(float)
    time, event = rng.integers(1, 90, size=n).astype(float), rng.random(n) < draw(st.floats(0.2, 1))
    late = time > 60
    targets = SurvivalTargets(np.where(late, np.nextafter(60, 61), time), event & ~late, np.zeros(n, dtype=np.int64))
    survival = np.cumprod(1 - rng.uniform(0, 0.1, size=(n, 20)), axis=1)
    return SurvivalPrediction(tuple(map(str, range(n))), risk, survival, GRID), targets


@st.composite
def tied(draw):
    """Risk, test and training targets, with ties of times, of events and censorings, and of risks, also in chains."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    step = draw(st.sampled_from([1.0, 0.1, 1e-17]))

    def followed(n, share):
        time = rng.integers(1, 70, size=n) * step
        return SurvivalTargets(time, rng.random(n) < share, np.zeros(n, dtype=np.int64))

    test = followed(draw(st.integers(2, 40)), draw(st.floats(0.1, 1)))
    train = followed(draw(st.integers(2, 60)), draw(st.sampled_from([0.2, 0.6, 1.0])))
    risk = rng.integers(0, 9, size=len(test.time)) * draw(st.sampled_from([1.0, 6e-9, 1e-8]))
    return risk, test, train


@settings(deadline=None)
@given(tied())
def test_values_are_those_of_scikit_survival(example):
    risk, test, train = example
    prediction = SurvivalPrediction(tuple(map(str, range(len(risk)))), risk)
    ours = {metric: value_of(metric, prediction, test, train) for metric in (HarrellC, UnoC, TimeDependentAuc)}
    observed, fitted_on = (Surv.from_arrays(of.event, of.time) for of in (test, train))
    if ours[HarrellC] is not None:
        assert ours[HarrellC] == concordance_index_censored(test.event, test.time, risk)[0]
    if ours[UnoC] is not None:
        expected = concordance_index_ipcw(fitted_on, observed, risk)[0]
        assert ours[UnoC] == pytest.approx(expected, rel=0, abs=1e-12)
    if ours[TimeDependentAuc] is not None:
        months = [month for month in (12, 36, 60) if month < test.time.max()]
        expected = cumulative_dynamic_auc(fitted_on, observed, risk, months)[0].mean()
        assert ours[TimeDependentAuc] == pytest.approx(expected, rel=0, abs=1e-12)


@settings(deadline=None)
@given(tied())
def test_the_distribution_of_censoring_is_that_of_scikit_survival(example):
    _, test, train = example
    assume(train.event.any())
    ours = Censoring.of(train.time, train.event)
    asked = np.concatenate([test.time, train.time, train.time + 1e-17])
    asked = asked[asked <= ours.reach]
    theirs = CensoringDistributionEstimator().fit(Surv.from_arrays(train.event, train.time))
    assert ours.uncensored(asked) == pytest.approx(theirs.predict_proba(asked), rel=0, abs=1e-15)


@settings(deadline=None)
@given(tied())
def test_concordance_in_parts_is_the_whole(example):
    risk, test, _ = example
    weights = np.linspace(0.5, 2, len(risk))
    whole = harrell_c(test.time, test.event, risk, weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[harrell_c.__module__], "_CHUNK", 2 * len(risk))
        assert harrell_c(test.time, test.event, risk, weights) == pytest.approx(whole, rel=1e-14, nan_ok=True)


def value_of(metric, prediction, targets, train=TRAIN):
    try:
        return metric()(prediction, targets, train)
    except UndefinedMetric:
        return None


@settings(deadline=None)
@given(scored(), st.sampled_from([HarrellC, UnoC, TimeDependentAuc]))
def test_risk_metrics_see_only_the_order(example, metric):
    prediction, targets = example
    value = value_of(metric, prediction, targets)
    assume(value is not None)
    for risk in (np.exp(prediction.risk), 2 * prediction.risk + 5):
        assert value_of(metric, SurvivalPrediction(prediction.ids, risk, None, None), targets) == pytest.approx(value)
    assert value_of(metric, SurvivalPrediction(prediction.ids, -prediction.risk), targets) == pytest.approx(1 - value)


@settings(deadline=None)
@given(scored(), st.sampled_from(METRICS), st.randoms(use_true_random=False))
def test_no_metric_sees_the_order_of_cases(example, metric, random):
    prediction, targets = example
    order = list(range(len(prediction.ids)))
    random.shuffle(order)
    ids = tuple(prediction.ids[i] for i in order)
    shuffled = SurvivalPrediction(ids, prediction.risk[order], prediction.survival[order], GRID)
    of_shuffled = SurvivalTargets(targets.time[order], targets.event[order], targets.time_bin[order])
    value = value_of(metric, prediction, targets)
    assert value_of(metric, shuffled, of_shuffled) == (None if value is None else pytest.approx(value))


@settings(deadline=None)
@given(scored(), st.sampled_from(METRICS))
def test_values_lie_in_the_declared_range(example, metric):
    value = value_of(metric, *example)
    assume(value is not None)
    assert metric.range[0] <= value <= metric.range[1]


@given(scored())
def test_expected_and_observed_mass_are_the_cases(example):
    prediction, targets = example
    expected, observed = interval_mass(prediction.survival, GRID, targets.time, targets.event)
    assert expected.sum() == pytest.approx(len(targets.time))
    assert observed.sum() == pytest.approx(len(targets.time))
    assert (observed >= -1e-12).all()


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.floats(0.5, 20))
def test_merged_intervals_hold_enough(expected, least):
    starts = merge_intervals(np.asarray(expected), least)
    assert starts[0] == 0
    groups = np.add.reduceat(np.asarray(expected), starts)
    assert groups.sum() == pytest.approx(sum(expected))
    assert len(groups) == 1 or (groups >= least * (1 - 1e-9)).all()
