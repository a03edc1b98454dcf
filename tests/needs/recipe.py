"""Need 8: the optimiser, rates and schedule of a paper, asked for by one option; here those of LMF and TransMIL."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

import fusionbench
from fusionbench import Batch, ModalitySpec, Task
from fusionbench.nn import TorchModel, masked_mean


class LowRank(TorchModel):
    """A product of low-rank maps, one a modality."""

    name = "need-recipe"

    class Options(fusionbench.Options):
        """recipe: `suite`, or `own`: the factors have a rate of their own, biases do not decay."""

        recipe: Literal["suite", "own"] = "suite"

    def recipe(self) -> Mapping[str, Any]:
        if self.options.recipe == "suite":
            return {}
        factors = {"parameters": ["factors.*"], "lr": 3e-3}
        return {"optimizer": "radamw", "lookahead": 6, "decay_on": "matrices", "warmup": 1, "group": [factors]}

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, specs)


class Net(nn.Module):
    def __init__(self, task: Task, specs: Mapping[str, ModalitySpec]) -> None:
        super().__init__()
        self.factors = nn.ModuleDict({name: nn.Linear(spec.dim, 4 * task.n_outputs) for name, spec in specs.items()})
        self.bias = nn.Parameter(torch.zeros(task.n_outputs))

    def forward(self, batch: Batch) -> Tensor:
        maps = [f(masked_mean(batch.bags[n].values, batch.bags[n].mask)) for n, f in self.factors.items()]
        return torch.stack(maps).prod(dim=0).unflatten(1, (4, -1)).sum(dim=1) + self.bias
