"""Need 3: several heads with a stated combination, and a prediction after each modality, as MultiModN has."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import nn

from fusionbench import Batch, ModalitySpec, Outputs, Steps, Task
from fusionbench.nn import TorchModel, masked_mean


class Sequential(TorchModel):
    """A state that each modality updates where a case has it; one decoder for all states."""

    name = "need-heads"
    missing = "native"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, specs)


class Net(nn.Module):
    def __init__(self, task, specs, width=8):
        super().__init__()
        self.start, self.decode = nn.Parameter(torch.randn(width)), nn.Linear(width, task.n_outputs)
        self.encode = nn.ModuleDict({name: nn.Linear(spec.dim + width, width) for name, spec in specs.items()})

    def forward(self, batch: Batch) -> Outputs:
        states, taken = [self.start.expand(len(batch.ids), -1)], []
        for name, encode in self.encode.items():
            bag = batch.bags[name]
            new = encode(torch.cat([masked_mean(bag.values, bag.mask), states[-1]], dim=1)).tanh()
            states.append(torch.where(bag.present[:, None], new, states[-1]))
            taken.append(bag.present)
        change = torch.stack([(b - a).square().mean(1) for a, b in pairwise(states)]).mean(0)
        steps = Steps(tuple(self.encode), self.decode(torch.stack(states[1:], 1)), torch.stack(taken, 1))
        # The last state is a step as well: it counts there, not twice.
        return Outputs(self.decode(states[-1]), {"change": change}, {"loss": 0.0, "change": 0.01}, step_logits=steps)
