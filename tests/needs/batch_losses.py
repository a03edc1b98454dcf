"""Need 12: a loss that compares the cases of a batch (CLUB, as in PIBD), and a head with bounds (Pathomic Fusion)."""

from collections.abc import Mapping

import torch
from torch import nn

from fusionbench import Batch, ModalitySpec, Outputs, Task
from fusionbench.nn import TorchModel, masked_mean


class Apart(TorchModel):
    """Two tokens that are to know little of one another; the log hazard stays within -3 and 3."""

    name = "need-batch-losses"

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return None if len(specs) == 2 else "takes two modalities"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, specs)


class Net(nn.Module):
    def __init__(self, task, specs, width=32):
        super().__init__()
        self.tokens = nn.ModuleDict({name: nn.Linear(spec.dim, width) for name, spec in specs.items()})
        self.guess, self.head = nn.Linear(width, width), nn.Linear(2 * width, task.n_outputs)

    def forward(self, batch: Batch) -> Outputs:
        bags = batch.bags
        x, y = (layer(masked_mean(bags[name].values, bags[name].mask)) for name, layer in self.tokens.items())
        logits = 6 * self.head(torch.cat([x, y], dim=1)).sigmoid() - 3
        # (case, case): how far the guess of one case is from the other's token; a scalar is the mean of the batch
        far = (y[None] - self.guess(x)[:, None]).square().sum(dim=2)
        losses = {"bound": (far.mean(1) - far.diagonal()).mean() / 2, "learning": far.diagonal()}
        return Outputs(logits, losses, {"bound": 0.1, "learning": 0.1})
