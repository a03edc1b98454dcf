"""run_cell: from a cell to its result."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fusionbench.core import environment
from fusionbench.core.cell_result import CellResult, PatternPrediction, Score
from fusionbench.core.errors import FusionBenchError, PluginError, ResultsError
from fusionbench.core.guard import guarded
from fusionbench.core.predictor import Predictor
from fusionbench.core.preparation import State
from fusionbench.core.seeds import derive
from fusionbench.core.timing import EVALUATE, PREPARE, LapTimer, span
from fusionbench.core.types import CaseSet, Member, Prediction, Task
from fusionbench.data.cohort import Cohort
from fusionbench.data.preparations import stored_arrays
from fusionbench.data.preprocessing import Preprocessor
from fusionbench.execution import evaluate
from fusionbench.execution.cell_record import failure, origin
from fusionbench.execution.device import deterministic, limited, threads_for
from fusionbench.execution.external import predict_external
from fusionbench.execution.fit_context import Context, Fit, Load, Progress, load_members, make_model
from fusionbench.execution.preparation import Prepared, declared, prepared
from fusionbench.execution.resource_samples import Meter
from fusionbench.execution.retry import full_disk, transient
from fusionbench.execution.seeding import seeded
from fusionbench.execution.shared import SharedResources
from fusionbench.suites.cell import ORACLE, Cell, present_modalities, test_masks
from fusionbench.survival.stats import distinct_risks
from fusionbench.tasks import task_kind

FULL_DISK = "full_disk"
"""Key of a failed cell's record: the disk was full, so that the failure is not the cell's and is not stored."""
FEW_SCORES = 3
"""Fewer distinct risks or probabilities than this in a fold are called degenerate."""


@dataclass(frozen=True)
class FoldData:
    """A cell's cases, split and prepared.

    Attributes:
        train, val: cases with at least one visible modality.
        test: every test case, without targets.
    """

    task: Task
    preprocessor: Preprocessor
    train: CaseSet
    val: CaseSet
    test: CaseSet
    n_left_out: int


@dataclass(frozen=True)
class Ready:
    """A cell whose cases are split and prepared.

    Attributes:
        timer: has run since that began.
        changes: a line for each call in which a plugin changed settings of the process; see `guarded`.
        prepared: what its model had prepared on the training cases.
    """

    cell: Cell
    cohort: Cohort
    data: FoldData
    timer: LapTimer
    changes: list[str] = field(default_factory=list)
    prepared: Prepared = field(default_factory=Prepared)


def run_cell(cell: Cell, resources: SharedResources, load: Load, progress: Progress | None = None) -> CellResult:
    """Fit, predict and score one cell; its own failure is a result with its reason, not an exception.

    Args:
        load: gives the finished cells of its members, by key.
        progress: is told the epochs.
    """
    started = time.perf_counter()
    meter = Meter()
    try:
        with meter:
            result = _run(cell, resources, load, progress)
        return replace(result, record={**result.record, **_measured(meter)})
    # Whatever a plugin raises is this cell's failure; the other cells go on. KeyboardInterrupt is no Exception.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return _failed(cell, error, time.perf_counter() - started, meter)


def _failed(cell: Cell, error: BaseException, seconds: float, meter: Meter) -> CellResult:
    """The result of a cell that raised."""
    reason = str(error) if isinstance(error, FusionBenchError) else f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    about = {"traceback": trace, "transient": transient(error), **_measured(meter)}
    if full_disk(error):
        about[FULL_DISK] = True
    return failure(cell, reason, seconds=seconds, **about)


def refuse_full_disk(cell: Cell, result: CellResult) -> None:
    """
    Raises:
        ResultsError: the cell failed because the disk is full; whoever runs it can go on once there is room.
    """
    if result.record.get(FULL_DISK):
        raise ResultsError(
            f"{cell.label}: {result.reason}; free some space: the same command then goes on, what is finished is kept"
        )


def _measured(meter: Meter) -> dict[str, Any]:
    """What the cell took of its process, and which code it ran; in no key."""
    commit = environment.git_commit()
    return {
        "process_peak_memory_mib": environment.peak_memory_mib(),
        "system_samples": meter.record(),
        **({"git_commit": commit} if commit else {}),
    }


def _run(cell: Cell, resources: SharedResources, load: Load, progress: Progress | None) -> CellResult:
    if cell.external is not None:
        return predict_external(cell, resources, load)
    ready = prepare(cell, resources)
    threads = threads_for(ready.data.train, resources.threads, resources.cores)
    with limited(threads), deterministic(resources.deterministic):
        ready = with_preparations(ready, resources)
    if ready.prepared.preparations:  # tokens are smaller than the bags that they were made of
        threads = threads_for(ready.data.train, resources.threads, resources.cores)
    with limited(threads), deterministic(resources.deterministic):
        with guarded(f"model {cell.model}", ready.changes.append, fitting=True):
            context, predictor = _fit(ready, resources, load, progress)
        ready.timer.lap("fit")
        return finish(ready, context, predictor, resources, threads)


def prepare(cell: Cell, resources: SharedResources) -> Ready:
    """Read, split and prepare what a cell needs."""
    timer, changes = LapTimer(), list[str]()
    with guarded(f"dataset {cell.dataset} or one of its modalities", changes.append, fitting=True):
        cohort = resources.cohort_of(cell)
        with span(PREPARE):
            data = fold_data(cell, cohort, resources)
    timer.lap("prepare")
    return Ready(cell, cohort, data, timer, changes)


def with_preparations(ready: Ready, resources: SharedResources) -> Ready:
    """With what the cell's model wants prepared, and with the tokens of training and validation cases."""
    cell, data = ready.cell, ready.data
    if cell.model.name == ORACLE:
        return ready
    with guarded(f"model {cell.model}", ready.changes.append, fitting=True):
        wanted = declared(make_model(resources.registry, cell.chosen), data.task, data.preprocessor.specs)
        if not wanted:
            return ready
        made = prepared(wanted, data.train, data.preprocessor, _about_data(cell), resources)
        preprocessor = replace(data.preprocessor, preparations=made.preparations)
        prepare = (preprocessor.imputing() if cell.policy == "impute" else preprocessor).prepare
        parts = (replace(p, specs=preprocessor.specs, prepare=prepare) for p in (data.train, data.val, data.test))
        train, val, test = parts
        for cases in (train, val):
            preprocessor.compute_tokens(cases)
    ready.timer.lap("preparations")
    return replace(ready, data=replace(data, preprocessor=preprocessor, train=train, val=val, test=test), prepared=made)


def _about_data(cell: Cell) -> dict[str, Any]:
    """Which data a cell's cases have, as far as a preparation can tell."""
    protocol = cell.protocol.model_dump(mode="json", include={"unit", "impute", "clip", "scale", "vectors"})
    known = {name: cell.ingredients[name] for name in ("results_version", "dataset", "modalities")}
    return {**known, "protocol": protocol}


def finish(
    ready: Ready, context: Context, predictor: Predictor, resources: SharedResources, threads: int
) -> CellResult:
    """Predict and score with a fitted model."""
    cell, cohort, data, timer = ready.cell, ready.cohort, ready.data, ready.timer
    kind = task_kind(data.task.kind)
    with span(EVALUATE), guarded(f"model {cell.model}", ready.changes.append, fitting=True):
        prior = evaluate.prior_prediction(kind, predictor, data.train, data.task, f"model {cell.model}")
        tested, validated = _predict(cell, cohort, data, predictor, prior)
        state = predictor.state()
        arrays = stored_arrays(ready.prepared.preparations)
        if twice := sorted(state.keys() & arrays.keys()):
            raise PluginError(f"model {cell.model}: its state has {twice[0]!r}, a name of a preparation's; rename it")
    timer.lap("predict")
    with span(EVALUATE), guarded(f"one of the metrics {', '.join(cell.metrics)}", ready.changes.append, fitting=True):
        scores = _score(cell, cohort, data, tested, resources)
    timer.lap("score")
    grid = evaluate.time_grid(cell.tau)
    record = {
        **origin(cell, resources),
        "fit": _fit_record(data, context, state, prior),
        **({"preparations": list(ready.prepared.records)} if ready.prepared.records else {}),
        "notes": [*ready.prepared.notes, *_notes(cell, data, context, tested)],
        "changed_settings": ready.changes,
        "seconds": timer.laps,
        "environment": environment.describe(str(resources.device), threads)
        | {"deterministic": resources.deterministic},
    }
    return CellResult(
        key=cell.key,
        status="ok",
        predictions=tuple(replace(p, prediction=kind.on_grid(p.prediction, grid)) for p in (validated, *tested)),
        scores=tuple(scores),
        history=tuple(context.history),
        record=record,
        preprocess=data.preprocessor.state(),
        state={**state, **arrays},
        curves=evaluate.own_curves(tested),
    )


def _predict(
    cell: Cell, cohort: Cohort, data: FoldData, predictor: Predictor, prior: Prediction
) -> tuple[list[PatternPrediction], PatternPrediction]:
    """The test fold under every pattern, and out-of-sample validation; S at the model's own times."""
    who = f"model {cell.model}"
    present = present_modalities(data.test.cases, cell.modalities)
    masks = test_masks(cell, cohort.cases)
    tested = evaluate.predict_patterns(predictor, data.test, masks, prior, present, who)
    tested += evaluate.predict_steps(predictor, data.test, prior, present, who)
    validated, _ = evaluate.predict_all(predictor, data.val, prior, who, validation=True)
    return tested, PatternPrediction("val", "full", 0, validated)


def _score(
    cell: Cell, cohort: Cohort, data: FoldData, tested: Sequence[PatternPrediction], resources: SharedResources
) -> list[Score]:
    metrics = {name: resources.registry.metric(name)() for name in cell.metrics}
    test = evaluate.targets_of(cohort, cell.split.test, data.task)
    # Censoring weights are estimated on training and validation cases: those of the test fold would depend on its size.
    fitted_on = evaluate.targets_of(cohort, (*cell.split.train, *cell.split.val), data.task)
    return evaluate.score_patterns(metrics, tested, test, fitted_on, cell.tau)


def _fit_record(data: FoldData, context: Context, state: State, prior: Prediction) -> dict[str, Any]:
    """What fitting came to; with the stored arrays it makes the predictor again."""
    trained = context.trained[-1] if context.trained else None
    kind = task_kind(data.task.kind)
    return {
        **kind.record(data.task),
        "prior": kind.values(prior),
        "validation_loss": _finite(trained.validation_loss) if trained else None,
        "best_epoch": trained.best_epoch if trained else None,
        **({"first_epoch": trained.first_epoch} if trained and trained.first_epoch > 1 else {}),
        "parameters": sum(int(a.size) for a in state.values()),
        **({"reads_targets": True} if any(of.reads_targets for of in context.trained) else {}),
    }


def fold_data(cell: Cell, cohort: Cohort, resources: SharedResources) -> FoldData:
    """Bins and preprocessing, fitted on training cases unless the protocol says otherwise; a cell's three case sets."""
    cases = {c.id: c for c in cohort.cases}
    # Bins from the whole cohort leak follow-up of test cases; a protocol may ask for them, and the audit says so.
    everyone = cell.split.train if cell.protocol.bins_from == "train" else tuple(cohort.targets)
    kind = task_kind(cell.task.kind)
    task = kind.fitted(cell.task, [cohort.targets[i] for i in everyone], cell.protocol, cell.recipe)
    hidden = resources.train_mask(cell).hidden
    preprocessor = resources.preprocessor(cell, cohort, hidden)
    imputing = cell.policy == "impute"
    prepare = (preprocessor.imputing() if imputing else preprocessor).prepare

    def case_set(ids: Sequence[str], *, training: bool) -> CaseSet:
        chosen = [cases[i] for i in ids]
        if training:
            chosen = [c for c in chosen if any(m in c.refs and m not in hidden.get(c.id, ()) for m in cell.modalities)]
        targets = evaluate.targets_of(cohort, [c.id for c in chosen], task) if training else None
        return CaseSet(tuple(chosen), preprocessor.specs, targets, prepare, hidden if training else {})

    # Without targets from here on: no model can see the outcome of a test case.
    test = case_set(cell.split.test, training=False).without_targets()
    train, val = case_set(cell.split.train, training=True), case_set(cell.split.val, training=True)
    left_out = len(cell.split.train) + len(cell.split.val) - len(train) - len(val)
    if not len(train) or not len(val):
        part = "training" if not len(train) else "validation"
        raise FusionBenchError(f"no {part} case of this fold has any of {', '.join(cell.modalities)}")
    return FoldData(task, preprocessor, train, val, test, left_out)


def fit_seed(cell: Cell) -> int:
    """What a cell's fit depends on: initialisation, order of cases, dropout."""
    return derive(
        cell.seed, "fit", cell.cohort_name, str(cell.model), "+".join(cell.modalities), cell.repeat, cell.fold
    )


def _fit(ready: Ready, resources: SharedResources, load: Load, progress: Progress | None) -> tuple[Context, Predictor]:
    """Fit under a seed of the cell's own; the process's random state is left as it was."""
    cell, data = ready.cell, ready.data
    members = load_members(cell, ready.cohort, resources.registry, resources.device, load)
    context = context_of(ready, resources, members, progress)
    if cell.model.name == ORACLE:
        return context, Oracle(ready.cohort)
    model = make_model(resources.registry, cell.chosen)
    with seeded(fit_seed(cell), resources.device):
        predictor = model.fit(data.train, data.val, context)
    return context, predictor


def context_of(
    ready: Ready, resources: SharedResources, members: Mapping[Member, Fit], progress: Progress | None = None
) -> Context:
    """What the harness gives the cell's model."""
    cell, data = ready.cell, ready.data
    return Context(
        data.task,
        data.preprocessor.specs,
        fit_seed(cell),
        resources.device,
        cell.recipe,
        members,
        progress,
        preparations=ready.prepared.preparations,
    )


class Oracle(Predictor):
    """The oracle baseline: the cohort's true hazards or class probabilities as a predictor."""

    def __init__(self, cohort: Cohort) -> None:
        self.info = cohort.info

    def predict(self, cases: CaseSet) -> Prediction:
        return task_kind(self.info.task).truth(cases.ids, self.info)

    def state(self) -> State:
        return {}


def _notes(cell: Cell, data: FoldData, context: Context, tested: Sequence[PatternPrediction]) -> list[str]:
    notes = [*data.preprocessor.notes, *(note for trained in context.trained for note in trained.notes)]
    if data.task.n_outputs < cell.task.n_outputs:
        notes.append(f"tied quartiles: {data.task.n_outputs} time bins instead of {cell.task.n_outputs}")
    if data.n_left_out:
        notes.append(f"{data.n_left_out} training and validation cases have none of the modalities and were left out")
    for p in tested:
        distinct = min(map(distinct_risks, p.prediction.scores.T))
        if p.pattern == "full" and distinct < FEW_SCORES:
            what = "probabilities" if p.prediction.classes else "risks"
            notes.append(f"degenerate {what}: fewer than {FEW_SCORES} distinct values on the test fold")
    return notes


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
