"""What the training loop minimises, what it sees of the validation cases, and which weights it keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fusionbench import survival
from fusionbench.core.errors import DataError, FusionBenchError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.types import CaseSet, SurvivalTargets, Task
from fusionbench.data.loader import CaseLoader
from fusionbench.execution.training.torch_predictor import TorchPredictor
from fusionbench.survival.stats import harrell_c

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Targets = SurvivalTargets[NDArray[Any]]


@dataclass(frozen=True)
class Objective:
    """The training loss as a sum over units, so that accumulated batches can share one mean."""

    recipe: TrainRecipe
    weights: Tensor

    @classmethod
    def of(cls, recipe: TrainRecipe, targets: Targets, task: Task, device: torch.device) -> Objective:
        """With class weights of the training targets."""
        weights = survival.class_weights(targets.time_bin, task.n_outputs, recipe.class_weights)
        # As in weights that sum to 1; otherwise their mean over the training cases is 1 and the loss keeps its scale.
        if recipe.weight_sum == "one":
            weights = weights / weights.sum()
        return cls(recipe, torch.tensor(weights, dtype=torch.float32, device=device))

    def units(self, targets: Targets, index: Sequence[int]) -> int:
        """How many units these cases make together; 0 = nothing to learn from."""
        if self.recipe.loss != "cox":
            return len(index)
        events = int(targets.event[index].sum())
        # The partial likelihood compares an event with the cases at risk: one case, or no event, has no gradient.
        if len(index) < 2 or events == 0:
            return 0
        return events if self.recipe.cox_reduction == "events" else len(index)

    def __call__(self, logits: Tensor, targets: SurvivalTargets[Tensor]) -> Tensor:
        r, t = self.recipe, targets
        if r.loss == "cox":
            # the mean over cases times their number: the sum, whichever of the two reductions the step takes
            return len(t.event) * survival.cox_partial_likelihood(logits[:, 0], t.time, t.event, reduction="cases")
        return self.per_case(logits, t).sum()

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


def wide(logits: Tensor) -> Tensor:
    """In float32 at least, as losses are computed."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def validate(
    predictor: TorchPredictor, loader: CaseLoader, targets: Targets, objective: Objective, epoch: int
) -> dict[str, float]:
    """val/loss and val/c_index, as far as they are defined."""
    recipe = objective.recipe
    if len(loader) == 0:
        return {}
    try:
        logits = predictor.logits_of(loader.evaluation_batches(predictor.batch_size))
    except FusionBenchError as error:
        raise FusionBenchError(f"validation after epoch {epoch}: {error}") from error
    time, event, time_bin = map(torch.from_numpy, (targets.time, targets.event, targets.time_bin))
    if recipe.loss == "cox":
        risk = logits[:, 0]
        if len(risk) < 2 or not bool(event.any()):
            return {}
        loss = survival.cox_partial_likelihood(risk, time, event, reduction=recipe.cox_reduction)
    else:
        # In float64 on the CPU, as stored predictions are, so that this c-index is the one a table would show.
        risk = survival.risk_from_survival(survival.hazards_to_survival(logits))
        loss = _validation_loss(logits, SurvivalTargets(time, event, time_bin), objective)
    refuse_non_finite(loss.item(), f"the validation loss of epoch {epoch}", recipe)
    return {"val/loss": loss.item()} | _c_index(targets, risk.numpy())


def _validation_loss(logits: Tensor, targets: SurvivalTargets[Tensor], objective: Objective) -> Tensor:
    """Mean over the cases; exact and unweighted, or as trained."""
    if objective.recipe.validation_loss == "as-trained":
        return replace(objective, weights=objective.weights.cpu())(logits, targets) / len(logits)
    return survival.discrete_hazard_nll(logits, targets.time_bin, targets.event).mean()


def _c_index(targets: Targets, risk: NDArray[np.float64]) -> dict[str, float]:
    c = harrell_c(targets.time, targets.event, risk)
    return {} if math.isnan(c) else {"val/c_index": c}


class BestCheckpoint:
    """The weights of the best validation epoch, and whether to stop early."""

    def __init__(self, module: nn.Module, recipe: TrainRecipe) -> None:
        self.module, self.recipe = module, recipe
        self.best: tuple[int, float] | None = None
        self.last = (0, math.nan)
        self.weights: dict[str, Tensor] = {}

    def stop(self, epoch: int, loss: float) -> bool:
        """Record an epoch's validation loss (NaN = undefined); True where training should stop."""
        self.last = (epoch, loss)
        if math.isnan(loss):
            return False
        # Strictly less: of equal epochs the first is kept, whatever comes after.
        if self.best is None or loss < self.best[1]:
            self.best = self.last
            if self.recipe.restore_best:
                # clones: a state dict holds the live tensors, which training goes on changing
                self.weights = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        return self.recipe.patience is not None and epoch - self.best[0] >= self.recipe.patience

    def restore(self, predictor: TorchPredictor) -> None:
        """Put the best weights back; the predictor records their epoch, their validation loss and notes."""
        if self.best is not None and self.recipe.restore_best:
            self.module.load_state_dict(self.weights)
            predictor.best_epoch, predictor.validation_loss = self.best
        else:
            predictor.best_epoch, predictor.validation_loss = self.last
        predictor.notes = tuple(getattr(self.module, "notes", ()))
        if math.isnan(predictor.validation_loss):
            undefined = f"the {self.recipe.loss} loss is undefined on the validation cases: all epochs were trained"
            predictor.notes = (*predictor.notes, undefined)


def refuse_non_finite(loss: float, what: str, recipe: TrainRecipe) -> None:
    """Raise a FusionBenchError where a loss is not finite; `what` names it in the message."""
    if not math.isfinite(loss):
        raise FusionBenchError(f"{what} is {loss}: lower train.lr (now {recipe.lr}) or set train.grad_clip")


def given_targets(cases: CaseSet, what: str) -> Targets:
    """
    Raises:
        DataError: there are none.
    """
    if cases.targets is None:
        raise DataError(f"the {what} cases have no targets")
    return cases.targets


def checked_targets(train: CaseSet, task: Task, recipe: TrainRecipe) -> Targets:
    """The training cases' targets.

    Raises:
        DataError: there is nothing to train on.
    """
    targets = given_targets(train, "training")
    if len(targets.time) == 0:
        raise DataError("there is no training case")
    if recipe.loss == "cox" and task.n_outputs != 1:
        raise ValueError(f"loss 'cox' takes a task with one output, got {task.n_outputs}")
    if recipe.loss != "cox" and not 0 <= targets.time_bin.min() <= targets.time_bin.max() < task.n_outputs:
        seen = f"{targets.time_bin.min()}..{targets.time_bin.max()}"
        raise ValueError(f"time bins {seen} lie outside the {task.n_outputs} bins of the task")
    if recipe.loss == "cox" and not targets.event.any():
        raise DataError(f"none of the {len(targets.time)} training cases has an observed event, which loss 'cox' needs")
    return targets
