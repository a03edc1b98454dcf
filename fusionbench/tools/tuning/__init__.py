"""Search a model's options: the same trials and inner folds for every model, and no test case is used.

Every fold of every row is searched by itself, within its training and validation cases.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusionbench.core.cell_result import CellResult
from fusionbench.core.class_files import in_file
from fusionbench.core.errors import ResultsError, SuiteError, did_you_mean
from fusionbench.core.executor import Executor, LostTask
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.search_space import TRAIN, SearchSpace
from fusionbench.core.types import Fold
from fusionbench.data.splits import fold_hash
from fusionbench.execution.retry import full_disk
from fusionbench.execution.run_cell import refuse_full_disk
from fusionbench.execution.shared import SharedResources
from fusionbench.execution.task import CellTask, task_runner
from fusionbench.results.run_lock import hold
from fusionbench.results.store import Store
from fusionbench.suites.cell import RESULTS_VERSION, Cell, Plan, canonical
from fusionbench.suites.tuned_options import Study, TuningRecord
from fusionbench.tools.tuning.inner_folds import Objective, inner_cell, inner_folds, objective_of
from fusionbench.tools.tuning.journal import JOURNAL, repair
from fusionbench.tools.tuning.output import earlier, paths, write
from fusionbench.tools.tuning.space import default_point, space_of
from fusionbench.tools.tuning.study import Point, Search, SearchResult, load_optuna


@dataclass(frozen=True)
class TuneOptions:
    """How to search.

    Attributes:
        models: of the suite; a name without brackets is all of that name.
        objective: a metric on the inner folds' held-out parts, or `nll`; None = the primary metric of the endpoint.
        space: a file or the name of a shipped one; None = what each model declares.
    """

    models: tuple[str, ...]
    trials: int = 50
    inner_folds: int = 3
    objective: str | None = None
    space: str | None = None


@dataclass(frozen=True)
class TuneProgress:
    """Progress of a search: study number `study` of `studies` has `done` of `trials`; `result` when it has ended."""

    study: int
    studies: int
    label: str
    done: int
    trials: int
    result: Study | None = None


def tune(
    plan: Plan,
    resources: SharedResources,
    executor: Executor,
    options: TuneOptions,
    folder: Path,
    command: str,
    on_progress: Callable[[TuneProgress], None],
    note: Callable[[str], None],
) -> Path:
    """Search every fold of the rows of the models to tune, then write the tuned suite.

    Args:
        plan: the whole suite.
        folder: where the journal, the suite and the record are; a search goes on from its journal.
        note: called with a line on what an earlier process left behind.

    Returns:
        the suite's file.

    Raises:
        SuiteError, DataError: a model, space, objective or fold that cannot be searched; before any compute.
        ResultsError: another process searches in the folder, or its disk is full.
        FusionBenchError: no trial of a study was completed.
    """
    load_optuna()
    if own := [str(model) for model in plan.suite.models if in_file(model.name)]:
        raise SuiteError(
            f"{own[0]}: the tuned suite is a file, which cannot name a class of a file; make a package of it with: "
            "fusionbench new-plugin NAME"
        )
    cells = list(_searched(plan, options))
    objective = objective_of(options.objective, cells, resources.registry)
    spaces = {
        model: space_of(model, resources.registry, options.space) for model in dict.fromkeys(c.model for c in cells)
    }
    folds = [
        inner_folds(c, {case.id: case for case in resources.cohort_of(c).cases}, options.inner_folds) for c in cells
    ]
    record = TuningRecord(
        suite=plan.suite.name,
        command=command,
        objective=objective.name,
        trials=options.trials,
        inner_folds=options.inner_folds,
        seed=plan.suite.seed,
        study=(),
    )
    Store.at(folder).make_folder(".")
    with hold(folder, "--to") as dead, _disk_of(folder):
        if dead is not None:
            note(f"going on where {dead} was ended")
        searched = {cell.position for cell in cells}
        there = earlier(paths(folder, plan.suite.name)[1], record, plan.suite, searched, resources.registry)
        if line := repair(folder):
            note(line)
        opened = []
        for i, (cell, inner) in enumerate(zip(cells, folds, strict=True), 1):
            progress = TuneProgress(i, len(cells), cell.label, 0, options.trials)
            space, journal = spaces[cell.model], folder / JOURNAL
            opened.append(
                _RunningSearch(cell, inner, space, objective, options, journal, resources, progress, on_progress)
            )
        kept = {study.position: study for study in there}
        for search in _run(opened, resources, executor):
            kept[search.study.position] = search.study
        # In the order of the plan, not in the order in which searches ended.
        order = {cell.position: i for i, cell in enumerate(plan.listed)}
        studies = sorted(kept.values(), key=lambda study: order.get(study.position, len(order)))
        return write(folder, plan.suite, record.model_copy(update={"study": tuple(studies)}), resources.registry)


@contextmanager
def _disk_of(folder: Path) -> Iterator[None]:
    """
    Raises:
        ResultsError: the folder's disk is full.
    """
    try:
        yield
    except OSError as error:
        if not full_disk(error):
            raise
        raise ResultsError(
            f"{folder} cannot be written: {error.strerror}; free some space: the same command then goes on, finished "
            "trials are kept"
        ) from error


def _searched(plan: Plan, options: TuneOptions) -> Iterator[Cell]:
    """The folds of the rows of the models to tune.

    Raises:
        SuiteError: a model has none, or is built on others, whose own options are what can be searched.
    """
    for text in options.models:
        model, exact = PluginRef.parse(text), "[" in text
        mine = [c for c in plan.listed if c.model == model or (not exact and c.model.name == model.name)]
        if not mine:
            raise SuiteError(did_you_mean("model of this suite", text, {str(m) for m in plan.suite.models}))
        runs = [c for c in mine if not c.skip]
        if not runs:
            raise SuiteError(f"model {text} runs nowhere in suite {plan.suite.name!r}: {mine[0].skip}")
        if runs[0].members:
            raise SuiteError(f"model {text} is built on others; tune those")
        yield from runs


class _RunningSearch:
    """A search under way: yields the next cell to compute, and in the end the study."""

    study: Study

    def __init__(
        self,
        cell: Cell,
        folds: Sequence[Fold],
        space: SearchSpace,
        objective: Objective,
        options: TuneOptions,
        journal: Path,
        resources: SharedResources,
        progress: TuneProgress,
        on_progress: Callable[[TuneProgress], None],
    ) -> None:
        self.cell, self.folds, self.objective, self.progress, self.on_progress = (
            cell,
            folds,
            objective,
            progress,
            on_progress,
        )
        self.default = default_point(space, cell.model, cell.recipe, resources.registry)
        self.search = Search(
            journal, _study_name(cell, folds, space, objective, resources), space, objective, cell.seed
        )
        if self.search.done > options.trials:
            raise SuiteError(
                f"{journal} has {self.search.done} trials of {cell.label}, and this asks for {options.trials}; ask "
                "for as many, or write elsewhere with --to"
            )
        self.trials = self.search.run(options.trials, len(folds), self.default)

    def begin(self) -> CellTask | None:
        """The first cell to compute; None where every trial is stored already."""
        self.on_progress(replace(self.progress, done=self.search.done))
        return self._next(lambda: next(self.trials))

    def resume(self, result: CellResult | LostTask) -> CellTask | None:
        """The next cell to compute, given the result of the last; None where the search has ended."""
        if isinstance(result, CellResult):
            refuse_full_disk(self.cell, result)
        outcome = result.reason if isinstance(result, LostTask) else self.objective.value(result)
        return self._next(lambda: self.trials.send(outcome))

    def _next(self, advance: Callable[[], tuple[Point, int]]) -> CellTask | None:
        try:
            point, step = advance()
        except StopIteration:
            self.study = _as_study(self.cell, self.search.result(self.default))
            self.on_progress(replace(self.progress, done=self.search.done, result=self.study))
            return None
        return CellTask(inner_cell(self.cell, self.folds[step], step, point, self.objective))


def _run(
    searches: Sequence[_RunningSearch], resources: SharedResources, executor: Executor
) -> Iterator[_RunningSearch]:
    """Each search as it ends. Searches run side by side; the trials of one search run one after the other, so that its
    result does not depend on how many searches run at once.
    """
    pending, ready = deque(searches), deque[tuple[_RunningSearch, CellTask]]()
    running: dict[CellTask, _RunningSearch] = {}
    ended: list[_RunningSearch] = []

    def take() -> CellTask | None:
        while not ready and pending:
            search = pending.popleft()
            if task := search.begin():
                ready.append((search, task))
            else:
                ended.append(search)
        if not ready:
            return None
        search, task = ready.popleft()
        running[task] = search
        return task

    for done, result in executor.run(take, task_runner(executor, resources)):
        search = running.pop(done)
        if task := search.resume(result):
            ready.appendleft((search, task))  # searches that have begun are finished first
        else:
            ended.append(search)
    yield from ended


def _study_name(
    cell: Cell, folds: Sequence[Fold], space: SearchSpace, objective: Objective, resources: SharedResources
) -> str:
    """The name of a study; it ends in the hash of its inputs, so that trials with other inputs are in another study."""
    cohort = resources.cohort_of(cell)
    about: dict[str, Any] = {
        "results_version": RESULTS_VERSION,
        "cohort": cohort.fingerprint,
        "model": resources.registry.model(cell.model.name).version,
        "recipe": cell.recipe.model_dump(mode="json"),
        "protocol": cell.protocol.model_dump(mode="json", exclude={"repeats", "test_patterns", "mask_draws"}),
        "folds": [fold_hash(fold) for fold in folds],
        "space": {name: repr(dimension) for name, dimension in space.items()},
        "objective": objective.name,
        **{name: value for name, value in cell.ingredients.items() if name == "train_masks"},
        "seed": cell.seed,
    }
    named = replace(cell, dataset=PluginRef.parse(cell.cohort_name)).label  # without the place where its files lie
    return f"{named} · {hashlib.sha256(canonical(about).encode()).hexdigest()[:16]}"


def _as_study(cell: Cell, found: SearchResult) -> Study:
    options, train = _parts(found.point)
    dataset, model, modalities, variant = cell.row
    return Study(
        dataset=dataset,
        model=model,
        modalities=modalities,
        variant=variant,
        repeat=cell.repeat,
        fold=cell.fold,
        split=fold_hash(cell.split),
        value=found.value,
        default=found.default,
        complete=found.complete,
        pruned=found.pruned,
        failed=found.failed,
        failure=found.failure,
        options=options,
        train=train,
    )


def _parts(point: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    options = {name: value for name, value in point.items() if not name.startswith(TRAIN)}
    return options, {name.removeprefix(TRAIN): value for name, value in point.items() if name.startswith(TRAIN)}
