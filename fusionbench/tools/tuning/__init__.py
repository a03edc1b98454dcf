"""Search a model's options: the same trials and inner folds for every model, and no test case has a say.

Every fold of every row is searched by itself, within its training and validation cases.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import SuiteError, did_you_mean
from fusionbench.core.interfaces import Executor, Lost
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.search_space import TRAIN, SearchSpace
from fusionbench.core.types import Fold
from fusionbench.data.splits import fold_hash
from fusionbench.execution.shared import SharedResources
from fusionbench.execution.task import CellTask, task_runner
from fusionbench.suites.cell import RESULTS_VERSION, Cell, Plan, canonical
from fusionbench.suites.tuned_options import Record, Study
from fusionbench.tools.tuning.inner_folds import Objective, inner_cell, inner_folds
from fusionbench.tools.tuning.output import earlier, paths, write
from fusionbench.tools.tuning.space import space_of, usual
from fusionbench.tools.tuning.study import Found, Point, Search, load_optuna

JOURNAL = "journal.log"


@dataclass(frozen=True)
class Wish:
    """How to search.

    Attributes:
        models: of the suite; a name without brackets is all of that name.
        objective: a metric on the inner folds' held-out parts, or `nll`.
        space: a file or the name of a shipped one; None = what each model declares.
    """

    models: tuple[str, ...]
    trials: int = 50
    inner_folds: int = 3
    objective: str = "harrell_c_index"
    space: str | None = None


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
    resources: SharedResources,
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
    objective = Objective.named(wish.objective, resources.registry)
    cells = list(_searched(plan, wish))
    spaces = {model: space_of(model, resources.registry, wish.space) for model in dict.fromkeys(c.model for c in cells)}
    folds = [inner_folds(c, {case.id: case for case in resources.cohort_of(c).cases}, wish.inner_folds) for c in cells]
    record = Record(
        suite=plan.suite.name,
        command=command,
        objective=wish.objective,
        trials=wish.trials,
        inner_folds=wish.inner_folds,
        seed=plan.suite.seed,
        study=(),
    )
    kept = {study.place: study for study in earlier(paths(folder, plan.suite.name)[1], record, resources.registry)}
    folder.mkdir(parents=True, exist_ok=True)
    opened = []
    for i, (cell, inner) in enumerate(zip(cells, folds, strict=True), 1):
        said = Told(i, len(cells), cell.label, 0, wish.trials)
        opened.append(_Open(cell, inner, spaces[cell.model], objective, wish, folder / JOURNAL, resources, said, tell))
    for search in _run(opened, resources, executor):
        kept[search.study.place] = search.study
    # in the order of the plan, whichever was done first
    order = {(*cell.row, cell.repeat, cell.fold): i for i, cell in enumerate(plan.listed)}
    studies = sorted(kept.values(), key=lambda study: order.get(study.place, len(order)))
    return write(folder, plan.suite, record.model_copy(update={"study": tuple(studies)}), resources.registry)


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


class _Open:
    """A search that is under way: what it wants scored next, and what it came to."""

    study: Study

    def __init__(
        self,
        cell: Cell,
        folds: Sequence[Fold],
        space: SearchSpace,
        objective: Objective,
        wish: Wish,
        journal: Path,
        resources: SharedResources,
        said: Told,
        tell: Callable[[Told], None],
    ) -> None:
        self.cell, self.folds, self.objective, self.said, self.tell = cell, folds, objective, said, tell
        self.default = usual(space, cell.model, cell.recipe, resources.registry)
        self.search = Search(journal, _named(cell, folds, space, objective, resources), space, objective, cell.seed)
        self.trials = self.search.run(wish.trials, len(folds), self.default)

    def begin(self) -> CellTask | None:
        """The first thing to score; None where every trial is there already."""
        self.tell(replace(self.said, done=self.search.done))
        return self._next(lambda: next(self.trials))

    def go_on(self, result: CellResult | Lost) -> CellTask | None:
        """The next thing to score; None where the search has ended."""
        outcome = result.reason if isinstance(result, Lost) else self.objective.of(result)
        return self._next(lambda: self.trials.send(outcome))

    def _next(self, advance: Callable[[], tuple[Point, int]]) -> CellTask | None:
        try:
            point, step = advance()
        except StopIteration:
            self.study = _as_study(self.cell, self.search.found(self.default))
            self.tell(replace(self.said, done=self.search.done, found=self.study))
            return None
        return CellTask(inner_cell(self.cell, self.folds[step], step, point, self.objective))


def _run(searches: Sequence[_Open], resources: SharedResources, executor: Executor) -> Iterator[_Open]:
    """Each search as it ends. Searches run side by side, the trials of one in turn: its course is the same anyhow."""
    waiting, ready = deque(searches), deque[tuple[_Open, CellTask]]()
    in_hand: dict[CellTask, _Open] = {}
    ended: list[_Open] = []

    def take() -> CellTask | None:
        while not ready and waiting:
            search = waiting.popleft()
            if task := search.begin():
                ready.append((search, task))
            else:
                ended.append(search)
        if not ready:
            return None
        search, task = ready.popleft()
        in_hand[task] = search
        return task

    for done, result in executor.run(take, task_runner(executor, resources)):
        search = in_hand.pop(done)
        if task := search.go_on(result):
            ready.appendleft((search, task))  # what has begun is brought to its end first
        else:
            ended.append(search)
    yield from ended


def _named(
    cell: Cell, folds: Sequence[Fold], space: SearchSpace, objective: Objective, resources: SharedResources
) -> str:
    """A study's name ends in the hash of all that its trials depend on: what has changed is another study."""
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
