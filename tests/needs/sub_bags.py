"""Need 4: sub-bags of a case, reduced by the mean of losses and scores (MOTCat) or by that of logits (PIBD)."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

import fusionbench
from fusionbench import Batch, ModalitySpec, Outputs, Task
from fusionbench.nn import GatedAttention, TorchModel, sub_bags


class InParts(TorchModel):
    """Attention on each part of a bag."""

    name = "need-sub-bags"
    ordered_instances = True

    class Options(fusionbench.Options):
        """size: most instances of a part; mean: of losses and `scores`, or of the `logits` of two draws."""

        size: int = 4
        mean: Literal["scores", "logits"] = "scores"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, specs, self.options)


class Net(nn.Module):
    def __init__(self, task, specs, options):
        super().__init__()
        self.options, self.pools = options, nn.ModuleDict({n: GatedAttention(s.dim, 4) for n, s in specs.items()})
        self.heads = nn.ModuleDict({name: nn.Linear(spec.dim, task.n_outputs) for name, spec in specs.items()})

    def forward(self, batch: Batch) -> Tensor | Outputs:
        scores = self.options.mean == "scores"
        parts = sub_bags(batch, self.options.size, count=None if scores else 2)
        bags = {name: (bag.values, bag.mask) for name, bag in parts.batch.bags.items()}
        logits = sum(self.heads[name](pool(*bags[name])[0]) for name, pool in self.pools.items())
        return Outputs(logits, parts=parts.case) if scores else parts.mean(logits)
