"""Survival: follow-up with censoring, time bins of a fold, risks and survival curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionbench.core.endpoints import (
    Prediction,
    SurvivalPrediction,
    SurvivalTarget,
    SurvivalTargets,
    Target,
    Targets,
    Task,
    TaskName,
    follow_up,
    survival_prediction,
)
from fusionbench.core.errors import PluginError
from fusionbench.core.protocol import Protocol, TrainRecipe
from fusionbench.core.types import DatasetInfo
from fusionbench.survival import assign_bins, interpolate_survival, time_bins
from fusionbench.tasks.interface import Objective, PartCheck, TaskKind

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from fusionbench.core.preparation import State

    Floats = NDArray[np.float64]

SLACK = 1e-6
"""What rounding in single precision may add to a survival curve."""

FAR_TIMES, FEW_TIMES = 8, 10
"""Medians of follow-up, of at least so many cases, that differ by more than this factor look like other units:
years called months, twelve times shorter, are found whatever the cohorts differ by besides."""


class Survival(TaskKind):
    """Time to an event, which may be censored."""

    name: TaskName = "survival"
    primary_metric = "harrell_c_index"
    truth_label = "true hazards"

    def target_problem(self, target: Target, info: DatasetInfo) -> str:
        if not isinstance(target, SurvivalTarget):
            return f"the target is a {type(target).__name__}; the endpoint {info.endpoint!r} is survival"
        time = float(target.time)
        if not math.isfinite(time) or time < 0:
            return f"time is {time:g}; give months >= 0 or leave the case out"
        # 1 and 0 are refused, too: which of them means observed differs between data sets.
        if not isinstance(target.event, (bool, np.bool_)):
            return f"event is {target.event!r}; give True (observed) or False (censored)"
        return ""

    def cohort_problem(self, targets: Sequence[Target], info: DatasetInfo) -> str:
        if any(_event(target) for target in targets):
            return ""
        return f"none of {len(targets)} cases has an observed event; survival cannot be learnt or scored"

    def counts(self, targets: Sequence[Target], info: DatasetInfo, bins: int) -> dict[str, Any]:
        """Observed events, and cases in each of the cohort's time bins."""
        time, event = _followed(targets)
        sizes = np.bincount(assign_bins(time, time_bins(time, event, bins)))
        return {"events": int(event.sum()), "bins": sizes.tolist()}

    def part_check(self, everyone: Sequence[Target | None]) -> PartCheck:
        return lambda targets: "" if any(map(_event, targets)) else "has an observed event"

    def strata(self, targets: Sequence[Target | None]) -> list[int]:
        return [0 if _event(target) else 1 for target in targets]

    def positive(self, classes: Sequence[str]) -> str:
        return "whose event was observed"

    def is_positive(self, target: Target, classes: Sequence[str]) -> bool:
        return _event(target)

    def arrays(self, targets: Sequence[Target], task: Task) -> SurvivalTargets[NDArray[Any]]:
        time, event = _followed(targets)
        return SurvivalTargets(time, event, assign_bins(time, task.edges))

    def outcome_doubts(self, here: Targets[NDArray[Any]], training: Targets[NDArray[Any]]) -> list[str]:
        times = [follow_up(targets).time for targets in (here, training)]
        if min(map(len, times)) < FEW_TIMES:
            return []
        medians = [float(np.median(of)) for of in times]
        if min(medians) <= 0 or max(medians) / min(medians) <= FAR_TIMES:
            return []
        seen = f"{medians[0]:.3g} months here and {medians[1]:.3g} in training"
        return [f"median follow-up is {seen}: look at the unit of time"]

    def recipe_problem(self, recipe: TrainRecipe) -> str:
        return "label_smoothing is for classes; leave it out" if recipe.label_smoothing else ""

    def planned(
        self, protocol: Protocol, recipe: TrainRecipe, info: DatasetInfo, binary_outputs: Literal[1, 2]
    ) -> Task:
        return Task(n_outputs=1 if recipe.loss == "cox" else protocol.bins)

    def fitted(self, planned: Task, targets: Sequence[Target], protocol: Protocol, recipe: TrainRecipe) -> Task:
        edges = time_bins(*_followed(targets), protocol.bins)
        return replace(planned, n_outputs=1 if recipe.loss == "cox" else len(edges) + 1, edges=edges)

    def record(self, task: Task) -> dict[str, Any]:
        return {"n_outputs": task.n_outputs, "edges": list(task.edges)}

    def task_of(self, record: Mapping[str, Any]) -> Task:
        return Task(n_outputs=record["n_outputs"], edges=tuple(record["edges"]))

    def objective(
        self, recipe: TrainRecipe, targets: Targets[NDArray[Any]], task: Task, device: torch.device
    ) -> Objective:
        from fusionbench.tasks.survival_objective import SurvivalObjective

        return SurvivalObjective.of(recipe, follow_up(targets), task, device)

    def prediction(self, ids: tuple[str, ...], logits: Tensor, task: Task, extra: State) -> SurvivalPrediction:
        """Risk and S from logits, in float64.

        Discrete hazards: risk is minus the sum of S over the bins; S after a bin stands at the edge that ends it, and
        the open last bin has no such time. Cox: risk is the output, and S a step function of Breslow's baseline at the
        training event times.
        """

        from fusionbench.survival import hazards_to_survival, risk_from_survival

        if "baseline.times" in extra:
            return _cox_prediction(ids, logits[:, 0].numpy(), extra["baseline.times"], extra["baseline.hazard"])
        # float64 from here on: products of many bins lose digits that rankings of close risks need.
        curve = hazards_to_survival(logits)
        risk = risk_from_survival(curve).numpy()
        if not task.edges:
            return SurvivalPrediction(ids, risk)
        # The last bin is open, so that S at its end has no time to stand at.
        times = np.asarray(task.edges, dtype=np.float64)
        return SurvivalPrediction(ids, risk, curve[:, : len(times)].numpy(), times)

    def averaged(self, logits: Tensor) -> Tensor:
        """S after each bin, whose mean has the mean of the risks; one output, as of `cox`, is the risk itself."""
        from fusionbench.survival import hazards_to_survival

        return logits if logits.shape[1] == 1 else hazards_to_survival(logits)

    def logits_of(self, averaged: Tensor) -> Tensor:
        if averaged.shape[1] == 1:
            return averaged
        tiny = np.finfo(np.float64).tiny  # where S is 0 in float64, the logits stay finite
        steps = averaged.clamp(min=tiny).log().diff(dim=1, prepend=averaged.new_zeros(len(averaged), 1))
        # logit of h = 1 - exp(step), a step of log S being at most 0
        return (-steps.expm1()).clamp(min=tiny).log() - steps

    def truth(self, ids: tuple[str, ...], info: DatasetInfo) -> SurvivalPrediction:
        true_risk = info.true_risk or {}
        return SurvivalPrediction(ids, np.array([true_risk[i] for i in ids], dtype=np.float64))

    def knows_truth(self, info: DatasetInfo) -> bool:
        return info.true_risk is not None

    def checked(
        self, prediction: object, ids: tuple[str, ...], who: str, classes: tuple[str, ...] = ()
    ) -> SurvivalPrediction:
        """
        Raises:
            PluginError: other cases, shapes or dtypes than promised, numbers that are not finite, or S that rises.
        """
        if not isinstance(prediction, SurvivalPrediction):
            raise PluginError(f"{who}: predicted {type(prediction).__name__}, expected a SurvivalPrediction")
        if tuple(prediction.ids) != ids:
            raise PluginError(
                f"{who}: predicted {len(prediction.ids)} cases, not the {len(ids)} it was given, in order"
            )
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
        if not (
            np.isfinite(survival).all() and survival.min(initial=0) >= -SLACK and survival.max(initial=1) <= 1 + SLACK
        ):
            raise PluginError(f"{who}: survival holds values outside [0, 1]")
        if (np.diff(survival, axis=1) > SLACK).any():
            raise PluginError(f"{who}: survival rises with time")
        return SurvivalPrediction(ids, risk, survival, times)

    def mean(self, prediction: Prediction, name: str) -> SurvivalPrediction:
        made = survival_prediction(prediction)
        survival = None if made.survival is None else made.survival.mean(axis=0, keepdims=True)
        return SurvivalPrediction((name,), made.risk.mean(keepdims=True), survival, made.times)

    def average(self, predictions: Sequence[Prediction]) -> SurvivalPrediction:
        made = [survival_prediction(prediction) for prediction in predictions]
        curves = [of.survival for of in made if of.survival is not None]
        survival = np.mean(curves, axis=0) if len(curves) == len(made) else None
        times = None if survival is None else made[0].times
        return SurvivalPrediction(made[0].ids, np.mean([of.risk for of in made], axis=0), survival, times)

    def filled(
        self, ids: tuple[str, ...], prior: Prediction, rows: Sequence[int], made: Prediction | None
    ) -> SurvivalPrediction:
        prior, n, index = survival_prediction(prior), len(ids), list(rows)
        risk = np.repeat(prior.risk, n)
        if made is None:
            survival = None if prior.survival is None else np.repeat(prior.survival, n, axis=0)
            return SurvivalPrediction(ids, risk, survival, prior.times)
        said = survival_prediction(made)
        risk[index] = said.risk
        if said.survival is None or said.times is None or prior.survival is None or prior.times is None:
            return SurvivalPrediction(ids, risk)
        # The prior stands at its own times; every row of one prediction needs the same ones.
        survival = np.repeat(interpolate_survival(prior.survival, prior.times, said.times), n, axis=0)
        survival[index] = said.survival
        return SurvivalPrediction(ids, risk, survival, said.times)

    def on_grid(self, prediction: Prediction, grid: Floats) -> SurvivalPrediction:
        """The same prediction with S on `grid`; without S it stays without."""
        made = survival_prediction(prediction)
        if made.survival is None or made.times is None:
            return replace(made, survival=None, times=None)
        survival = interpolate_survival(made.survival, made.times, grid)
        return replace(made, survival=survival, times=grid)

    def to_horizon(self, targets: Targets[NDArray[Any]], tau: float) -> SurvivalTargets[NDArray[Any]]:
        """Targets censored just beyond tau, so that patients alive at tau still count as controls there."""
        of = follow_up(targets)
        late = of.time > tau
        # The next float64 after tau: the smallest time that still counts as later than tau.
        time = np.where(late, np.nextafter(tau, np.inf), of.time)
        return SurvivalTargets(time, of.event & ~late, of.time_bin)

    def values(self, prediction: Prediction) -> dict[str, Any]:
        made = survival_prediction(prediction)
        survival = None if made.survival is None else [float(s) for s in made.survival[0]]
        times = None if made.times is None else [float(t) for t in made.times]
        return {"risk": float(made.risk[0]), "survival": survival, "times": times}

    def of_values(self, name: str, values: Mapping[str, Any]) -> SurvivalPrediction:
        survival = None if values["survival"] is None else np.array([values["survival"]])
        times = None if values["times"] is None else np.array(values["times"])
        return SurvivalPrediction((name,), np.array([values["risk"]]), survival, times)


def _event(target: Target | None) -> bool:
    return isinstance(target, SurvivalTarget) and bool(target.event)


def _followed(targets: Sequence[Target]) -> tuple[Floats, NDArray[np.bool_]]:
    """(case,) months and (case,) bool of follow-up."""
    known = [target for target in targets if isinstance(target, SurvivalTarget)]
    return np.array([t.time for t in known], dtype=np.float64), np.array([t.event for t in known], dtype=bool)


def _cox_prediction(ids: tuple[str, ...], risk: Floats, times: Floats, hazard: Floats) -> SurvivalPrediction:
    later = times > 0  # S is 1 at time 0 by convention; an event there still counts in the later hazards
    curve = np.exp(-hazard[later] * np.exp(risk)[:, None])
    return SurvivalPrediction(ids, risk, curve, times[later])
