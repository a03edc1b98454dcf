"""Predict under each test pattern and score; what is undefined is NaN with its reason, never a silent 0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.cell_result import PatternPrediction, Score
from fusionbench.core.errors import PluginError, UndefinedMetric
from fusionbench.core.interfaces import Metric, Predictor
from fusionbench.core.types import CaseSet, SurvivalPrediction, SurvivalTargets
from fusionbench.data.masks import Mask, Present, realised_rate
from fusionbench.survival import interpolate_survival

if TYPE_CHECKING:
    from fusionbench.core.types import Floats

GRID_STEPS = 20
PRIOR = "prior"
SLACK = 1e-6
"""What rounding in single precision may add to a survival curve."""

Targets = SurvivalTargets[NDArray[Any]]


def time_grid(tau: float) -> Floats:
    """The dataset's time grid: 20 equal steps on (0, tau], in months."""
    return np.linspace(0.0, tau, GRID_STEPS + 1)[1:]


def on_grid(prediction: SurvivalPrediction, grid: Floats) -> SurvivalPrediction:
    """The same prediction with S on `grid`; without S it stays without."""
    if prediction.survival is None or prediction.times is None:
        return replace(prediction, survival=None, times=None)
    survival = interpolate_survival(prediction.survival, prediction.times, grid)
    return replace(prediction, survival=survival, times=grid)


def checked(prediction: SurvivalPrediction, ids: tuple[str, ...], who: str) -> SurvivalPrediction:
    """A plugin's prediction, held against its promise.

    Raises:
        PluginError: other cases, shapes or dtypes than promised, numbers that are not finite, or S that rises.
    """
    if not isinstance(prediction, SurvivalPrediction):
        raise PluginError(f"{who}: predicted {type(prediction).__name__}, expected a SurvivalPrediction")
    if tuple(prediction.ids) != ids:
        raise PluginError(f"{who}: predicted {len(prediction.ids)} cases, not the {len(ids)} it was given, in order")
    risk = np.asarray(prediction.risk, dtype=np.float64)
    if risk.shape != (len(ids),):
        raise PluginError(f"{who}: risk has shape {risk.shape}, expected ({len(ids)},)")
    bad = np.flatnonzero(~np.isfinite(risk))
    if bad.size:
        raise PluginError(f"{who}: risk of case {ids[bad[0]]!r} is {risk[bad[0]]}; training may have diverged")
    if (prediction.survival is None) != (prediction.times is None):
        raise PluginError(f"{who}: survival and times must be given together or not at all")
    if prediction.survival is None or prediction.times is None:
        return SurvivalPrediction(ids, risk)
    survival = np.asarray(prediction.survival, dtype=np.float64)
    times = np.asarray(prediction.times, dtype=np.float64)
    if times.ndim != 1 or survival.shape != (len(ids), len(times)):
        raise PluginError(f"{who}: survival has shape {survival.shape}, expected ({len(ids)}, {times.size})")
    # S starts at 1 at time 0, so that times have to lie after it.
    knots = np.concatenate([[0.0], times])
    if not len(times) or not np.isfinite(times).all() or (np.diff(knots) <= 0).any():
        raise PluginError(f"{who}: times of survival must be positive, ascending months, not {times[:4].tolist()}")
    if not (np.isfinite(survival).all() and survival.min(initial=0) >= -SLACK and survival.max(initial=1) <= 1 + SLACK):
        raise PluginError(f"{who}: survival holds values outside [0, 1]")
    if (np.diff(survival, axis=1) > SLACK).any():
        raise PluginError(f"{who}: survival rises with time")
    return SurvivalPrediction(ids, risk, survival, times)


def prior_prediction(predictor: Predictor, train: CaseSet, who: str) -> SurvivalPrediction:
    """The training-mean risk and S, as one row of id "prior"."""
    fitted = checked(predictor.predict(train.without_targets()), train.ids, who)
    survival = None if fitted.survival is None else fitted.survival.mean(axis=0, keepdims=True)
    return SurvivalPrediction((PRIOR,), fitted.risk.mean(keepdims=True), survival, fitted.times)


def predict_all(
    predictor: Predictor, cases: CaseSet, prior: SurvivalPrediction, who: str, *, validation: bool = False
) -> tuple[SurvivalPrediction, int]:
    """One prediction per case, and how many of them are the prior: the cases without a visible modality.

    `validation` asks for out-of-sample predictions of cases that the model may have been fitted on.
    """
    blind = cases.without_targets()
    seen = [i for i, case in enumerate(cases.cases) if cases.visible(case)]
    if not seen:
        n = len(cases)
        survival = None if prior.survival is None else np.repeat(prior.survival, n, axis=0)
        return SurvivalPrediction(cases.ids, np.repeat(prior.risk, n), survival, prior.times), n
    asked = blind.take(seen)
    raw = predictor.predict_validation(asked) if validation else predictor.predict(asked)
    made = checked(raw, asked.ids, who)
    if len(seen) == len(cases):
        return made, 0
    risk = np.repeat(prior.risk, len(cases))
    risk[seen] = made.risk
    survival = None
    if made.survival is not None and made.times is not None and prior.survival is not None and prior.times is not None:
        # The prior stands at its own times; every row of one prediction needs the same ones.
        of_prior = interpolate_survival(prior.survival, prior.times, made.times)
        survival = np.repeat(of_prior, len(cases), axis=0)
        survival[seen] = made.survival
    times = made.times if survival is not None else None
    return SurvivalPrediction(cases.ids, risk, survival, times), len(cases) - len(seen)


def predict_patterns(
    predictor: Predictor,
    test: CaseSet,
    masks: Mapping[str, Sequence[Mask]],
    prior: SurvivalPrediction,
    present: Present,
    who: str,
) -> list[PatternPrediction]:
    """The test fold under every mask of every pattern; S at the model's own times."""
    made = []
    for pattern, draws in masks.items():
        for mask in draws:
            shown = replace(test.permuted(mask.permuted), hidden=mask.hidden)
            prediction, n_prior = predict_all(predictor, shown, prior, who)
            rate = realised_rate(mask, present, tuple(test.specs))
            made.append(PatternPrediction("test", pattern, mask.draw, prediction, n_prior, rate))
    return made


def censor_after(targets: Targets, tau: float) -> Targets:
    """Targets censored just beyond tau, so that patients alive at tau still count as controls there."""
    late = targets.time > tau
    # The next float64 after tau: the smallest time that still counts as later than tau.
    time = np.where(late, np.nextafter(tau, np.inf), targets.time)
    return SurvivalTargets(time, targets.event & ~late, targets.time_bin)


def score_patterns(
    metrics: Mapping[str, Metric],
    predictions: Sequence[PatternPrediction],
    test: Targets,
    train: Targets,
    tau: float,
) -> list[Score]:
    """Every metric on every pattern, averaged over the pattern's draws (scores are averaged, predictions never)."""
    grid = time_grid(tau)
    censored = censor_after(test, tau)
    scores = []
    for pattern in dict.fromkeys(p.pattern for p in predictions):
        draws = [p for p in predictions if p.pattern == pattern]
        own = [p.prediction for p in draws]
        to_tau = [on_grid(prediction, grid) for prediction in own]
        for name, metric in metrics.items():
            shown, of = (to_tau, censored) if metric.horizon == "tau" else (own, test)
            results = [_one(metric, prediction, of, train) for prediction in shown]
            value, reason = _average(results)
            n_prior = round(float(np.mean([p.n_prior for p in draws])))
            scores.append(Score(pattern, name, value, reason, len(test.time), n_prior))
    return scores


def _one(metric: Metric, prediction: SurvivalPrediction, test: Targets, train: Targets) -> tuple[float, str]:
    try:
        value = float(metric(prediction, test, train))
    except UndefinedMetric as undefined:
        return math.nan, str(undefined) or "undefined; the metric gives no reason"
    if math.isnan(value):
        raise PluginError(f"metric {metric.name!r} returned NaN; it must raise UndefinedMetric with a reason")
    return value, ""


def _average(results: Sequence[tuple[float, str]]) -> tuple[float, str]:
    finite = [value for value, reason in results if not reason]
    reasons = sorted({reason for _, reason in results if reason})
    if not finite:
        return math.nan, "; ".join(reasons)
    note = f"{len(results) - len(finite)} of {len(results)} draws undefined: {'; '.join(reasons)}" if reasons else ""
    return float(np.mean(finite)), note
