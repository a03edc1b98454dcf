"""Search a model's options: the same trials and inner folds for every model, and no test case has a say.

Every fold of every row is searched by itself, within its training and validation cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusionbench.cells import RESULTS_VERSION, Cell, Plan, canonical
from fusionbench.errors import SuiteError, did_you_mean
from fusionbench.interfaces import Executor, Lost
from fusionbench.pluginref import PluginRef
from fusionbench.results import CellResult
from fusionbench.runner import failure
from fusionbench.search import TRAIN, SearchSpace
from fusionbench.splits import fold_hash
from fusionbench.tuned import Record, Study
from fusionbench.tuning.inner import Objective, inner_cell, inner_folds
from fusionbench.tuning.space import space_of, usual
from fusionbench.tuning.study import Found, Point, Search, load_optuna
from fusionbench.tuning.writing import earlier, paths, write
from fusionbench.types import Fold
from fusionbench.work import Job, work_of
from fusionbench.workbench import Workbench

JOURNAL = "journal.log"


@dataclass(frozen=True)
class Wish:
    """How to search.

    Attributes:
        models: of the suite; a name without brackets is all of that name.
        objective: a metric on the inner folds' held-out parts, or `nll`.
        space: a file or the name of a shipped one; None = what each model declares.
        batch: trials side by side; more of them know less of each other.
    """

    models: tuple[str, ...]
    trials: int = 50
    inner_folds: int = 3
    objective: str = "harrell_c_index"
    space: str | None = None
    batch: int = 1


@dataclass(frozen=True)
class Told:
    """How far a search is: of `studies`, number `study` has `done` of `trials`; `found` when it has ended."""

    study: int
    studies: int
    label: str
    done: int
    trials: int
    found: Study | None = None


def tune(
    plan: Plan,
    bench: Workbench,
    executor: Executor,
    wish: Wish,
    folder: Path,
    command: str,
    tell: Callable[[Told], None],
) -> Path:
    """Search every fold of the wished models' rows, then write the tuned suite.

    Args:
        plan: the whole suite.
        folder: where the journal, the suite and the record are; a search goes on from its journal.

    Returns:
        the suite's file.

    Raises:
        SuiteError, DataError: a model, space, objective or fold that cannot be searched; before any compute.
        FusionBenchError: no trial of a study was completed.
    """
    load_optuna()
    objective = Objective.named(wish.objective, bench.registry)
    cells = list(_searched(plan, wish))
    spaces = {model: space_of(model, bench.registry, wish.space) for model in dict.fromkeys(c.model for c in cells)}
    folds = [inner_folds(c, {case.id: case for case in bench.cohort_of(c).cases}, wish.inner_folds) for c in cells]
    record = Record(
        suite=plan.suite.name,
        command=command,
        objective=wish.objective,
        trials=wish.trials,
        inner_folds=wish.inner_folds,
        seed=plan.suite.seed,
        study=(),
    )
    kept = {study.place: study for study in earlier(paths(folder, plan.suite.name)[1], record, bench.registry)}
    folder.mkdir(parents=True, exist_ok=True)
    for i, (cell, inner) in enumerate(zip(cells, folds, strict=True), 1):
        said = Told(i, len(cells), cell.label, 0, wish.trials)
        study = _study(cell, inner, spaces[cell.model], objective, wish, folder / JOURNAL, bench, executor, said, tell)
        kept[study.place] = study
    return write(folder, plan.suite, record.model_copy(update={"study": tuple(kept.values())}), bench.registry)


def _searched(plan: Plan, wish: Wish) -> Iterator[Cell]:
    """The folds of the wished models' rows.

    Raises:
        SuiteError: a model has none, or is built on others, whose own options are what can be searched.
    """
    for text in wish.models:
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


def _study(
    cell: Cell,
    folds: Sequence[Fold],
    space: SearchSpace,
    objective: Objective,
    wish: Wish,
    journal: Path,
    bench: Workbench,
    executor: Executor,
    said: Told,
    tell: Callable[[Told], None],
) -> Study:
    default = usual(space, cell.model, cell.recipe, bench.registry)
    search = Search(journal, _named(cell, folds, space, objective, bench), space, objective, cell.seed)

    def score(points: Sequence[Point], step: int) -> list[float | str]:
        cells = [inner_cell(cell, folds[step], step, point, objective) for point in points]
        return [objective.of(result) for result in _run(cells, bench, executor)]

    tell(replace(said, done=search.done))
    for done in search.run(wish.trials, len(folds), wish.batch, default, score):
        tell(replace(said, done=done))
    study = _as_study(cell, search.found(default))
    tell(replace(said, done=search.done, found=study))
    return study


def _run(cells: Sequence[Cell], bench: Workbench, executor: Executor) -> list[CellResult]:
    """The results of cells, in their order; those of equal options are one."""

    left = iter(dict.fromkeys(cells))
    work = work_of(executor, bench)
    results: dict[Cell, CellResult] = {}
    for job, result in executor.run(lambda: next(map(Job, left), None), work):
        if isinstance(result, Lost):
            result = failure(job.cell, result.reason, seconds=0.0)
        results[job.cell] = result
    return [results[cell] for cell in cells]


def _named(cell: Cell, folds: Sequence[Fold], space: SearchSpace, objective: Objective, bench: Workbench) -> str:
    """A study's name ends in the hash of all that its trials depend on: what has changed is another study."""
    cohort = bench.cohort_of(cell)
    about: dict[str, Any] = {
        "results_version": RESULTS_VERSION,
        "cohort": cohort.fingerprint,
        "model": bench.registry.model(cell.model.name).version,
        "recipe": cell.recipe.model_dump(mode="json"),
        "protocol": cell.protocol.model_dump(mode="json", exclude={"repeats", "test_patterns", "mask_draws"}),
        "folds": [fold_hash(fold) for fold in folds],
        "space": {name: repr(dimension) for name, dimension in space.items()},
        "objective": objective.name,
        "seed": cell.seed,
    }
    return f"{cell.label} · {hashlib.sha256(canonical(about).encode()).hexdigest()[:16]}"


def _as_study(cell: Cell, found: Found) -> Study:
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
