"""The training loss of classes: cross-entropy from logits, with class weights and label smoothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from fusionbench import survival
from fusionbench.core.endpoints import ClassPrediction, ClassTargets, Targets, Task, labels_of
from fusionbench.core.errors import DataError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.tasks.interface import Objective
from fusionbench.tasks.ranking import class_pairs, mean_concordance

if TYPE_CHECKING:
    from numpy.typing import NDArray


def log_probabilities(logits: Tensor) -> Tensor:
    """(case, class) logarithms of probabilities, from (case, output) logits; finite for all finite logits.

    One output is the logit of the second of two classes; several are one logit a class.
    """
    if logits.shape[1] == 1:
        return torch.cat([logsigmoid(-logits), logsigmoid(logits)], dim=1)
    return logits.log_softmax(dim=1)


def cross_entropy(logits: Tensor, label: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """(case,) cross-entropy of the classes, from logits.

    -w sum_k q_k log p_k, where q is 1 - smoothing at the case's class plus smoothing / K at each of the K classes, and
    w is the weight of the case's class.

    Args:
        logits: (case, class), or (case, 1) for two classes.
        label: (case,) int64, position of the case's class.
        weights: (class,) class weights; None for 1.
        smoothing: share of the target that is spread over all classes, in [0, 1).

    Source: Szegedy et al. 2016 for label smoothing.
    """
    log_p = log_probabilities(logits)
    # A masked sum, not `gather`, whose backward is not deterministic on CUDA.
    own = torch.arange(log_p.shape[1], device=log_p.device) == label.unsqueeze(1)
    value = -(1 - smoothing) * torch.where(own, log_p, 0.0).sum(dim=1) - smoothing * log_p.mean(dim=1)
    return value if weights is None else weights.to(log_p)[label] * value


@dataclass(frozen=True)
class ClassObjective(Objective):
    """Units are cases.

    Attributes:
        recipe: of the training.
        weights: (class,) class weights, float32 on the device.
    """

    recipe: TrainRecipe
    weights: Tensor

    @classmethod
    def of(
        cls, recipe: TrainRecipe, targets: ClassTargets[NDArray[Any]], task: Task, device: torch.device
    ) -> ClassObjective:
        """With class weights of the training cases.

        Raises:
            DataError: there is no training case.
        """
        if len(targets.label) == 0:
            raise DataError("there is no training case")
        weights = survival.class_weights(targets.label, len(task.classes), recipe.class_weights)
        if recipe.weight_sum == "one":
            weights = weights / weights.sum()
        return cls(recipe, torch.tensor(weights, dtype=torch.float32, device=device))

    def units(self, index: Sequence[int]) -> int:
        return len(index)

    def __call__(self, logits: Tensor, targets: Targets[Tensor]) -> Tensor:
        label = labels_of(targets).label
        return cross_entropy(logits, label, weights=self.weights, smoothing=self.recipe.label_smoothing).sum()

    def validate(self, logits: Tensor, targets: Targets[NDArray[Any]]) -> dict[str, float]:
        """`val/loss`, exact and unweighted or as trained, and `val/auroc`, where every class has a case."""
        label = labels_of(targets).label
        if not len(label):
            return {}
        as_trained = self.recipe.validation_loss == "as-trained"
        smoothing = self.recipe.label_smoothing if as_trained else 0.0
        weights = self.weights.cpu() if as_trained else None
        loss = cross_entropy(logits, torch.from_numpy(label), weights=weights, smoothing=smoothing).mean()
        probability = log_probabilities(logits).exp().numpy()
        n_classes = probability.shape[1]
        said = ClassPrediction(("",) * len(label), ("",) * n_classes, probability)
        auroc = mean_concordance(class_pairs(label, n_classes), said.scores)
        return {"val/loss": loss.item()} | ({} if math.isnan(auroc) else {"val/auroc": auroc})
