"""Need 1: named losses inside the module, with weights that are options: CMTA's alignments, off at prediction."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import fusionbench
from fusionbench import Batch, ModalitySpec, Outputs, Task
from fusionbench.nn import TorchModel, masked_mean


class Aligned(TorchModel):
    """Each modality's token is pulled towards the other one, which stands still."""

    name = "need-losses"

    class Options(fusionbench.Options):
        """alignment: weight of the distance between the tokens; width: of a token."""

        alignment: float = 0.1
        width: int = 8

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, specs, self.options)


class Net(nn.Module):
    def __init__(self, task, specs, options):
        super().__init__()
        self.tokens = nn.ModuleDict({name: nn.Linear(spec.dim, options.width) for name, spec in specs.items()})
        self.head, self.weight = nn.Linear(options.width, task.n_outputs), options.alignment

    def forward(self, batch: Batch) -> Tensor | Outputs:
        bags = batch.bags
        tokens = [layer(masked_mean(bags[name].values, bags[name].mask)) for name, layer in self.tokens.items()]
        mean = torch.stack(tokens).mean(dim=0)
        if not self.training:
            return self.head(mean)
        losses = {f"align_{name}": (t - mean.detach()).abs().mean(1) for name, t in zip(bags, tokens, strict=True)}
        return Outputs(self.head(mean), losses, dict.fromkeys(losses, self.weight))
