"""A fitted cell on a cohort that it was not fitted on: every case predicted, under every pattern, and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from fusionbench.core import environment
from fusionbench.core.cell_result import CellResult, PatternPrediction, Score
from fusionbench.core.guard import guarded
from fusionbench.core.metric import Metric
from fusionbench.core.timing import EVALUATE, LapTimer, span
from fusionbench.core.types import CaseSet, Targets
from fusionbench.data.cohort import Cohort
from fusionbench.execution import evaluate
from fusionbench.execution.cell_record import origin
from fusionbench.execution.device import deterministic, limited, threads_for
from fusionbench.execution.fit_context import Fit, Load, Loaded, restore_fit
from fusionbench.execution.shared import SharedResources
from fusionbench.suites.cell import Cell, present_modalities
from fusionbench.suites.external import external_cohort, external_masks
from fusionbench.tasks import kind_with, task_kind


def new_cases(fit: Fit, cohort: Cohort) -> CaseSet:
    """Every case of a cohort, as a restored model sees it; without targets."""
    assert isinstance(fit.predictor, Loaded)
    preprocessor = fit.predictor.preprocessor
    return CaseSet(tuple(cohort.cases), preprocessor.specs, None, preprocessor.prepare)


def differences(fit: Fit, cohort: Cohort) -> tuple[str, ...]:
    """How a cohort differs from the training cases in what a restored model reads of it, one line each."""
    assert isinstance(fit.predictor, Loaded)
    return fit.predictor.preprocessor.differences(cohort.cases)


def predict_external(cell: Cell, resources: SharedResources, load: Load) -> CellResult:
    """The result of a cell that predicts another cohort with its member.

    Cases without an outcome are predicted and not scored. Censoring weights come from the member's training and
    validation cases, as for its test fold. Nothing is fitted: the stored state is read, never written.

    Raises:
        FusionBenchError: the member failed, or the cohort does not fit it.
    """
    timer, changes = LapTimer(), list[str]()
    (member, key), trained = cell.members[0], resources.cohort_of(cell)
    cohort = external_cohort(cell, resources.new_patients)
    result = load(key)
    timer.lap("prepare")
    with guarded(f"model {cell.model}", changes.append, fitting=True):
        fit = restore_fit(result, cohort, resources.registry, resources.device, load, member)
        cases = new_cases(fit, cohort)
        threads = threads_for(cases, resources.threads, resources.cores)
        masks = external_masks(cell, cohort.identity, cohort.cases)
        present = present_modalities(cohort.cases, cell.modalities)
        with limited(threads), deterministic(resources.deterministic), span(EVALUATE):
            made = evaluate.predict_patterns(fit.predictor, cases, masks, fit.prior, present, f"model {cell.model}")
        notes = differences(fit, cohort)
    timer.lap("predict")
    kind = kind_with(result.record["fit"].get("classes", ()))
    with span(EVALUATE), guarded(f"one of the metrics {', '.join(cell.metrics)}", changes.append, fitting=True):
        metrics = {name: resources.registry.metric(name)() for name in cell.metrics}
        scores = external_scores(cell, trained, cohort, made, metrics)
    timer.lap("score")
    grid = evaluate.time_grid(cell.tau)
    record = {
        **origin(cell, resources),
        "fit": {"classes": list(cell.task.classes)},
        "notes": [*notes, *_outcome_notes(cell, trained, cohort)],
        "changed_settings": changes,
        "seconds": timer.laps,
        "environment": environment.describe(str(resources.device), threads)
        | {"deterministic": resources.deterministic},
    }
    return CellResult(
        key=cell.key,
        status="ok",
        predictions=tuple(replace(p, prediction=kind.on_grid(p.prediction, grid)) for p in made),
        scores=tuple(scores),
        record=record,
        curves=evaluate.own_curves(made),
    )


def external_scores(
    cell: Cell,
    trained: Cohort,
    cohort: Cohort,
    made: Sequence[PatternPrediction],
    metrics: Mapping[str, Metric],
) -> list[Score]:
    """Every metric on every pattern, of the cases that have an outcome; none where no case has one.

    Args:
        trained: the cohort that the model was fitted on.
        cohort: the cohort that was predicted, as the cell's protocol wants it read.
        made: of all its cases.
    """
    rows = [i for i, case in enumerate(cohort.cases) if case.target is not None]
    if not rows:
        return []
    ids = [cohort.cases[i].id for i in rows]
    present = present_modalities(cohort.cases, cell.modalities)
    masks = {(m.pattern, m.draw): m for of in external_masks(cell, cohort.identity, cohort.cases).values() for m in of}

    def blind(pattern: str, draw: int) -> int:
        hidden = masks[pattern, draw].hidden
        return sum(not set(present[i]) - hidden.get(i, frozenset()) for i in ids)

    scored = [replace(p, prediction=p.prediction.take(rows), n_prior=blind(p.pattern, p.draw)) for p in made]
    test, fitted_on = _outcomes(cell, trained, cohort)
    return evaluate.score_patterns(metrics, scored, test, fitted_on, cell.tau)


def _outcomes(cell: Cell, trained: Cohort, cohort: Cohort) -> tuple[Targets[NDArray[Any]], Targets[NDArray[Any]]]:
    """Of the cases that have one, in the cohort's order; and of training and validation cases."""
    known = [case.id for case in cohort.cases if case.target is not None]
    fitted_on = evaluate.targets_of(trained, (*cell.split.train, *cell.split.val), cell.task)
    return evaluate.targets_of(cohort, known, cell.task), fitted_on


def _outcome_notes(cell: Cell, trained: Cohort, cohort: Cohort) -> list[str]:
    """What a reader should know of the outcomes, one line each."""
    n = len(cohort.cases)
    if not cohort.targets:
        return ["no case has an outcome: predicted, not scored"]
    lacking = n - len(cohort.targets)
    notes = [f"{lacking} of {n} cases have no outcome: not scored"] if lacking else []
    return [*notes, *task_kind(cell.task.kind).outcome_doubts(*_outcomes(cell, trained, cohort))]
