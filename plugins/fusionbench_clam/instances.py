"""The loss on the instances that attention looks at most and least."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench_clam.options import ClamOptions

_HARD = math.log(1000.0)
"""Published: from this difference of the two largest scores on, the largest term stands for the sum."""


def smooth_svm(scores: Tensor, target: Tensor) -> Tensor:
    """(..., class) and (...) int64 -> (...): the smooth top-1 SVM loss of margin 1 and temperature 1.

    Source: Berrada, Zisserman and Kumar 2018, with the published program's switch to the hard loss.
    """
    own = F.one_hot(target, scores.shape[-1])
    margins = scores + (1 - own) - (scores * own).sum(dim=-1, keepdim=True)
    two = scores.topk(2, dim=-1).values
    return torch.where(two[..., 0] - two[..., 1] >= _HARD, margins.amax(dim=-1), margins.logsumexp(dim=-1))


def cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    """(..., class) and (...) int64 -> (...)."""
    return -scores.log_softmax(dim=-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)


class Chosen(NamedTuple):
    """What the heads say of the chosen instances.

    Attributes:
        most: (case, rank, head, 2) scores, from the instance looked at most on.
        least: the same, from the instance looked at least on.
        real: (case, rank) bool; False past the end of what a short bag has.
    """

    most: Tensor
    least: Tensor
    real: Tensor


class InstanceLoss(nn.Module):
    """A head a class, which says of an instance whether it is evidence for that class.

    Source: Lu et al. 2021 ("clustering"): of a case's own class, those looked at most are evidence and those looked at
    least are not; with `subtyping`, those looked at most are no evidence for any other class.

    Args:
        width: of an embedded instance.
        classes: heads.
    """

    def __init__(self, width: int, classes: int, options: ClamOptions) -> None:
        super().__init__()
        self.classes, self.options = classes, options
        self.heads = nn.Linear(width, 2 * classes)
        self.row_loss = {"ce": cross_entropy, "svm": smooth_svm}[options.instance_loss]

    def chosen(self, instances: Tensor, scores: Tensor, mask: Tensor) -> Chosen:
        """Of (case, instance, width), by (case, instance, branch) scores under mask (case, instance).

        Which instances are chosen has no gradient; a head looks at the branch of its own, where there is one.
        """
        most = min(self.options.instances, mask.shape[1])
        branches = scores.detach()[..., : self.classes]
        far = torch.finfo(scores.dtype).max
        top = branches.masked_fill(~mask.unsqueeze(2), -far).topk(most, dim=1).indices
        low = branches.masked_fill(~mask.unsqueeze(2), far).topk(most, dim=1, largest=False).indices
        have = mask.sum(dim=1, keepdim=True)
        if self.options.overlap:
            taken = have.clamp(max=most)
        else:
            taken = torch.where(have < 2 * self.options.instances, have // 2, self.options.instances)
        real = torch.arange(most, device=mask.device) < taken
        return Chosen(self._heads(instances, top), self._heads(instances, low), real)

    def _heads(self, instances: Tensor, index: Tensor) -> Tensor:
        """(case, rank, head, 2) of the instances that (case, rank, branch) `index` names."""
        cases = torch.arange(len(index), device=index.device).view(-1, 1, 1)
        picked = instances[cases, index]  # (case, rank, branch, width)
        if index.shape[2] == 1:
            return self.heads(picked[:, :, 0]).unflatten(-1, (self.classes, 2))
        weight, bias = self.heads.weight.unflatten(0, (-1, 2)), self.heads.bias.unflatten(0, (-1, 2))
        return torch.einsum("crhw,hsw->crhs", picked, weight) + bias

    def forward(self, instances: Tensor, scores: Tensor, mask: Tensor, label: Tensor) -> Tensor:
        """(case,): the loss of each case, 0 where its bag has no instance for either side.

        Args:
            label: (case,) int64, the class of each case.
        """
        chosen = self.chosen(instances, scores, mask)
        for_it = self._mean(self.row_loss(chosen.most, chosen.real.new_ones(chosen.most.shape[:-1]).long()), chosen)
        against = torch.zeros(chosen.most.shape[:-1], dtype=torch.int64, device=label.device)
        least = self._mean(self.row_loss(chosen.least, against), chosen)
        own = label.unsqueeze(1) == torch.arange(self.classes, device=label.device)
        of_own = ((for_it + least) / 2 * own).sum(dim=1)
        if not self.options.subtyping:
            return of_own
        others = (self._mean(self.row_loss(chosen.most, against), chosen) * ~own).sum(dim=1)
        return (of_own + others) / self.classes

    @staticmethod
    def _mean(losses: Tensor, chosen: Chosen) -> Tensor:
        """(case, rank, head) -> (case, head): over the ranks that there are."""
        real = chosen.real.unsqueeze(2)
        return losses.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)
