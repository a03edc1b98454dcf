"""Predictors of classes that are built on uni-modal members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fusionbench import CaseSet, ClassPrediction, Member, MemberFit, PluginError, State
from fusionbench_controls.features import Floats, Ints, as_state
from fusionbench_controls.members import Ask, OnMembers, picked, rows_with

TEMPERATURES = (1e-3, 1e3)
"""Between which a temperature is searched; logits of doubles divided by the largest one say next to nothing."""


def labels(val: CaseSet) -> Ints:
    """(case,) positions of the validation cases' classes.

    Raises:
        PluginError: there are no targets.
    """
    if val.targets is None:
        raise PluginError("a choice between members needs targets of the validation cases")
    return val.targets.label


def filled(
    prior: ClassPrediction, cases: CaseSet, rows: Sequence[int], said: ClassPrediction | None
) -> ClassPrediction:
    """What was said of the cases at `rows`, and the prior of all others."""
    probability = np.repeat(prior.probability, len(cases), axis=0)
    if said is not None:
        probability[list(rows)] = said.probability
    return ClassPrediction(cases.ids, prior.classes, probability)


def temperature(said: ClassPrediction, label: Ints) -> float:
    """What to divide the logits of these cases by, so that the log loss of their classes is lowest; 1 without cases.

    The classes are held against the targets of Platt 1999, (n + 1) / (n + K) for the own one of K classes with its n
    cases, so that the temperature stays away from 0 where a few cases happen to be told apart without an error.

    Args:
        label: (case,) position of the case's class in `said.classes`.

    Source: Guo et al. 2017 (temperature scaling).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if not len(label):
        return 1.0
    log_p, n_classes = _log(said.probability), len(said.classes)
    n = np.bincount(label, minlength=n_classes)[label][:, None]
    target = np.where(np.arange(n_classes) == label[:, None], n + 1, 1) / (n + n_classes)

    def loss(log_temperature: float) -> float:
        return -float((target * log_softmax(log_p / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

    # The loss is convex in 1 / temperature, so that there is one minimum.
    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def temperatures(fits: Mapping[Member, MemberFit], val: CaseSet) -> Floats:
    """(member,) temperature of each member, on the validation cases that have its modality."""
    made = []
    for member, fit in fits.items():
        rows = rows_with(val, member)
        made.append(temperature(picked(member, fit.validation, [val.ids[i] for i in rows]), labels(val)[rows]))
    return np.array(made)


class MeanLogitsPredictor(OnMembers):
    """The logarithmic opinion pool: the mean of the members' log probabilities, over the modalities that a case has."""

    def __init__(
        self, fits: Mapping[Member, MemberFit], classes: tuple[str, ...], temperature: Floats | None = None
    ) -> None:
        """`temperature`: (member,) what the log probabilities are divided by; None for taking them as they are."""
        super().__init__(fits)
        self.classes, self.temperature = classes, temperature

    def combined(self, cases: CaseSet, ask: Ask) -> ClassPrediction:
        total, speaking = np.zeros((len(cases), len(self.classes))), np.zeros((len(cases), 1))
        divisors = np.ones(len(self.fits)) if self.temperature is None else self.temperature
        for member, divisor in zip(self.fits, divisors, strict=True):
            rows = rows_with(cases, member)
            if rows:
                total[rows] += _log(ask(member, rows).probability) / divisor
                speaking[rows] += 1
        mean = total / speaking
        odds = np.exp(mean - mean.max(axis=1, keepdims=True))
        return ClassPrediction(cases.ids, self.classes, odds / odds.sum(axis=1, keepdims=True))

    def state(self) -> State:
        return {} if self.temperature is None else as_state({"temperature": self.temperature})


class FirstPresentPredictor(OnMembers):
    """Repeats what the best member says whose modality a case has."""

    def __init__(self, fits: Mapping[Member, MemberFit], classes: tuple[str, ...], order: Ints) -> None:
        """`order`: places of the members in `fits`, the best first."""
        super().__init__(fits)
        self.classes, self.order = classes, order

    def combined(self, cases: CaseSet, ask: Ask) -> ClassPrediction:
        probability, members = np.zeros((len(cases), len(self.classes))), list(self.fits)
        waiting = set(range(len(cases)))
        for place in self.order:
            rows = [row for row in rows_with(cases, members[place]) if row in waiting]
            if rows:
                waiting -= {*rows}
                probability[rows] = ask(members[place], rows).probability
        return ClassPrediction(cases.ids, self.classes, probability)

    def state(self) -> State:
        return as_state({"order": self.order})


def _log(probability: Floats) -> Floats:
    """Logarithms; of a probability of 0 that of the smallest number, so that a member cannot veto a class for good."""
    return np.log(np.maximum(probability, np.finfo(np.float64).tiny))
