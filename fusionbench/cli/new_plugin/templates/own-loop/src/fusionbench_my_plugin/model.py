"""The model `my-plugin`: a linear risk, fitted by a loop of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from fusionbench import (
    CaseSet,
    DataError,
    FitContext,
    FusionModel,
    ModalitySpec,
    Options,
    Predictor,
    RestoreContext,
    State,
    SurvivalPrediction,
    SurvivalTargets,
)
from numpy.typing import NDArray
from pydantic import Field

Floats = NDArray[np.float64]


class OwnLoopOptions(Options):
    """What a suite may set, as `my-plugin[steps=500]`.

    Attributes:
        steps: of gradient descent.
        rate: length of a step.
        decay: weight of the squared weights in the loss.
    """

    steps: int = Field(200, ge=1)  # write the source of a default here: the paper's, or what settled it
    rate: float = Field(0.1, gt=0)
    decay: float = Field(0.01, ge=0)


def features(cases: CaseSet, specs: Mapping[str, ModalitySpec]) -> Floats:
    """(case, feature): the mean over the instances of each modality, side by side; no case lacks one (`impute`).

    Raises:
        DataError: a modality has another width than the model was fitted on.
    """
    rows = []
    for case in cases:
        means = {name: bag.values.double().mean(dim=0).numpy() for name, bag in case.bags.items()}
        for name, mean in means.items():
            if len(mean) != specs[name].dim:
                raise DataError(f"{name}: {len(mean)} features; the model was fitted on {specs[name].dim}")
        rows.append(np.concatenate([means[name] for name in specs]))
    return np.stack(rows)


def cox_loss(risk: Floats, time: Floats, event: NDArray[np.bool_]) -> tuple[float, Floats]:
    """Breslow's negative log partial likelihood, a mean over the cases, and its gradient for each case's risk."""
    at_risk = time[None, :] >= time[:, None]  # case, case that is still followed
    hazard = np.exp(risk - risk.max())
    total = at_risk @ hazard
    loss = -float(np.sum((risk - risk.max() - np.log(total))[event])) / len(risk)
    shares = (event / total) @ at_risk * hazard
    return loss, (shares - event) / len(risk)


class LinearRisk(Predictor):
    """A fitted model: what it says depends on nothing but its state."""

    def __init__(self, weights: Floats, specs: Mapping[str, ModalitySpec]) -> None:
        self.weights, self.specs = weights, specs

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        """One risk a case, a higher one for an earlier event."""
        # Case by case: a sum over a matrix may round otherwise for another number of rows.
        rows = features(cases, self.specs)
        return SurvivalPrediction(cases.ids, np.array([float(np.sum(row * self.weights)) for row in rows]))

    def state(self) -> State:
        """Named arrays from which `restore` makes an equal predictor."""
        return {"weights": self.weights}


class OwnLoop(FusionModel):
    """Linear Cox model on the means of all modalities, by gradient descent; the best validation step is kept."""

    name = "my-plugin"
    version = "1"  # part of every result's key: count it up when results change
    missing = "impute"  # the harness fills in training means; "native" = takes any non-empty subset
    Options = OwnLoopOptions
    options: OwnLoopOptions

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """The loop. It learns from `train`; `val` only says when to stop.

        Draw random numbers from `ctx.seed` alone: `np.random.default_rng(ctx.seed)`.
        """
        known, checked_on = train.targets, val.targets
        assert isinstance(known, SurvivalTargets)
        assert isinstance(checked_on, SurvivalTargets)
        inside, outside = features(train, ctx.specs), features(val, ctx.specs)
        weights = np.zeros(inside.shape[1])
        best, lowest = weights, np.inf
        for step in range(self.options.steps):
            loss, slope = cox_loss(inside @ weights, known.time, known.event)
            weights = weights - self.options.rate * (slope @ inside + self.options.decay * weights)
            checked, _ = cox_loss(outside @ weights, checked_on.time, checked_on.event)
            ctx.log(step, {"loss": checked, "train_loss": loss})  # stored, and shown in MLflow
            if checked < lowest:
                best, lowest = weights, checked
        return LinearRisk(best, ctx.specs)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        """The predictor whose `state` these arrays are."""
        return LinearRisk(np.asarray(state["weights"], dtype=np.float64), ctx.specs)
