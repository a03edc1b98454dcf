"""Predict under each test pattern and score; what is undefined is NaN with its reason, never a silent 0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusionbench.core.cell_result import AFTER, PatternPrediction, Score
from fusionbench.core.errors import PluginError, UndefinedMetric
from fusionbench.core.metric import Metric
from fusionbench.core.outputs import NAME
from fusionbench.core.predictor import Predictor
from fusionbench.core.preparation import State
from fusionbench.core.types import CaseSet, Prediction, SurvivalPrediction, Targets, Task
from fusionbench.data.masks import Mask, Present, realised_rate
from fusionbench.tasks import TaskKind, kind_of, task_kind

if TYPE_CHECKING:
    from fusionbench.core.types import Floats
    from fusionbench.data.cohort import Cohort

GRID_STEPS = 20
PRIOR = "prior"

TargetArrays = Targets[NDArray[Any]]


def time_grid(tau: float) -> Floats:
    """The dataset's time grid: 20 equal steps on (0, tau], in months."""
    return np.linspace(0.0, tau, GRID_STEPS + 1)[1:]


def targets_of(cohort: Cohort, ids: Sequence[str], task: Task) -> Targets[NDArray[Any]]:
    """Targets as arrays, in the order of `ids`."""
    return task_kind(task.kind).arrays([cohort.targets[i] for i in ids], task)


def prior_prediction(kind: TaskKind, predictor: Predictor, train: CaseSet, task: Task, who: str) -> Prediction:
    """The training-mean prediction, as one row of id "prior"."""
    fitted = kind.checked(predictor.predict(train.without_targets()), train.ids, who, task.classes)
    return kind.mean(fitted, PRIOR)


def predict_all(
    predictor: Predictor, cases: CaseSet, prior: Prediction, who: str, *, validation: bool = False
) -> tuple[Prediction, int]:
    """One prediction per case, and how many of them are the prior: the cases without a visible modality.

    `validation` asks for out-of-sample predictions of cases that the model may have been fitted on.
    """
    kind, blind = kind_of(prior), cases.without_targets()
    seen = [i for i, case in enumerate(cases.cases) if cases.visible(case)]
    if not seen:
        return kind.filled(cases.ids, prior, seen, None), len(cases)
    asked = blind.take(seen)
    raw = predictor.predict_validation(asked) if validation else predictor.predict(asked)
    made = kind.checked(raw, asked.ids, who, prior.classes)
    if len(seen) == len(cases):
        return made, 0
    return kind.filled(cases.ids, prior, seen, made), len(cases) - len(seen)


def predict_patterns(
    predictor: Predictor,
    test: CaseSet,
    masks: Mapping[str, Sequence[Mask]],
    prior: Prediction,
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


def own_curves(tested: Sequence[PatternPrediction]) -> State:
    """S at the model's own times, from which scores that need them (D-calibration) can be computed again."""
    full = next((p.prediction for p in tested if p.pattern == "full"), None)
    if not isinstance(full, SurvivalPrediction) or full.survival is None or full.times is None:
        return {}
    return {"times": full.times, "survival": full.survival}


def predict_steps(
    predictor: Predictor, test: CaseSet, prior: Prediction, present: Present, who: str
) -> list[PatternPrediction]:
    """The test fold after each step of a model that has any, as patterns `after:NAME`.

    Cases that have not taken a step by then are given the prior.

    Raises:
        PluginError: steps or their predictions are not what `Predictor.predict_steps` promises.
    """
    kind, blind = kind_of(prior), test.without_targets()
    seen = [i for i, case in enumerate(test.cases) if test.visible(case)]
    made, names = [], list[str]()
    for step in predictor.predict_steps(blind.take(seen)) if seen else ():
        if step.name in names or not NAME.fullmatch(step.name):
            raise PluginError(f"{who}: predicts after step {step.name!r} twice, or its name is no word")
        if list(step.rows) != sorted({*step.rows} & {*range(len(seen))}):
            raise PluginError(f"{who}, after {step.name}: rows are no ascending positions of the {len(seen)} cases")
        names.append(step.name)
        rows = [seen[i] for i in step.rows]
        ids = tuple(test.ids[i] for i in rows)
        shown = kind.checked(step.prediction, ids, f"{who}, after {step.name}", prior.classes) if rows else None
        filled = kind.filled(test.ids, prior, rows, shown)
        rate = realised_rate(Mask("full", 0, {}), present, tuple(test.specs))
        made.append(PatternPrediction("test", f"{AFTER}{step.name}", 0, filled, len(test) - len(rows), rate))
    return made


def score_patterns(
    metrics: Mapping[str, Metric],
    predictions: Sequence[PatternPrediction],
    test: TargetArrays,
    train: TargetArrays,
    tau: float,
) -> list[Score]:
    """Every metric on every pattern, averaged over the pattern's draws (scores are averaged, predictions never)."""
    if not predictions:
        return []
    kind, grid = kind_of(predictions[0].prediction), time_grid(tau)
    censored, n_cases = kind.to_horizon(test, tau), len(predictions[0].prediction.ids)
    scores = []
    for pattern in dict.fromkeys(p.pattern for p in predictions):
        draws = [p for p in predictions if p.pattern == pattern]
        own = [p.prediction for p in draws]
        to_tau = [kind.on_grid(prediction, grid) for prediction in own]
        for name, metric in metrics.items():
            shown, of = (to_tau, censored) if metric.horizon == "tau" else (own, test)
            results = [_one(metric, prediction, of, train) for prediction in shown]
            value, reason = _average(results)
            n_prior = round(float(np.mean([p.n_prior for p in draws])))
            scores.append(Score(pattern, name, value, reason, n_cases, n_prior))
    return scores


def _one(metric: Metric, prediction: Prediction, test: TargetArrays, train: TargetArrays) -> tuple[float, str]:
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
