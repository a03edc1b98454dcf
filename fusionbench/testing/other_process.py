"""The process in which `check` restores and fits a model: other hash seed, later clock, empty folders to write into.

It imports no more than models need, and forks for each model: no model meets what another one left behind.
"""

from __future__ import annotations

import datetime
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from fusionbench.core.child_process import end_with_parent
from fusionbench.core.interfaces import Dataset, FusionModel
from fusionbench.core.predictor import Predictor
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.types import CaseSet, Member, ModalitySpec, Prediction, Task
from fusionbench.data.preparations import FittedPreparation
from fusionbench.execution.device import limited
from fusionbench.execution.fit_context import Context, Fit, Restore
from fusionbench.execution.training.optimizers import import_compiler

State = Mapping[str, NDArray[Any]]
LATER = datetime.timedelta(days=400, hours=5)
"""How far the clock of the other process is ahead."""
EMPTY = {"work": None, "home": "HOME", "data": "FUSIONBENCH_DATA"}
"""Empty folder to the environment variable that names it: working directory, home and data home."""
TEMPORARY = ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
"""Environment variables whose folder may be written to."""


@dataclass(frozen=True, eq=False)
class Lent:
    """What the harness lends a model; enough for a FitContext and a RestoreContext."""

    task: Task
    specs: Mapping[str, ModalitySpec]
    seed: int
    recipe: TrainRecipe
    members: Mapping[Member, Fit]
    preparations: tuple[FittedPreparation, ...]


@dataclass(frozen=True, eq=False)
class RestoreJob:
    """Cases to predict with a predictor restored from `state`."""

    lent: Lent
    state: State
    cases: CaseSet


@dataclass(frozen=True, eq=False)
class FitJob:
    """Cases to fit on."""

    lent: Lent
    train: CaseSet
    val: CaseSet


@dataclass(frozen=True, eq=False)
class Request:
    """One model and what is asked of it; it goes through pickle."""

    model: FusionModel
    restores: Sequence[RestoreJob]
    fits: Sequence[FitJob]


@dataclass(eq=False)
class Reply:
    """What came of a request.

    Attributes:
        predictions: one for each RestoreJob.
        states: of one predictor for each FitJob.
        datasets: names of the datasets that the model opened.
        error: traceback where the model raised; then both lists end early.
        written: paths that were written in the working directory, the home, the data home or beside the plugin.
    """

    predictions: list[Prediction] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    error: str = ""
    written: list[str] = field(default_factory=list)


def serve(pipe: int) -> None:
    """Answer requests, each in a forked process, until the input ends.

    Args:
        pipe: the reading end of a pipe that is closed with the parent; see `end_with_parent`.
    """
    end_with_parent(pipe)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a plugin prints is no answer
    import_compiler()  # once here, not in the fork for each model that is trained
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                _answer(Path(line.strip()))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        answers.write("answered\n")
        answers.flush()


def _answer(folder: Path) -> None:
    for name, variable in EMPTY.items():
        if variable:
            os.environ[variable] = str(folder / name)
    os.environ.update(dict.fromkeys(TEMPORARY, str(folder / "tmp")))
    tempfile.tempdir = None
    os.chdir(folder / "work")
    _turn_clock()
    reply = Reply()
    _record_datasets(reply.datasets)
    try:
        _run(folder / "request.pkl", reply)
    # A plugin is third-party code: whatever it raises is the answer.
    except (Exception, SystemExit):  # noqa: BLE001
        reply.error = traceback.format_exc(limit=-2)
    (folder / "reply.pkl").write_bytes(pickle.dumps(reply))


def _run(path: Path, reply: Reply) -> None:
    with path.open("rb") as file:
        sys.path[:] = pickle.load(file)
        request: Request = pickle.load(file)
    cpu = torch.device("cpu")
    with limited(1):
        for job in request.restores:
            lent = job.lent
            own = Restore(lent.task, lent.specs, cpu, lent.members, lent.recipe, lent.preparations)
            made = _anew(request.model).restore(job.state, own).predict(job.cases)
            reply.predictions.append(made)
        for fit in request.fits:
            reply.states.append(dict(_fit(request.model, fit, cpu).state()))


def _fit(model: FusionModel, job: FitJob, device: torch.device) -> Predictor:
    lent = job.lent
    torch.manual_seed(lent.seed)
    made = lent.preparations
    context = Context(lent.task, lent.specs, lent.seed, device, lent.recipe, lent.members, preparations=made)
    return _anew(model).fit(job.train, job.val, context)


def _anew(model: FusionModel) -> FusionModel:
    return type(model)(model.options)


def _record_datasets(opened: list[str]) -> None:
    """A model has no business with a cohort: whichever it opens is put down."""
    made = Dataset.__init__

    def noted(self: Dataset, *given: Any, **named: Any) -> None:
        opened.append(type(self).name)
        made(self, *given, **named)

    Dataset.__init__ = noted  # type: ignore[method-assign]


def _turn_clock() -> None:
    now, now_ns, ahead = time.time, time.time_ns, LATER.total_seconds()
    time.time = lambda: now() + ahead
    time.time_ns = lambda: now_ns() + int(ahead * 10**9)
    real = datetime.datetime

    class Later(real):  # type: ignore[misc, valid-type]
        """The clock of this process."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            """The later time."""
            return real.now(tz) + LATER

        @classmethod
        def today(cls) -> Any:
            """The later day."""
            return real.today() + LATER

    datetime.datetime = Later  # type: ignore[misc]
