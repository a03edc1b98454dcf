"""The survival metrics: equal to scikit-survival where both apply, and never a number where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sksurv.metrics import (
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.util import Surv

from fusionbench.builtin.calibration import interval_mass, merge_intervals
from fusionbench.builtin.metrics import METRICS, DCalibration, HarrellC, IntegratedBrier, TimeDependentAuc, UnoC
from fusionbench.core.errors import PluginError, UndefinedMetric
from fusionbench.core.types import SurvivalPrediction, SurvivalTargets

TAU = 60.0
GRID = np.linspace(0, TAU, 21)[1:]
SCALE = 50.0


def targets(time, event):
    time, event = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    return SurvivalTargets(time, event, np.zeros(len(time), dtype=np.int64))


def censor_after(of, tau):
    """As the harness hands them to a metric with horizon tau."""
    late = of.time > tau
    return targets(np.where(late, np.nextafter(tau, np.inf), of.time), of.event & ~late)


def cohort(seed, n):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    died, left = rng.exponential(SCALE * np.exp(-truth)), rng.uniform(0, 150, size=n)
    return truth, targets(np.minimum(died, left), died <= left)


def true_survival(truth, times):
    return np.exp(-times[None, :] * np.exp(truth)[:, None] / SCALE)


def prediction(risk, survival=None, times=None):
    return SurvivalPrediction(tuple(f"p{i}" for i in range(len(risk))), np.asarray(risk, float), survival, times)


@pytest.fixture(params=range(5))
def example(request):
    """Prediction on the grid, test targets censored beyond tau, test targets as they are, training targets."""
    truth, test = cohort(request.param, 90)
    _, train = cohort(request.param + 100, 300)
    rng = np.random.default_rng(request.param)
    noisy = truth + rng.normal(size=90)
    return prediction(noisy.round(1), true_survival(noisy, GRID), GRID), censor_after(test, TAU), test, train


def structured(of):
    return Surv.from_arrays(of.event, of.time)


def test_ids_are_the_documented_ones():
    names = [metric.name for metric in METRICS]
    assert names == ["harrell_c_index", "uno_c_index", "td_auc", "ibs", "d_calibration"]
    directions = [metric.higher_is_better for metric in METRICS]
    assert directions == [True, True, True, False, None]
    assert [metric.horizon for metric in METRICS] == ["own", "tau", "tau", "tau", "own"]


def test_harrell(example):
    made, _, test, train = example
    assert HarrellC()(made, test, train) == concordance_index_censored(test.event, test.time, made.risk)[0]


def test_uno(example):
    made, censored, test, train = example
    expected = concordance_index_ipcw(structured(train), structured(test), made.risk, tau=TAU)[0]
    assert UnoC()(made, censored, train) == pytest.approx(expected, abs=1e-12)


def test_td_auc(example):
    made, censored, _, train = example
    expected = cumulative_dynamic_auc(structured(train), structured(censored), made.risk, [12, 36, 60])[0]
    assert TimeDependentAuc()(made, censored, train) == pytest.approx(expected.mean(), abs=1e-12)
    without_s = prediction(made.risk)
    assert TimeDependentAuc()(without_s, censored, train) == pytest.approx(expected.mean(), abs=1e-12)


@pytest.mark.parametrize(("tau", "months"), [(59.0, [12, 36]), (36.0, [12, 36]), (12.0, [12])])
def test_td_auc_leaves_out_months_beyond_tau(example, tau, months):
    made, _, test, train = example
    censored = censor_after(test, tau)
    expected = cumulative_dynamic_auc(structured(train), structured(censored), made.risk, months)[0].mean()
    grid = np.linspace(0, tau, 21)[1:]
    with_s = prediction(made.risk, np.ones((90, 20)) / 2, grid)
    assert TimeDependentAuc()(with_s, censored, train) == pytest.approx(expected, abs=1e-12)
    assert TimeDependentAuc()(prediction(made.risk), censored, train) == pytest.approx(expected, abs=1e-12)


def test_td_auc_needs_a_horizon_of_a_year(example):
    made, _, test, train = example
    grid = np.linspace(0, 11.9, 21)[1:]
    with pytest.raises(UndefinedMetric, match="before 12 months"):
        TimeDependentAuc()(prediction(made.risk, made.survival, grid), censor_after(test, 11.9), train)


def test_ibs(example):
    made, censored, _, train = example
    inside = censored.time.min() <= GRID[0]
    assert inside, "the example must be one that scikit-survival takes"
    expected = integrated_brier_score(structured(train), structured(censored), made.survival, GRID)
    assert IntegratedBrier()(made, censored, train) == pytest.approx(expected, abs=1e-12)


def test_ibs_where_the_grid_starts_before_the_first_test_time(example):
    made, censored, _, train = example
    late = censored.time > 10
    survival, kept = made.survival[late], targets(censored.time[late], censored.event[late])
    with pytest.raises(ValueError, match="within follow-up"):
        integrated_brier_score(structured(train), structured(kept), survival, GRID)
    value = IntegratedBrier()(prediction(made.risk[late], survival, GRID), kept, train)
    assert 0 < value < 0.5


def test_ibs_without_censoring_is_the_plain_squared_error():
    times = np.array([5.0, 15.0, 30.0, 70.0])
    test = targets(times, np.ones(4))
    survival = np.full((4, 20), 0.5)
    assert IntegratedBrier()(prediction(np.zeros(4), survival, GRID), test, test) == pytest.approx(0.25)
    perfect = (times[:, None] > GRID).astype(float)
    assert IntegratedBrier()(prediction(np.zeros(4), perfect, GRID), test, test) == 0


def test_ibs_prefers_the_true_survival(example):
    _, censored, _, train = example
    truth, _ = cohort(0, 90)
    _, test = cohort(0, 90)
    censored = censor_after(test, TAU)
    best = IntegratedBrier()(prediction(truth, true_survival(truth, GRID), GRID), censored, train)
    worse = IntegratedBrier()(prediction(truth, true_survival(-truth, GRID), GRID), censored, train)
    assert best < worse


def test_d_calibration_without_censoring_is_pearsons_test():
    rng = np.random.default_rng(0)
    time = rng.exponential(30, size=200)
    cuts = np.array([10.0, 20.0, 40.0])
    survival = np.tile(np.exp(-cuts / 30), (200, 1))
    counts = np.bincount(np.searchsorted(cuts, time), minlength=4)
    expected = 200 * -np.diff([1, *np.exp(-cuts / 30), 0])
    value = DCalibration()(prediction(np.zeros(200), survival, cuts), targets(time, np.ones(200)), targets([1], [1]))
    assert value == pytest.approx(stats.chisquare(counts, expected).pvalue)


def test_censored_mass_is_spread_by_the_cases_own_survival():
    times, survival = np.array([10.0, 20.0]), np.array([[0.8, 0.4]])
    expected, observed = interval_mass(survival, times, np.array([15.0]), np.array([False]))
    assert expected == pytest.approx([0.2, 0.4, 0.4])
    assert observed == pytest.approx([0, 0.2 / 0.6, 0.4 / 0.6])  # S(15) = 0.6 on the line from 0.8 to 0.4
    _, observed = interval_mass(survival, times, np.array([25.0]), np.array([False]))
    assert observed == pytest.approx([0, 0, 1])
    _, observed = interval_mass(survival, times, np.array([10.0]), np.array([True]))
    assert observed == pytest.approx([1, 0, 0])
    _, observed = interval_mass(np.array([[0.5, 0.0]]), times, np.array([22.0]), np.array([False]))
    assert observed == pytest.approx([0, 0, 1])


def test_intervals_are_merged_from_the_left():
    assert merge_intervals(np.array([5.0, 5.0, 5.0]), 5).tolist() == [0, 1, 2]
    assert merge_intervals(np.array([2.0, 3.0, 1.0, 4.0, 2.0]), 5).tolist() == [0, 2]
    assert merge_intervals(np.array([1.0, 1.0]), 5).tolist() == [0]


@pytest.mark.parametrize("times", [np.array([12.0, 30.0, 60.0]), np.linspace(1, 120, 120)], ids=["bins", "fine"])
def test_d_calibration_tells_true_from_wrong_survival(times):
    truth, test = cohort(3, 400)
    right = DCalibration()(prediction(truth, true_survival(truth, times), times), test, test)
    wrong = DCalibration()(prediction(truth, true_survival(truth + 1, times), times), test, test)
    assert right > 0.05
    assert wrong < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("times", [np.array([12.0, 30.0, 60.0]), np.linspace(1, 120, 120)], ids=["bins", "fine"])
def test_d_calibration_rejects_the_truth_no_more_often_than_it_says(times):
    rejected = 0
    for seed in range(400):
        truth, test = cohort(seed, 100)
        made = prediction(truth, true_survival(truth, times), times)
        rejected += DCalibration()(made, test, test) <= 0.05
    assert rejected / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


TRAIN = targets([10, 20, 30, 80], [1, 0, 1, 0])
FLAT = np.full((3, 20), 0.5)


@pytest.mark.parametrize(
    ("metric", "test", "reason"),
    [
        (HarrellC, targets([1, 2, 3], [0, 0, 0]), "no event among the test cases"),
        (HarrellC, targets([1, 2, 3], [0, 0, 1]), "no comparable pair"),
        (HarrellC, targets([2, 2, 1], [1, 1, 0]), "no comparable pair"),
        (UnoC, targets([1, 2, 3], [0, 0, 1]), "no comparable pair"),
        (UnoC, targets([1, 90, 95], [1, 1, 0]), "training follow-up ends at 80 months"),
        (TimeDependentAuc, targets([20, 61, 61], [1, 0, 0]), "no test case has an event by 12 months"),
        (TimeDependentAuc, targets([2, 20, 50], [1, 0, 0]), "no test case is followed beyond 60 months"),
        (IntegratedBrier, targets([1, 2, 3], [0, 0, 0]), "no event among the test cases"),
        (IntegratedBrier, targets([1, 2, 2.5], [1, 0, 1]), "test follow-up ends at 2.5 months, before the end of"),
        (IntegratedBrier, targets([1, 20, 60], [1, 0, 1]), "test follow-up ends at 60 months, before the end of"),
        (DCalibration, targets([1, 2, 3], [0, 0, 0]), "no event among the test cases"),
        (DCalibration, targets([1, 2, 3], [1, 0, 0]), "fewer than two time intervals"),
    ],
)
def test_undefined_values_have_a_reason(metric, test, reason):
    with pytest.raises(UndefinedMetric, match=reason):
        metric()(prediction([1, 2, 3], FLAT, GRID), test, TRAIN)


def test_weights_need_training_follow_up():
    made, test = prediction([1, 2, 3], FLAT, GRID), targets([10, 30, 61], [1, 1, 0])
    with pytest.raises(UndefinedMetric, match="no event among the training cases"):
        UnoC()(made, test, targets([80, 90], [0, 0]))
    with pytest.raises(UndefinedMetric, match="all training cases are censored by 30 months"):
        UnoC()(made, test, targets([5, 30], [1, 0]))
    with pytest.raises(UndefinedMetric, match="training follow-up ends at 40 months"):
        IntegratedBrier()(made, test, targets([5, 40], [1, 0]))


@pytest.mark.parametrize("metric", [IntegratedBrier, DCalibration])
def test_without_survival_there_is_no_value(metric):
    with pytest.raises(UndefinedMetric, match="risks, not survival"):
        metric()(prediction([1, 2, 3]), targets([1, 2, 3], [1, 1, 1]), TRAIN)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_predictions_are_errors_not_values(metric, bad):
    made = prediction([1, bad, 3], np.where(np.arange(20) == 3, bad, FLAT), GRID)
    with pytest.raises(PluginError, match="NaN or infinite"):
        metric()(made, targets([1, 20, 61], [1, 1, 0]), TRAIN)
    with pytest.raises(PluginError, match=r"risks for|S has shape"):
        metric()(prediction([1, 2], FLAT[:2], GRID), targets([1, 20, 61], [1, 1, 0]), TRAIN)
