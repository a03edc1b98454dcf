"""Checks of what a model learns: gradients reach everything, eight cases can be learnt, risk points the right way."""

from __future__ import annotations

import copy
import math
from itertools import takewhile

import numpy as np
import torch
from numpy.typing import NDArray
from sksurv.nonparametric import kaplan_meier_estimator
from torch import Tensor, nn

from fusionbench.core.endpoints import follow_up
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.types import Batch, SurvivalPrediction, Task
from fusionbench.execution.training.outputs import (
    EpochLosses,
    as_trained_on,
    forward,
    reads_targets,
    step_losses,
    task_loss,
    trained_loss,
)
from fusionbench.tasks import task_kind
from fusionbench.testing.conformance.check import Checklist, Failure, Skipped, raised
from fusionbench.testing.conformance.samples import Targets, as_classes, eight_cases, make_sample, rebinned
from fusionbench.testing.conformance.trials import (
    BRIEF,
    COX,
    Floats,
    ModelSubject,
    Trial,
    batch_of,
    largest_difference,
    logits,
    tolerance,
)

CHECKS: Checklist[ModelSubject] = Checklist()
REPEATS = ("predictions", "deterministic")
QUICK = TrainRecipe(epochs=80, lr=2e-3, weight_decay=0.0, batch_size=8, patience=None, restore_best=False)
OVERFIT = (
    QUICK,
    QUICK.model_copy(update={"epochs": 240}),
    QUICK.model_copy(update={"epochs": 160, "lr": 3e-2}),
)
"""Tried in turn until one of them teaches the eight cases: attention wants small steps, a linear layer large ones."""
HOT = TrainRecipe(epochs=40, lr=1e-2, batch_size=16, patience=None)
"""For the direction of models that the recipe of the other checks hardly moves."""
LEARNT = 0.9
"""Share of the eight cases' pairs in order; a model that learns nothing has 0.5 on average."""
NEAR = 0.15
"""Mean distance of a mean curve from Kaplan-Meier's. Sound models stay below 0.12, bins in reverse order exceed 0.2."""
CLEARLY = 0.65
"""Test c-index; chance is 0.5 with a standard error of about 0.05, the hidden score itself has 0.95."""


@CHECKS.add(
    "any-number-of-outputs",
    "It fits and predicts with two time bins, too, and with one output and the Cox loss.",
    cause="a fixed number of outputs in place of `task.n_outputs`.",
    needs=(*REPEATS, "survival-curves", "copes-with-missing"),
)
def any_number_of_outputs(subject: ModelSubject) -> None:
    if subject.kind != "survival":
        raise Skipped("it takes no survival endpoints, whose outputs are time bins")
    for trial, _ in subject.with_module(subject.widest()):
        edges = trial.sample.task.edges
        for task, recipe in ((Task(n_outputs=2, edges=edges[:1]), BRIEF), (Task(n_outputs=1, edges=edges), COX)):
            where = f"on {trial.label} with {task.n_outputs} outputs and loss {recipe.loss!r}"
            try:
                fitted = subject.fitter.fit(trial.ref, rebinned(trial.sample, task), recipe)
                task_kind("survival").checked(fitted.predict(fitted.sample.test), trial.test.ids, "the model")
            except Exception as error:
                raise Failure(f"{where}, {raised(error)}") from error


@CHECKS.add(
    "gradients",
    "Every parameter gets a finite gradient from a training batch; a zero one only where the parameter cancels.",
    cause="a layer that forward does not use, `.detach()`, or a step such as argmax between it and the loss.",
    needs=(*REPEATS, "uses-every-modality"),
)
def gradients(subject: ModelSubject) -> None:
    for trial, _ in subject.with_module(subject.trials):
        module = copy.deepcopy(trial.fitted.context.fresh[-1])
        batch = batch_of(trial.fitted.sample.train, module)
        _backward(trial, module, batch)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                _check_gradient(trial, module, batch, name, parameter.grad)


def _backward(trial: Trial, module: nn.Module, batch: Batch) -> None:
    sample = trial.fitted.sample
    assert sample.train.targets is not None
    assert batch.targets is not None
    objective = task_kind(trial.kind).objective(TrainRecipe(), sample.train.targets, sample.task, torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out = forward(module.train(), copy.deepcopy(as_trained_on(batch, declared=reads_targets(module))), sample.task)
    n = len(batch.ids)
    beside = step_losses(out.step_logits, objective, batch.targets, n)
    sums = beside | EpochLosses(module, "training").add(out, n)
    loss = task_loss(out, objective, batch.targets, n) / n
    trained_loss(out, loss, sums, n).backward()  # type: ignore[no-untyped-call]


def _check_gradient(trial: Trial, module: nn.Module, batch: Batch, name: str, gradient: Tensor | None) -> None:
    where = f"on {trial.label}, parameter {name!r}"
    if gradient is None:
        raise Failure(f"{where} gets no gradient: the output does not depend on it")
    if not bool(gradient.isfinite().all()):
        raise Failure(f"{where} gets a gradient with NaN or inf")
    # The bias of a score before a softmax, say, has no gradient and no influence: it cancels.
    if not bool(gradient.any()) and _matters(module, batch, name):
        raise Failure(f"{where} gets a gradient of zeros, although the output changes with it")


def _matters(module: nn.Module, batch: Batch, name: str) -> bool:
    moved = copy.deepcopy(module)
    with torch.no_grad():
        parameter = moved.get_parameter(name)
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    plain = logits(module, batch).numpy()
    return largest_difference(logits(moved, batch).numpy(), plain) > tolerance(plain)


@CHECKS.add(
    "overfits-eight-cases",
    "Trained long on eight cases it learns their order by heart, and its training loss falls.",
    cause="gradients that do not reach the data's side, far too little capacity, or an output that is bounded or tiny.",
    needs=(*REPEATS, "gradients"),
)
def overfits_eight_cases(subject: ModelSubject) -> None:
    for trial, _ in subject.with_module(subject.widest()):
        tries = (_by_heart(trial, subject, recipe) for recipe in OVERFIT)
        came = list(takewhile(lambda seen: seen, tries))  # until one is in order
        if len(came) == len(OVERFIT):
            raise Failure(
                f"on {trial.label}, {'; '.join(came)}", f"{LEARNT:.0%} or more, and a loss that falls by a fifth"
            )


def _by_heart(trial: Trial, subject: ModelSubject, recipe: TrainRecipe) -> str:
    """Empty where the eight cases were learnt, else what came of it."""
    sample = as_classes(eight_cases(make_sample(trial.modalities)), trial.kind)
    fitted = subject.fitter.fit(trial.ref, sample, recipe)
    losses = [value for _, *what, value in fitted.context.history if what == ["train", "loss"]]
    first, last = losses[0], float(np.mean(losses[-5:]))
    ordered = _ordered(sample.outcome.time_bin, fitted.risk(fitted.sample.test))
    # Which way risk points is another check's business.
    if max(ordered, 1 - ordered) >= LEARNT and last < 0.8 * first:
        trial.learnt = fitted
        return ""
    return (
        f"{ordered:.0%} of the pairs in order and a loss from {first:.2f} to {last:.2f} "
        f"after {len(losses)} epochs at rate {recipe.lr:g}"
    )


def _ordered(time_bin: NDArray[np.int64], risk: Floats) -> float:
    """Share of the pairs of different bins in which the earlier one has the higher risk."""
    earlier = time_bin[:, None] < time_bin[None, :]
    higher = np.sign(risk[:, None] - risk[None, :])[earlier]
    return float(((higher + 1) / 2).mean())


@CHECKS.add(
    "survival-near-kaplan-meier",
    "Where S is given, the mean curve of the cases that it was fitted on lies near their Kaplan-Meier curve.",
    cause="time bins in reverse order, S before a bin in place of S after it, or times in other units than months.",
    needs=(*REPEATS, "survival-curves", "overfits-eight-cases", "batch-invariant"),
)
def survival_near_kaplan_meier(subject: ModelSubject) -> None:
    seen = [_distance_from_kaplan_meier(trial) for trial in subject.trials]
    if not any(seen):
        raise Skipped("it predicts risks only")


def _distance_from_kaplan_meier(trial: Trial) -> bool:
    """Whether the model has curves; Failure where their mean is far from Kaplan-Meier's."""
    if trial.fitted.module is not None and trial.learnt is None:
        return False  # part of a wider set of modalities, on which it learnt eight cases
    # A module that is trained briefly has not found the hazards of the toy cohort yet, those of eight cases it has.
    fitted = trial.learnt or trial.fitted
    made = fitted.predict(fitted.sample.train.without_targets())
    if made.survival is None or made.times is None:
        return False
    mean, expected = made.survival.mean(axis=0), _kaplan_meier(follow_up(fitted.sample.train.targets), made.times)
    distance = float(np.abs(mean - expected).mean())
    if not distance <= NEAR:
        curves = f"mean S {np.round(mean[:4], 2).tolist()}, Kaplan-Meier {np.round(expected[:4], 2).tolist()}"
        raise Failure(f"on {trial.label}, {distance:.2f} apart on average: {curves}", f"at most {NEAR} apart")
    return True


def _kaplan_meier(targets: Targets | None, at: Floats) -> Floats:
    """(time,) Kaplan-Meier's estimate of S at the times `at`."""
    assert targets is not None
    times, survival = kaplan_meier_estimator(targets.event, targets.time)
    known: Floats = np.concatenate([[1.0], survival])[np.searchsorted(times, at, side="right")]
    return known


@CHECKS.add(
    "risk-direction",
    "On cases with a strong hidden score the test c-index is clearly above one half: high risk = early event.",
    cause="the predicted time, S or its logit handed out as risk, or events and censoring (`event`, `c`) mixed up.",
    needs=(*REPEATS, "survival-curves"),
)
def risk_direction(subject: ModelSubject) -> None:
    for trial in subject.trials:
        if _low(trial, trial.plain):
            fitted = subject.fitter.fit(trial.ref, trial.sample, HOT)
            seen = _low(trial, fitted.predict(fitted.sample.test))
            if seen:
                raise Failure(f"on {trial.label}, {seen}", f"above {CLEARLY}")


def _low(trial: Trial, made: SurvivalPrediction) -> str:
    """What is not clearly above one half."""
    scores = {"the risk": made.risk}
    if made.survival is not None:
        scores["minus the mean of S"] = -made.survival.mean(axis=1)
    values = {what: concordance(trial.sample.outcome, risk) for what, risk in scores.items()}
    return " and ".join(f"c-index {value:.2f} of {what}" for what, value in values.items() if not value > CLEARLY)


def concordance(targets: Targets, risk: Floats) -> float:
    """Harrell's c, ties counting one half; NaN without a comparable pair."""
    comparable = targets.event[:, None] & (targets.time[:, None] < targets.time[None, :])
    higher = np.sign(risk[:, None] - risk[None, :])[comparable]
    return float(((higher + 1) / 2).mean()) if higher.size else math.nan
