"""Scores of stored cells by metrics that a suite has been given since they ran; nothing is trained anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fusionbench.core.cell_result import CellResult, PatternPrediction, Score
from fusionbench.core.endpoints import SurvivalPrediction
from fusionbench.core.errors import ResultsError
from fusionbench.core.guard import guarded
from fusionbench.core.types import Member
from fusionbench.execution import evaluate
from fusionbench.execution.external import external_scores
from fusionbench.execution.fit_context import restore_fit
from fusionbench.execution.run_cell import fold_data
from fusionbench.suites.cell import ORACLE, Cell, present_modalities, test_masks
from fusionbench.suites.external import external_cohort

if TYPE_CHECKING:
    from fusionbench.core.metric import Metric
    from fusionbench.data.cohort import Cohort
    from fusionbench.execution.shared import SharedResources
    from fusionbench.results.store import Store

NEEDS_CURVES = "the model predicts risks, not survival probabilities"
"""Why a metric of curves is undefined where there are none."""


def score_stored(
    cell: Cell, result: CellResult, cohort: Cohort, tested: Cohort, metrics: Mapping[str, Metric]
) -> list[Score]:
    """The scores of a cell, from its stored predictions.

    Args:
        cohort: that its model was fitted on.
        tested: the cohort whose cases were predicted: the same, or the external one.

    Raises:
        ResultsError: a predicted case is not of the cohort.
    """
    made = [p for p in result.predictions if p.split == "test"]
    ids = {case.id for case in tested.cases} if cell.external else set(tested.targets)
    if unknown := {i for p in made for i in p.prediction.ids} - ids:
        raise ResultsError(f"{cell.label}: predicts {min(unknown)!r}, which is not of the cohort")
    found: list[Score] = []
    for name, metric in metrics.items():
        if name in cell.metrics:
            shown = made if metric.horizon == "tau" else [_at_own_times(p, result.curves) for p in made]
            found += _scores(cell, cohort, tested, shown, {name: metric})
    return found


def _scores(
    cell: Cell,
    cohort: Cohort,
    tested: Cohort,
    made: Sequence[PatternPrediction],
    metrics: Mapping[str, Metric],
) -> list[Score]:
    if cell.external is not None:
        return external_scores(cell, cohort, tested, made, metrics)
    test = evaluate.targets_of(cohort, made[0].prediction.ids, cell.task)
    train = evaluate.targets_of(cohort, (*cell.split.train, *cell.split.val), cell.task)
    return evaluate.score_patterns(metrics, made, test, train, cell.tau)


def _at_own_times(made: PatternPrediction, curves: Mapping[str, Any]) -> PatternPrediction:
    """With curves at the model's own times, which are stored of the pattern `full`; else with risks alone."""
    if not isinstance(made.prediction, SurvivalPrediction):
        return made
    own = curves if made.pattern == "full" else {}
    prediction = replace(made.prediction, survival=own.get("survival"), times=own.get("times"))
    return replace(made, prediction=prediction)


def with_new_metrics(
    cell: Cell, store: Store, resources: SharedResources, versions: Mapping[str, str]
) -> CellResult | None:
    """A finished cell with the scores of the metrics that it lacks, or that another version scored.

    They come from the stored predictions; where a metric needs curves that are not stored, the stored weights predict
    again.

    Args:
        versions: metric to the installed version.

    Returns:
        None where the cell has no result, failed, or lacks none; also for the oracle, which has no weights to predict
        with and costs nothing.
    """
    if cell.model.name == ORACLE or not store.has(cell.key) or store.record(cell.key)["status"] != "ok":
        return None
    result = store.load(cell.key)
    scored = dict(result.record.get("metrics", {}))
    lacking = [name for name in cell.metrics if scored.get(name) != versions[name]]
    if not lacking:
        return None
    metrics = {name: resources.registry.metric(name)() for name in lacking}
    cohort = resources.cohort_of(cell)
    tested = cohort if cell.external is None else external_cohort(cell, resources.new_patients)
    changes: list[str] = []
    with guarded(f"one of the metrics {', '.join(lacking)}", changes.append):
        new = score_stored(cell, result, cohort, tested, metrics)
    with_curves = {
        p.pattern
        for p in result.predictions
        if isinstance(p.prediction, SurvivalPrediction) and p.prediction.survival is not None
    }
    if cell.external is None and any(score.reason == NEEDS_CURVES and score.pattern in with_curves for score in new):
        new = _from_weights(cell, result, cohort, metrics, store, resources)
    kept = [score for score in result.scores if score.metric not in metrics]
    place = {name: i for i, name in enumerate((*scored, *cell.metrics))}
    patterns = {pattern: i for i, pattern in enumerate(dict.fromkeys(score.pattern for score in (*kept, *new)))}
    ordered = sorted((*kept, *new), key=lambda s: (patterns[s.pattern], place[s.metric]))
    record = {
        **result.record,
        "metrics": scored | {name: versions[name] for name in lacking},
        "changed_settings": [*result.record.get("changed_settings", ()), *changes],
    }
    return replace(result, scores=tuple(ordered), record=record)


def _from_weights(
    cell: Cell,
    result: CellResult,
    cohort: Cohort,
    metrics: Mapping[str, Metric],
    store: Store,
    resources: SharedResources,
) -> list[Score]:
    """The scores of what the stored weights predict, with curves at the model's own times."""
    member = Member(cell.chosen, cell.modalities)
    fit = restore_fit(result, cohort, resources.registry, resources.device, store.load, member)
    test = fold_data(cell, cohort, resources).test
    present = present_modalities(test.cases, cell.modalities)
    masks = test_masks(cell, cohort.cases)
    who = f"model {cell.model}"
    tested = evaluate.predict_patterns(fit.predictor, test, masks, fit.prior, present, who)
    tested += evaluate.predict_steps(fit.predictor, test, fit.prior, present, who)
    of_test = evaluate.targets_of(cohort, cell.split.test, cell.task)
    of_train = evaluate.targets_of(cohort, (*cell.split.train, *cell.split.val), cell.task)
    return evaluate.score_patterns(metrics, tested, of_test, of_train, cell.tau)
