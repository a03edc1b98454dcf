"""Checks of which modalities a model looks at, and of what it does where one is missing."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from fusionbench.core.types import Batch
from fusionbench.testing.conformance.check import Checklist, Failure, raised
from fusionbench.testing.conformance.samples import exchanged, hide
from fusionbench.testing.conformance.trials import (
    Fitted,
    ModelSubject,
    Trial,
    batch_of,
    largest_difference,
    logits,
    tolerance,
)

CHECKS: Checklist[ModelSubject] = Checklist()
REPEATS = ("predictions", "deterministic")
BEHIND_THE_MASK = (float("nan"), 1e30)


@CHECKS.add(
    "uses-every-modality",
    "Risks change when the data of a modality are exchanged between cases, at least where it alone tells the outcome.",
    cause="a branch that is never reached, or an exception in it that is swallowed.",
    needs=REPEATS,
)
def uses_every_modality(subject: ModelSubject) -> None:
    for trial in subject.trials:
        for name in trial.modalities:
            # A model that selects may leave out what adds nothing; what alone tells the outcome it may not.
            if not _reacts(trial.fitted, name) and not _reacts(trial.informed((name,)), name):
                raise Failure(f"on {trial.label}, no risk changes when {name!r} is exchanged between the test cases")


def _reacts(fitted: Fitted, name: str) -> bool:
    test = fitted.sample.test
    risk = fitted.risk(test)
    return largest_difference(fitted.risk(exchanged(test, name)), risk) > tolerance(risk)


def _absences(trial: Trial) -> Iterator[tuple[str, ...]]:
    """Every non-empty set of modalities that leaves one."""
    names = trial.modalities
    for size in range(1, len(names)):
        yield from combinations(names, size)


@CHECKS.add(
    "copes-with-missing",
    'Finite risks for every case that lacks some modalities: filled in by the harness ("impute") or not ("native").',
    cause='`missing = "native"` on a model that needs every modality, or a division by the number of instances.',
    needs=REPEATS,
)
def copes_with_missing(subject: ModelSubject) -> None:
    for trial in subject.several():
        for absent in _absences(trial):
            where = f"on {trial.label} without {' and '.join(absent)}"
            try:
                risk = trial.fitted.risk(hide(trial.test, absent))
            except Exception as error:
                raise Failure(f"{where}, {raised(error)}") from error
            if not np.isfinite(risk).all():
                raise Failure(f"{where}, {np.sum(~np.isfinite(risk))} of {len(risk)} risks are NaN or infinite")


@CHECKS.add(
    "missing-is-not-read",
    "The numbers of a hidden modality, and whatever stands behind the mask of a missing one (also NaN), are not read.",
    cause="`case.refs` read past the mask, or 0 x NaN: fill masked entries (`masked_fill`) rather than multiply.",
    needs=(*REPEATS, "copes-with-missing"),
)
def missing_is_not_read(subject: ModelSubject) -> None:
    for trial in subject.several():
        for name in trial.modalities:
            hidden = hide(trial.test, (name,))
            difference = largest_difference(trial.fitted.risk(exchanged(hidden, name)), trial.fitted.risk(hidden))
            if difference > 0:
                raise Failure(f"on {trial.label}, a risk changes by {difference:.3g} with the hidden data of {name!r}")
            if trial.fitted.model.missing == "native" and trial.fitted.module is not None:
                _check_behind_the_mask(trial, name, trial.fitted.module.module)


def _check_behind_the_mask(trial: Trial, name: str, module: torch.nn.Module) -> None:
    """Half of the cases lack the modality."""
    part = trial.test.take(range(12))
    hidden = replace(part, hidden={case.id: frozenset((name,)) for case in part.cases[::2]})
    batch = batch_of(hidden, module)
    plain = logits(module, batch).numpy()
    for number in BEHIND_THE_MASK:
        difference = largest_difference(logits(module, _filled(batch, name, number)).numpy(), plain)
        if difference > tolerance(plain):
            raise Failure(f"on {trial.label}, {number} behind the mask of {name!r} changes logits by {difference:.3g}")


def _filled(batch: Batch, name: str, number: float) -> Batch:
    """The batch with `number` in the rows of the cases that lack the modality."""
    bag = copy.deepcopy(batch.bags[name])
    bag.values[~bag.present] = number
    return replace(batch, bags={**batch.bags, name: bag})


@CHECKS.add(
    "missing-is-not-constant",
    "Cases that lack the same modalities still get different risks, at least where the others tell the outcome.",
    cause="one prediction for whatever is incomplete, as an exception handler or an early return gives it.",
    needs=(*REPEATS, "copes-with-missing", "uses-every-modality"),
)
def missing_is_not_constant(subject: ModelSubject) -> None:
    for trial in subject.several():
        for absent in _absences(trial):
            left = [name for name in trial.modalities if name not in absent]
            if not _varies(trial.fitted, absent) and not _varies(trial.informed(left), absent):
                raise Failure(f"on {trial.label} without {' and '.join(absent)}, all test cases have one risk")


def _varies(fitted: Fitted, absent: Sequence[str]) -> bool:
    risk = fitted.risk(hide(fitted.sample.test, absent))
    return bool(np.ptp(risk) > tolerance(risk))
