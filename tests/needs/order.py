"""Need 9: modalities read in a fixed, a given or a shuffled order, as MultiModN does; cases lack some."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

import fusionbench
from fusionbench import Batch, ModalitySpec, Task
from fusionbench.nn import TorchModel, masked_mean


class Ordered(TorchModel):
    """A state that a case's modalities update one after the other."""

    name, missing = "need-order", "native"

    class Options(fusionbench.Options):
        """order: the suite's, `backwards`, or drawn for each batch in training; width: of the state."""

        order: Literal["suite", "backwards", "shuffled"] = "suite"
        width: int = 8

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, specs, self.options)


class Net(nn.Module):
    def __init__(self, task, specs, options):
        super().__init__()
        self.order, self.start = options.order, nn.Parameter(torch.randn(options.width))
        self.cells = nn.ModuleDict({name: nn.GRUCell(spec.dim, options.width) for name, spec in specs.items()})
        self.head = nn.Linear(options.width, task.n_outputs)

    def forward(self, batch: Batch) -> Tensor:
        names, state = list(self.cells), self.start.expand(len(batch.ids), -1)
        if self.order == "shuffled" and self.training:
            names = [names[i] for i in torch.randperm(len(names))]
        for name in reversed(names) if self.order == "backwards" else names:
            bag = batch.bags[name]
            state = torch.where(bag.present[:, None], self.cells[name](masked_mean(bag.values, bag.mask), state), state)
        return self.head(state)
