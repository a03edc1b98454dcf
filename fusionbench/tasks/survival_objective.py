"""The training losses of survival: discrete hazards, cross-entropy of survival, and Cox's partial likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fusionbench import survival
from fusionbench.core.endpoints import SurvivalTargets, Targets, Task, follow_up
from fusionbench.core.errors import DataError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.survival.stats import harrell_c
from fusionbench.tasks.interface import Objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fusionbench.core.preparation import State

    FollowUp = SurvivalTargets[NDArray[Any]]


@dataclass(frozen=True)
class SurvivalObjective(Objective):
    """Units are cases for `nll` and `ce`; for `cox` events, or cases where the recipe says so.

    Attributes:
        recipe: of the training.
        targets: of the training cases.
        weights: (bin,) class weights, float32 on the device.
    """

    recipe: TrainRecipe
    targets: FollowUp
    weights: Tensor

    @property
    def needs(self) -> str:
        return "has two cases and an observed event, which the cox loss needs" if self.recipe.loss == "cox" else ""

    @property
    def compares_cases(self) -> bool:
        return self.recipe.loss == "cox"

    @classmethod
    def of(cls, recipe: TrainRecipe, targets: FollowUp, task: Task, device: torch.device) -> SurvivalObjective:
        """With class weights of the training targets.

        Raises:
            DataError: there is nothing to train on.
        """
        _check(targets, task, recipe)
        weights = survival.class_weights(targets.time_bin, task.n_outputs, recipe.class_weights)
        # As in weights that sum to 1; otherwise their mean over the training cases is 1 and the loss keeps its scale.
        if recipe.weight_sum == "one":
            weights = weights / weights.sum()
        return cls(recipe, targets, torch.tensor(weights, dtype=torch.float32, device=device))

    def units(self, index: Sequence[int]) -> int:
        if self.recipe.loss != "cox":
            return len(index)
        events = int(self.targets.event[list(index)].sum())
        # The partial likelihood compares an event with the cases at risk: one case, or no event, has no gradient.
        if len(index) < 2 or events == 0:
            return 0
        return events if self.recipe.cox_reduction == "events" else len(index)

    def __call__(self, logits: Tensor, targets: Targets[Tensor]) -> Tensor:
        r, t = self.recipe, follow_up(targets)
        if r.loss == "cox":
            # the mean over cases times their number: the sum, whichever of the two reductions the step takes
            return len(t.event) * survival.cox_partial_likelihood(logits[:, 0], t.time, t.event, reduction="cases")
        return self.per_case(logits, t).sum()

    def comparable(self, targets: Targets[Tensor]) -> bool:
        of = follow_up(targets)
        return self.recipe.loss != "cox" or (len(of.event) > 1 and bool(of.event.any()))

    def per_case(self, logits: Tensor, targets: SurvivalTargets[Tensor], weights: Tensor | None = None) -> Tensor:
        """(case,) losses of `nll` and `ce`; `weights`: (case, bin), instead of the same class weights for all."""
        r, t = self.recipe, targets
        weights = self.weights if weights is None else weights
        if r.loss == "ce":
            ce = survival.cross_entropy_survival
            return ce(logits, t.time_bin, t.event, alpha=r.alpha, clamp=r.clamp, weights=weights)
        return survival.discrete_hazard_nll(
            logits,
            t.time_bin,
            t.event,
            alpha=r.alpha,
            clamp=r.clamp,
            weights=weights,
            weight_on=r.weight_on,
        )

    def validate(self, logits: Tensor, targets: Targets[NDArray[Any]]) -> dict[str, float]:
        """`val/loss` and `val/c_index`, as far as they are defined."""
        of = follow_up(targets)
        tensors = of.map(torch.from_numpy)
        if self.recipe.loss == "cox":
            risk = logits[:, 0]
            if len(risk) < 2 or not bool(tensors.event.any()):
                return {}
            reduction = self.recipe.cox_reduction
            loss = survival.cox_partial_likelihood(risk, tensors.time, tensors.event, reduction=reduction)
        else:
            # In float64 on the CPU, as stored predictions are, so that this c-index is the one a table would show.
            risk = survival.risk_from_survival(survival.hazards_to_survival(logits))
            loss = self._validation_loss(logits, tensors)
        return {"val/loss": loss.item()} | _c_index(of, risk.numpy())

    def _validation_loss(self, logits: Tensor, targets: SurvivalTargets[Tensor]) -> Tensor:
        """Mean over the cases; exact and unweighted, or as trained."""
        if self.recipe.validation_loss == "as-trained":
            return replace(self, weights=self.weights.cpu())(logits, targets) / len(logits)
        return survival.discrete_hazard_nll(logits, targets.time_bin, targets.event).mean()

    def after_training(self, logits: Callable[[], Tensor]) -> State:
        """Breslow's baseline of the Cox loss."""
        if self.recipe.loss != "cox":
            return {}
        times, hazard = survival.breslow_baseline(logits()[:, 0].numpy(), self.targets.time, self.targets.event)
        return {"baseline.times": times, "baseline.hazard": hazard}


def _c_index(targets: FollowUp, risk: NDArray[np.float64]) -> dict[str, float]:
    c = harrell_c(targets.time, targets.event, risk)
    return {} if math.isnan(c) else {"val/c_index": c}


def _check(targets: FollowUp, task: Task, recipe: TrainRecipe) -> None:
    if len(targets.time) == 0:
        raise DataError("there is no training case")
    if recipe.loss == "cox" and task.n_outputs != 1:
        raise ValueError(f"loss 'cox' takes a task with one output, got {task.n_outputs}")
    if recipe.loss != "cox" and not 0 <= targets.time_bin.min() <= targets.time_bin.max() < task.n_outputs:
        seen = f"{targets.time_bin.min()}..{targets.time_bin.max()}"
        raise ValueError(f"time bins {seen} lie outside the {task.n_outputs} bins of the task")
    if recipe.loss == "cox" and not targets.event.any():
        raise DataError(f"none of the {len(targets.time)} training cases has an observed event, which loss 'cox' needs")
