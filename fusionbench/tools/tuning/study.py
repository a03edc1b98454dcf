"""One search: Optuna's TPE over a space, each trial on the inner folds one by one, pruned by the median."""

from __future__ import annotations

import logging
import statistics
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.core.errors import FusionBenchError, PluginError
from fusionbench.core.search_space import Choice, SearchSpace
from fusionbench.core.seeds import derive
from fusionbench.tools.tuning.inner_folds import Objective

if TYPE_CHECKING:
    import optuna

REASON = "reason"
"""Attribute of a trial that failed: why."""
STARTUP = 5
"""Trials before any is pruned."""

Point = Mapping[str, Any]
Trials = Generator[tuple[Point, int], float | str, None]
"""Points, each with the inner fold it is to be scored on; sent back is the objective, or why there is none."""


@dataclass(frozen=True)
class SearchResult:
    """The best trial of a search, and how all ended; `failure` is the reason of the first that failed."""

    point: Point
    value: float
    default: float | None
    complete: int
    pruned: int
    failed: int
    failure: str


class Search:
    """A study in a journal file; what is finished there is not done again."""

    def __init__(self, journal: Path, name: str, space: SearchSpace, objective: Objective, seed: int) -> None:
        """
        Args:
            name: of the study; names everything that its trials depend on.
            seed: of the sampler.

        Raises:
            PluginError: Optuna is not installed.
        """
        self._optuna = load_optuna()
        self.space, self.seed = space, seed
        backend = self._optuna.storages.journal.JournalFileBackend(str(journal))
        with _quiet(self._optuna):
            self._study = self._optuna.create_study(
                study_name=name,
                storage=self._optuna.storages.JournalStorage(backend),
                direction="maximize" if objective.higher_is_better else "minimize",
                pruner=self._optuna.pruners.MedianPruner(n_startup_trials=STARTUP),
                load_if_exists=True,
            )
        self._close_begun()

    @property
    def done(self) -> int:
        """Trials that ended by themselves, however."""
        return sum(trial.state.is_finished() and not self._interrupted(trial) for trial in self._study.trials)

    def run(self, trials: int, inner_folds: int, default: Point | None) -> Trials:
        """Trials until there are `trials`: yields a point and the inner fold to score it on, and is sent the outcome.

        Args:
            default: the suite's own options: the first trial, so that what is found is no worse on the inner folds.
        """
        waiting = self._optuna.trial.TrialState.WAITING
        if default is not None and not self.done and not self._study.get_trials(deepcopy=False, states=(waiting,)):
            with _quiet(self._optuna):
                self._study.enqueue_trial(self._labelled(default))
        while (done := self.done) < trials:
            with _quiet(self._optuna):
                # The sampler is seeded by where the study stands, so that a study that goes on draws new points.
                self._study.sampler = self._optuna.samplers.TPESampler(seed=derive(self.seed, "tpe", done) % 2**32)
                trial = self._study.ask()
                point = self._suggest(trial)
            yield from self._trial(trial, point, inner_folds)

    def result(self, default: Point | None) -> SearchResult:
        """The best trial so far.

        Raises:
            FusionBenchError: no trial was completed; with the reason of the first that failed.
        """
        states = self._optuna.trial.TrialState
        of_state = {state: [t for t in self._study.trials if t.state == state] for state in states}
        complete = of_state[states.COMPLETE]
        failed = [trial for trial in of_state[states.FAIL] if not self._interrupted(trial)]
        failure = failed[0].user_attrs[REASON] if failed else ""
        if not complete:
            reason = failure or "none was run to its end"
            raise FusionBenchError(f"no trial of {self._study.study_name} was completed: {reason}")
        best = self._study.best_trial
        labelled = None if default is None else self._labelled(default)
        own = next((t.value for t in complete if t.params == labelled), None)
        point = {name: self._value(name, value) for name, value in best.params.items()}
        return SearchResult(
            point, float(best.value), own, len(complete), len(of_state[states.PRUNED]), len(failed), failure
        )

    def _trial(self, trial: optuna.Trial, point: Point, inner_folds: int) -> Trials:
        states = self._optuna.trial.TrialState
        values: list[float] = []
        for step in range(inner_folds):
            outcome = yield point, step
            if isinstance(outcome, str):
                trial.set_user_attr(REASON, outcome)
                self._study.tell(trial, state=states.FAIL)
                return
            values.append(outcome)
            trial.report(statistics.fmean(values), step)
            if step < inner_folds - 1 and trial.should_prune():
                self._study.tell(trial, state=states.PRUNED)
                return
        self._study.tell(trial, statistics.fmean(values))

    def _close_begun(self) -> None:
        """Close trials that a process left running which was killed or interrupted.

        They have no value and count for nothing: a trial with the same options takes the place of each, since the
        sampler depends on the trials that ended by themselves alone.
        """
        states = self._optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            self._study.tell(trial.number, state=states.FAIL)

    def _interrupted(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether a trial ended with its process: one that failed has a reason."""
        return trial.state == self._optuna.trial.TrialState.FAIL and REASON not in trial.user_attrs

    def _suggest(self, trial: optuna.Trial) -> Point:
        return {name: self._value(name, self._draw(trial, name)) for name in self.space}

    def _draw(self, trial: optuna.Trial, name: str) -> Any:
        dimension = self.space[name]
        if isinstance(dimension, Choice):
            return trial.suggest_categorical(name, [repr(value) for value in dimension.values])
        if dimension.whole:
            return trial.suggest_int(name, int(dimension.low), int(dimension.high), log=dimension.log)
        return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)

    def _value(self, name: str, drawn: Any) -> Any:
        """Optuna stores only plain values; a choice is stored as its text."""
        dimension = self.space[name]
        return next(v for v in dimension.values if repr(v) == drawn) if isinstance(dimension, Choice) else drawn

    def _labelled(self, point: Point) -> dict[str, Any]:
        return {n: repr(v) if isinstance(self.space[n], Choice) else v for n, v in point.items()}


def load_optuna() -> Any:
    """The package `optuna`.

    Raises:
        PluginError: it is not installed; says how to install it.
    """
    try:
        import optuna
    except ImportError as error:
        raise PluginError('tuning needs Optuna; run: pip install "fusionbench[tune]"') from error
    return optuna


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """A context without Optuna's log lines and warnings about experimental features."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
