"""Need 2: a loss of the outcome in training only, as CLAM's of instances; which cases count is the model's choice."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec, Outputs, Task
from fusionbench.nn import GatedAttention, TorchModel


class Instances(TorchModel):
    """Attention over a bag; the instance looked at most and the one least are told apart, in cases with an event."""

    name = "need-targets"
    tasks = ("survival",)

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return None if [spec.kind for spec in specs.values()] == ["bag"] else "takes one bag"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(next(iter(specs.values())), task)


class Net(nn.Module):
    reads_targets = True

    def __init__(self, spec, task):
        super().__init__()
        self.name, self.pool = spec.name, GatedAttention(spec.dim, 4)
        self.head, self.instance = nn.Linear(spec.dim, task.n_outputs), nn.Linear(spec.dim, 1)

    def forward(self, batch: Batch) -> Tensor | Outputs:
        bag = batch.bags[self.name]
        pooled, weights = self.pool(bag.values, bag.mask)
        if batch.targets is None:
            return self.head(pooled)
        order = weights.masked_fill(~bag.mask, -1).argmax(1), weights.masked_fill(~bag.mask, 2).argmin(1)
        most, least = (self.instance(bag.values[torch.arange(len(i)), i])[:, 0] for i in order)
        loss = nn.functional.softplus(-most) + nn.functional.softplus(least)
        return Outputs(self.head(pooled), {"instance": loss * batch.targets.event}, {"loss": 0.7, "instance": 0.3})
