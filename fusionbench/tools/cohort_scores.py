"""Score what stored cells predict of a cohort whose outcomes are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fusionbench.core.cell_result import PatternPrediction, Score
from fusionbench.core.metric import Metric
from fusionbench.core.plural import plural
from fusionbench.core.seeds import derive
from fusionbench.core.types import Prediction, Targets
from fusionbench.data.cohort import listed
from fusionbench.execution.evaluate import score_patterns
from fusionbench.report.rescore import FOLD, StoredOutcomes
from fusionbench.results.frames import Frames
from fusionbench.tasks import task_kind
from fusionbench.tools.predict import CohortPrediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    TargetArrays = Targets[NDArray[Any]]

DRAWS = 1000
"""Resamplings of the cohort's patients behind an interval."""
LEAST_SHARE = 0.95
"""An interval needs this share of the draws to have a value."""


@dataclass(frozen=True)
class CohortScore:
    """A metric on a cohort.

    Attributes:
        value: of the mean prediction of the models; NaN where undefined.
        low, high: 95 % percentile interval over resampled patients, models fixed; NaN where undefined.
        mean, sd: over the fold models, each scored alone; sd with ddof 1, NaN for one model.
        n_cases: cases with an outcome.
        reason: why a number is undefined.
    """

    metric: str
    value: float
    low: float
    high: float
    mean: float
    sd: float
    n_cases: int
    reason: str = ""


@dataclass(frozen=True, eq=False)
class TrainingOutcomes:
    """Whom the fold models were fitted on.

    Attributes:
        ids: of all training and validation cases, and of their groups.
        targets: their outcomes.
    """

    ids: frozenset[str]
    targets: TargetArrays


def training_outcomes(frames: Frames, predicted: CohortPrediction) -> TrainingOutcomes:
    """Training and validation cases of the models that predicted, from their suite's stored frames."""
    places = pd.DataFrame(predicted.folds, columns=FOLD)
    own = frames.splits[frames.splits["part"] != "test"].astype({"dataset": str, "variant": str}).merge(places, on=FOLD)
    ids = sorted(set(own["case"].astype(str)))
    dataset = predicted.folds[0][0]
    of = frames.targets[frames.targets["dataset"] == dataset]
    known = StoredOutcomes.of(dataset, of, predicted.task.classes)
    groups = of.loc[of["case"].astype(str).isin(ids), "group"].astype(str)
    return TrainingOutcomes(frozenset({*ids, *groups}), known.targets(ids))


def cohort_scores(
    predicted: CohortPrediction,
    training: TrainingOutcomes,
    metrics: Mapping[str, Metric],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[list[CohortScore], list[str]]:
    """Each metric with its interval, and what a reader should know, one line each.

    Cases without an outcome are left out and counted. Nothing is scored where no case has one, or one has an outcome
    that the models know nothing of.

    Args:
        metrics: by name, of the models' kind of endpoint.
    """
    cohort, notes = predicted.cohort, list[str]()
    if shared := [case.id for case in cohort.cases if {case.id, case.group} & training.ids]:
        seen = f"{len(shared)} of {len(cohort.cases)} cases have the id or the group of a training case"
        notes.append(f"{seen} ({listed(shared)}): no external test")
    known = [i for i, case in enumerate(cohort.cases) if case.target is not None]
    if not known:
        return [], [*notes, "no case has an outcome: predicted, not scored"]
    targets = [cohort.targets[cohort.cases[i].id] for i in known]
    kind, learnt = task_kind(predicted.task.kind), replace(cohort.info, classes=predicted.task.classes)
    for i, target in zip(known, targets, strict=True):
        if problem := kind.target_problem(target, learnt):
            return [], [*notes, f"case {cohort.cases[i].id!r}: {problem}: predicted, not scored"]
    if len(known) < len(cohort.cases):
        notes.append(f"{len(cohort.cases) - len(known)} of {len(cohort.cases)} cases have no outcome: not scored")
    test, train = kind.arrays(targets, predicted.task), training.targets
    notes += kind.outcome_doubts(test, train)
    whole = predicted.mean.take(known)
    of_models = [prediction.take(known) for prediction in predicted.of_models]

    def scores(prediction: Prediction, of: TargetArrays) -> dict[str, Score]:
        one = PatternPrediction("test", "full", 0, prediction)
        return {score.metric: score for score in score_patterns(metrics, [one], of, train, predicted.tau)}

    def resampled(rows: NDArray[np.int64]) -> dict[str, Score]:
        return scores(whole.take(rows.tolist()), test.map(lambda values: values[rows]))

    rng = np.random.default_rng(derive(seed, "external", cohort.identity))
    drawn = [resampled(rng.integers(len(known), size=len(known))) for _ in range(draws)]
    value, alone = scores(whole, test), [scores(prediction, test) for prediction in of_models]
    return [_summary(name, value, alone, drawn, len(known)) for name in metrics], notes


def _summary(
    name: str,
    value: Mapping[str, Score],
    alone: Sequence[Mapping[str, Score]],
    drawn: Sequence[Mapping[str, Score]],
    n: int,
) -> CohortScore:
    of_models = np.array([scores[name].value for scores in alone])
    of_draws = np.array([scores[name].value for scores in drawn])
    defined, reason = of_draws[np.isfinite(of_draws)], value[name].reason
    low, high = np.nan, np.nan
    if len(defined) >= LEAST_SHARE * len(of_draws) and np.isfinite(value[name].value):
        low, high = np.percentile(defined, [2.5, 97.5])
    elif not reason:
        reason = (
            f"no interval: {name} is undefined in {len(of_draws) - len(defined)} of {plural(len(of_draws), 'draw')}"
        )
    sd = float(of_models.std(ddof=1)) if len(of_models) > 1 else float("nan")
    return CohortScore(name, value[name].value, float(low), float(high), float(of_models.mean()), sd, n, reason)
