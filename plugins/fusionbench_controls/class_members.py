"""Predictors of classes that are built on uni-modal members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fusionbench import CaseSet, ClassPrediction, Member, MemberFit, PluginError, State
from fusionbench_controls.features import Floats, Ints, as_state
from fusionbench_controls.members import Ask, OnMembers, rows_with


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


class MeanLogitsPredictor(OnMembers):
    """The logarithmic opinion pool: the mean of the members' log probabilities, over the modalities that a case has."""

    def __init__(self, fits: Mapping[Member, MemberFit], classes: tuple[str, ...]) -> None:
        super().__init__(fits)
        self.classes = classes

    def combined(self, cases: CaseSet, ask: Ask) -> ClassPrediction:
        total, speaking = np.zeros((len(cases), len(self.classes))), np.zeros((len(cases), 1))
        for member in self.fits:
            rows = rows_with(cases, member)
            if rows:
                total[rows] += _log(ask(member, rows).probability)
                speaking[rows] += 1
        mean = total / speaking
        odds = np.exp(mean - mean.max(axis=1, keepdims=True))
        return ClassPrediction(cases.ids, self.classes, odds / odds.sum(axis=1, keepdims=True))

    def state(self) -> State:
        return {}


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
