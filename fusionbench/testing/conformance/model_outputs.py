"""Checks of what a module gives beside its logits, and of the targets that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fusionbench.core.types import Batch, StepPrediction, Targets
from fusionbench.data.collate import select
from fusionbench.execution.training.outputs import as_trained_on, reads_targets
from fusionbench.testing.conformance.check import Checklist, Failure, Skipped
from fusionbench.testing.conformance.trials import (
    ModelSubject,
    Trial,
    batch_of,
    largest_difference,
    tolerance,
    trained_output,
)

CHECKS: Checklist[ModelSubject] = Checklist()
REPEATS = ("predictions", "deterministic")
CASES = 12
"""Of the training batch that is tried."""


@CHECKS.add(
    "targets-declared",
    "The module reads `batch.targets` in training if, and only if, it sets `reads_targets = True`.",
    cause="`reads_targets = True` is missing, so that there are no targets to read, or it is left over.",
    needs=REPEATS,
)
def targets_declared(subject: ModelSubject) -> None:
    for trial, predictor in subject.with_module(subject.widest()):
        module, batch = predictor.module, batch_of(trial.fitted.sample.train)
        assert batch.targets is not None
        declared = reads_targets(module)
        other = replace(batch, targets=_reversed(batch.targets) if declared else None)
        changed = _differ(_numbers(trial, module, batch), _numbers(trial, module, other))
        if changed and not declared:
            raise Failure(f"on {trial.label}, it reads targets where there are any, and does not declare it")
        if declared and not changed:
            raise Failure(f"on {trial.label}, it sets reads_targets, and with other targets everything is the same")


def _reversed(targets: Targets[Tensor]) -> Targets[Tensor]:
    """The targets of the batch in reverse order."""
    return targets.map(lambda array: array.flip(0))


def _numbers(trial: Trial, module: nn.Module, batch: Batch) -> dict[str, NDArray[Any]]:
    """All that a module makes of a batch in training mode, under one seed."""
    out = trained_output(module, batch, trial.fitted.sample.task)
    steps = {} if out.step_logits is None else {"step_logits": out.step_logits.logits}
    return {name: x.detach().double().numpy() for name, x in {"logits": out.logits, **out.losses, **steps}.items()}


def _differ(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    return one.keys() != other.keys() or any(
        largest_difference(one[name], other[name]) > tolerance(one[name]) for name in one
    )


@CHECKS.add(
    "losses-are-means",
    "Each auxiliary loss stays the same where every case of the batch stands twice: it is a mean over cases.",
    cause="a sum over cases in place of a mean, or a loss of a case that is divided by the size of the batch.",
    needs=(*REPEATS, "batch-invariant"),
)
def losses_are_means(subject: ModelSubject) -> None:
    seen = 0
    for trial, predictor in subject.with_module(subject.trials):
        module = predictor.module
        batch = as_trained_on(batch_of(trial.fitted.sample.train, CASES), declared=reads_targets(module))
        if not (once := _losses(trial, module, batch, 0)):
            continue
        again = _losses(trial, module, batch, 1)
        twice = _losses(trial, module, select(batch, [i for i in range(CASES) for _ in range(2)]), 0)
        for name, value in once.items():
            seen += 1
            # A loss that draws noise has another value each time, which says nothing.
            if again.get(name) == value and name in twice and not _near(value, twice[name]):
                raise Failure(
                    f"on {trial.label}, loss {name!r} is {value:.4g} on {CASES} cases and {twice[name]:.4g} where each "
                    "stands twice"
                )
    if not seen:
        raise Skipped("its module has no auxiliary losses")


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-3 * max(abs(one), 1e-3)


def _losses(trial: Trial, module: nn.Module, batch: Batch, seed: int) -> dict[str, float]:
    """The mean of each auxiliary loss in training mode, without dropout and with running statistics."""
    out = trained_output(module, batch, trial.fitted.sample.task, seed=seed, still=True)
    return {name: float(loss.detach().double().mean()) for name, loss in out.losses.items()}


@CHECKS.add(
    "steps",
    "What is predicted after each step is the same alone and among others, and the same from restored weights.",
    cause="a mean over the case axis in the logits of the steps, or states that are kept from one batch to the next.",
    needs=(*REPEATS, "restores", "batch-invariant"),
)
def steps(subject: ModelSubject) -> None:
    seen = 0
    for trial in subject.trials:
        fitted, cases = trial.fitted, trial.test.without_targets()
        among = {step.name: step for step in fitted.predictor.predict_steps(cases)}
        restored = subject.fitter.restore(fitted, trial.ref, fitted.predictor.state()).predict_steps(cases)
        alone = fitted.predictor.predict_steps(cases.take([0]))
        for step in (*restored, *alone):
            seen += 1
            _same_step(trial, among[step.name], step)
    if not seen:
        raise Skipped("it predicts after no steps")


def _same_step(trial: Trial, among: StepPrediction, step: StepPrediction) -> None:
    """Whether the cases of `step`, which are the first ones, are predicted as among all."""
    count = len(step.rows)
    own, others = (np.asarray(of.prediction.scores, dtype=np.float64)[:count] for of in (step, among))
    if among.rows[:count] != step.rows or not largest_difference(own, others) <= tolerance(others):
        raise Failure(f"on {trial.label}, the prediction of a case after step {step.name!r} depends on the batch")
