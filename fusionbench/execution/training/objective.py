"""What the training loop sees of the validation cases, and which weights it keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusionbench.core.errors import DataError, FusionBenchError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.types import CaseSet, Outputs, Steps, Targets
from fusionbench.data.loader import CaseLoader
from fusionbench.execution.training.outputs import STEPS, EpochLosses
from fusionbench.execution.training.torch_predictor import TorchPredictor
from fusionbench.tasks import Objective

TargetArrays = Targets[NDArray[Any]]


def validate(
    predictor: TorchPredictor,
    loader: CaseLoader,
    targets: TargetArrays,
    objective: Objective,
    recipe: TrainRecipe,
    epoch: int,
) -> dict[str, float]:
    """val/loss, the task's score and the auxiliary losses of the validation cases, as far as they are defined."""
    if len(loader) == 0:
        return {}
    losses = EpochLosses(predictor.module, f"validation after epoch {epoch}")
    steps: list[Steps] = []
    order: list[int] = []

    def seen(positions: Sequence[int], out: Outputs) -> None:
        losses.add(out, len(positions))
        steps.extend([out.step_logits] if out.step_logits else [])
        order.extend(positions)

    try:
        logits = predictor.logits_of(loader.evaluation_batches(predictor.batch_size), seen)
    except FusionBenchError as error:
        raise FusionBenchError(f"validation after epoch {epoch}: {error}") from error
    values = objective.validate(logits, targets)
    if "val/loss" in values:
        refuse_non_finite(values["val/loss"], f"the validation loss of epoch {epoch}", recipe)
    named = losses.means() | (_after_steps(steps, order, targets, objective) if steps else {})
    return values | {f"val/{name}": value for name, value in named.items()}


def _after_steps(
    steps: Sequence[Steps], order: Sequence[int], targets: TargetArrays, objective: Objective
) -> dict[str, float]:
    """The validation loss after the steps, a mean over the steps that the cases have taken.

    Args:
        order: position of each case that the batches of `steps` have, among the targets.
    """
    logits = torch.cat([s.logits.double() for s in steps]).cpu()
    taken = torch.cat([s.taken for s in steps]).cpu().numpy()
    total, pairs = 0.0, 0
    for step in range(taken.shape[1]):
        rows = np.flatnonzero(taken[:, step])
        value = objective.validate(logits[rows, step], _at(targets, np.asarray(order)[rows])).get("val/loss")
        if value is not None:
            total, pairs = total + value * len(rows), pairs + len(rows)
    return {STEPS: total / pairs} if pairs else {}


def _at(targets: TargetArrays, rows: NDArray[np.int64]) -> TargetArrays:
    return targets.map(lambda array: array[rows])


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


def given_targets(cases: CaseSet, what: str) -> TargetArrays:
    """
    Raises:
        DataError: there are none.
    """
    if cases.targets is None:
        raise DataError(f"the {what} cases have no targets")
    return cases.targets
