"""Survival metrics: concordance, time-dependent AUC, integrated Brier score and D-calibration.

Metrics that scikit-survival has are computed here with array operations, to the same values: on folds of a benchmark's
size its checks of the input take most of its time. Libraries are imported inside functions: planning only needs the
names of the metrics.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fusionbench.builtin.calibration import interval_mass, merge_intervals
from fusionbench.core.errors import PluginError, UndefinedMetric
from fusionbench.core.metric import Metric
from fusionbench.core.rounding import ROUNDING
from fusionbench.core.types import SurvivalPrediction, SurvivalTargets

if TYPE_CHECKING:
    from fusionbench.core.types import Floats
    from fusionbench.survival.stats import Censoring

Targets = SurvivalTargets[NDArray[Any]]

AUC_MONTHS = (12.0, 36.0, 60.0)


class HarrellC(Metric):
    """Harrell's c: share of comparable pairs in which the earlier event has the higher risk; ties count one half.

    In [0, 1], higher is better, 0.5 is chance. Risks closer than 1e-8 are tied.
    Source: Harrell, Lee and Mark 1996, as scikit-survival computes it.
    """

    name = "harrell_c_index"

    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        from fusionbench.survival.stats import harrell_c

        risk = _risk(prediction, test)
        _check_pairs(test)
        return harrell_c(test.time, test.event, risk)


class UnoC(Metric):
    """Uno's c up to tau: pairs weighted by the inverse squared probability of being uncensored.

    In [0, 1], higher is better, 0.5 is chance. The weights come from training follow-up, so that the value does not
    depend on the censoring of the test cases, as Harrell's c does. Test times after tau are censored by the harness, so
    that no event after tau has a weight. Source: Uno et al. 2011, as scikit-survival computes it.
    """

    name = "uno_c_index"
    horizon: ClassVar[Literal["own", "tau"]] = "tau"

    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        from fusionbench.survival.stats import harrell_c

        risk = _risk(prediction, test)
        _check_pairs(test)
        # Squared: at the time of the event both cases of the pair must be uncensored, each with this probability.
        return harrell_c(test.time, test.event, risk, _event_weights(train, test) ** 2)


class TimeDependentAuc(Metric):
    """Mean of the cumulative/dynamic AUC of the risk at 12, 36 and 60 months, as far as these are not after tau.

    In [0, 1], higher is better, 0.5 is chance. At month t, positives are test patients with an event by t, negatives
    those followed for longer; positives are weighted by the inverse probability of being uncensored. Unlike in
    scikit-survival's mean all months have the same weight, so that every fold measures the same quantity.
    Source: Uno et al. 2007; Hung and Chiang 2010.
    """

    name = "td_auc"
    horizon: ClassVar[Literal["own", "tau"]] = "tau"

    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        from fusionbench.survival.stats import weighted_auc

        risk = _risk(prediction, test)
        months = _auc_months(prediction, test)
        for month in months:
            if not (test.event & (test.time <= month)).any():
                raise UndefinedMetric(f"no test case has an event by {month:g} months")
            if not (test.time > month).any():
                raise UndefinedMetric(f"no test case is followed beyond {month:g} months")
        weights = _event_weights(train, test)
        # Negatives need no weights: theirs at a month are all equal and cancel.
        areas = [weighted_auc(risk, weights * (test.time <= month), test.time > month) for month in months]
        return float(np.mean(areas))


class IntegratedBrier(Metric):
    """Integrated Brier score of S on the dataset's time grid; lower is better, 0.25 is S = 0.5 everywhere.

    The squared error at each grid point, weighted by inverse probability of censoring, is integrated by trapezoids from
    the first grid point (tau / 20) to tau and divided by that length. Unlike scikit-survival's function it is defined
    where grid points lie before the first test time; where both are defined they are equal.
    Source: Graf et al. 1999.
    """

    name = "ibs"
    higher_is_better: ClassVar[bool | None] = False
    horizon: ClassVar[Literal["own", "tau"]] = "tau"
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))

    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        survival, grid = _survival(prediction, test)
        if not test.event.any():
            raise UndefinedMetric("no event among the test cases")
        # A time that is a grid point up to rounding is at it; at the last one, tau, times are compared as they are.
        by_then = test.time[:, None] <= np.append(grid[:-1] * (1 + ROUNDING), grid[-1])
        died, alive = test.event[:, None] & by_then, ~by_then
        # After the longest follow-up nothing is known of those who were alive.
        if not alive[:, -1].any():
            end = f"test follow-up ends at {test.time.max():g} months"
            raise UndefinedMetric(f"{end}, before the end of the time grid at {grid[-1]:g} months")
        # At t, who died by t is weighted at the own time, who is alive at t; who was censored before t has no weight.
        weight_died, weight_alive = _event_weights(train, test), 1 / _uncensored(train, grid)
        errors = survival**2 * died * weight_died[:, None] + (1 - survival) ** 2 * alive * weight_alive
        return float(np.trapezoid(errors.mean(axis=0), grid) / (grid[-1] - grid[0]))


class DCalibration(Metric):
    """P-value of D-calibration over the model's own time intervals; small = predicted S and events disagree.

    A case should have its event in interval (t_j-1, t_j] with probability S(t_j-1) - S(t_j); the last interval is open.
    A censored case is spread over the later intervals, in proportion to its own S there. Pearson's statistic compares
    the expected and the observed sums, with one degree of freedom fewer than intervals. Spreading moves the observed
    sums towards the expected ones, so that under heavy censoring the test rejects too rarely, never too often.
    Intervals are merged from the left until each expects at least 5 events and a tenth of the cases.

    Source: Haider et al. 2020, with the model's own intervals in place of ten equal ones of S: a model with four time
    bins has no deciles of S.
    """

    name = "d_calibration"
    higher_is_better: ClassVar[bool | None] = None

    def __call__(self, prediction: SurvivalPrediction, test: Targets, train: Targets) -> float:
        from scipy import stats

        survival, times = _survival(prediction, test)
        if not test.event.any():
            raise UndefinedMetric("no event among the test cases")
        expected, observed = interval_mass(survival, times, test.time, test.event)
        starts = merge_intervals(expected, max(5.0, len(survival) / 10))
        if len(starts) < 2:
            raise UndefinedMetric(f"fewer than two time intervals in which {len(survival)} cases expect 5 events")
        # Both sums are over cases, so they are equal in total: hence one degree of freedom fewer than intervals.
        e, o = np.add.reduceat(expected, starts), np.add.reduceat(observed, starts)
        return float(stats.chi2.sf(((o - e) ** 2 / e).sum(), len(starts) - 1))


METRICS: list[type[Metric]] = [HarrellC, UnoC, TimeDependentAuc, IntegratedBrier, DCalibration]


def _risk(prediction: SurvivalPrediction, test: Targets) -> Floats:
    """(case,) finite risks, one per test case."""
    risk = np.asarray(prediction.risk, dtype=np.float64)
    if risk.shape != np.shape(test.time):
        raise PluginError(f"{risk.shape} risks for {np.shape(test.time)} cases; a risk per case is needed")
    _check_finite(risk, "risk")
    return risk


def _survival(prediction: SurvivalPrediction, test: Targets) -> tuple[Floats, Floats]:
    """(case, time) finite S and (time,) its times."""
    if prediction.survival is None or prediction.times is None:
        raise UndefinedMetric("the model predicts risks, not survival probabilities")
    survival, times = np.asarray(prediction.survival, np.float64), np.asarray(prediction.times, np.float64)
    if survival.shape != (len(test.time), len(times)):
        raise PluginError(f"S has shape {survival.shape}, expected ({len(test.time)}, {len(times)})")
    _check_finite(survival, "S")
    return survival, times


def _check_finite(values: Floats, name: str) -> None:
    # One bad value spoils the cell: leaving it out would score the model on easier cases.
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise PluginError(f"{bad} of {values.size} predicted values of {name} are NaN or infinite; nothing is scored")


def _check_pairs(test: Targets) -> None:
    """Refuse test cases without a comparable pair."""
    if not test.event.any():
        raise UndefinedMetric("no event among the test cases")
    # Enough to look at: who outlives a later event outlives the first one, too.
    first = test.time[test.event].min()
    if not ((test.time > first) | ((test.time == first) & ~test.event)).any():
        raise UndefinedMetric("no comparable pair: no test case outlives the first event")


def _auc_months(prediction: SurvivalPrediction, test: Targets) -> list[float]:
    """The months of the AUC that are not after tau, the grid's last point.

    Without S there is no grid. Then the end of the follow-up, which is censored just after tau, is used: a month before
    it is not after tau, and a month after it has no negatives.
    """
    if prediction.times is not None:
        months = [month for month in AUC_MONTHS if month <= prediction.times[-1]]
    else:
        months = [month for month in AUC_MONTHS if month < test.time.max()]
    if not months:
        raise UndefinedMetric(f"the horizon lies before {AUC_MONTHS[0]:g} months")
    return months


def _event_weights(train: Targets, test: Targets) -> Floats:
    """(case,) inverse probability of being uncensored at the time of the case's event; 0 for censored cases."""
    weights = np.zeros(len(test.time))
    weights[test.event] = 1 / _uncensored(train, test.time[test.event])
    return weights


def _uncensored(train: Targets, times: Floats) -> Floats:
    """(time,) Kaplan-Meier probability of being uncensored at `times`, from training follow-up; positive.

    Raises:
        UndefinedMetric: where training follow-up does not reach that far, or has no event.
    """
    if not train.event.any():
        raise UndefinedMetric("no event among the training cases, so censoring weights cannot be estimated")
    event, time = np.asarray(train.event, dtype=bool), np.asarray(train.time, dtype=np.float64)
    censoring, end = _censoring(event.tobytes(), time.tobytes()), float(np.max(times))
    # The estimate is not extrapolated, as in scikit-survival.
    if end > censoring.reach:
        reach = f"{censoring.reach:g} months"
        raise UndefinedMetric(f"training follow-up ends at {reach}, before {end:g} months of a test case")
    probability = censoring.uncensored(times)
    if (probability <= 0).any():
        raise UndefinedMetric(f"all training cases are censored by {end:g} months, so weights would be infinite")
    return probability


@lru_cache(maxsize=8)
def _censoring(event: bytes, time: bytes) -> Censoring:
    """The censoring distribution of training targets, given as bytes so that it can be cached.

    A cell needs the same one for every metric and every mask.
    """
    from fusionbench.survival.stats import Censoring

    return Censoring.of(np.frombuffer(time), np.frombuffer(event, bool))
