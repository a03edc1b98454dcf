"""Checks of what a module gives beside its logits, and of the targets that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusionbench.core.types import NO_NEIGHBOUR, Batch, StepPrediction, Targets
from fusionbench.data.collate import select
from fusionbench.execution.training.outputs import as_trained_on, reads_targets
from fusionbench.testing.conformance.check import Checklist, Failure, Skipped
from fusionbench.testing.conformance.trials import (
    ModelSubject,
    Trial,
    batch_of,
    largest_difference,
    logits,
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
        module = predictor.module
        batch = batch_of(trial.fitted.sample.train, module)
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
        batch = as_trained_on(batch_of(trial.fitted.sample.train, module, CASES), declared=reads_targets(module))
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


@CHECKS.add(
    "parts",
    "Where a module predicts parts of cases, those of a case are the same alone and among others, in training too, and "
    "change with the epoch.",
    cause="parts drawn by torch's random numbers, or the same each time: `fusionbench.nn.sub_bags` draws them.",
    needs=(*REPEATS, "batch-invariant"),
)
def parts(subject: ModelSubject) -> None:
    seen = 0
    for trial, predictor in subject.with_module(subject.trials):
        module = predictor.module
        batch = as_trained_on(batch_of(trial.fitted.sample.train, module, CASES), declared=reads_targets(module))
        among = _of_parts(trial, module, replace(batch, seed=0))
        if among is None:
            continue
        seen += 1
        for case in range(CASES):
            alone = _of_parts(trial, module, select(replace(batch, seed=0), [case]))
            own = among.get(case, np.zeros((0, 0)))
            if alone is None or alone[0].shape != own.shape or largest_difference(alone[0], own) > tolerance(own):
                raise Failure(
                    f"on {trial.label}, in training, the parts of case {batch.ids[case]!r} depend on the batch"
                )
        later = _of_parts(trial, module, replace(batch, seed=1))
        several = max(len(own) for own in among.values()) > 1
        if several and later is not None and not any(_other(among[case], later[case]) for case in among):
            raise Failure(f"on {trial.label}, the parts of cases are the same in every epoch")
    if not seen:
        raise Skipped("its module predicts whole cases")


def _of_parts(trial: Trial, module: nn.Module, batch: Batch) -> dict[int, NDArray[Any]] | None:
    """Position of each case to the logits of its parts, in training mode without dropout; None where it has none."""
    out = trained_output(module, batch, trial.fitted.sample.task, still=True)
    if out.parts is None:
        return None
    logits, case = out.logits.detach().double().numpy(), out.parts.numpy()
    return {int(i): logits[case == i] for i in np.unique(case)}


def _other(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape != other.shape or largest_difference(one, other) > tolerance(one)


@CHECKS.add(
    "neighbours-read",
    "What a module that sets `neighbours` makes of a batch depends on the neighbours.",
    cause="`neighbours` is left over, so that they are looked for in every bag and used by nobody.",
    needs=(*REPEATS, "padding-invariant"),
)
def neighbours_read(subject: ModelSubject) -> None:
    asking = [(t, p.module) for t, p in subject.with_module(subject.trials) if p.neighbours and t.kinds("bag", "grid")]
    if not asking:
        raise Skipped("its module asks for no neighbours")
    for trial, module in asking:
        batch = batch_of(trial.test, module, CASES)
        bags = {
            name: bag
            if bag.neighbours is None
            else replace(bag, neighbours=torch.full_like(bag.neighbours, NO_NEIGHBOUR))
            for name, bag in batch.bags.items()
        }
        if not _other(logits(module, batch).numpy(), logits(module, replace(batch, bags=bags)).numpy()):
            raise Failure(f"on {trial.label}, the output is the same where no instance has a neighbour")
