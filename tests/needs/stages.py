"""Need 6: uni-modal networks first, loaded and frozen for some epochs, then all, as Pathomic Fusion has."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

import fusionbench
from fusionbench import Batch, CaseSet, FitContext, Member, ModalitySpec, PluginRef, Predictor, Stage, Task
from fusionbench.nn import TorchModel, load_member, masked_mean


class InStages(TorchModel):
    """The mean of each modality's token; the tokens' layers come from the fold's networks of one modality."""

    name = "need-stages"

    class Options(fusionbench.Options):
        """recipe: `suite`, or `own`: in stages."""

        recipe: Literal["suite", "own"] = "suite"

    def members(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Member]:
        staged = self.options.recipe == "own" and len(specs) > 1
        return [Member(PluginRef(self.name), (name,)) for name in specs] if staged else []

    def stages(self) -> Sequence[Stage]:
        both = [Stage(name="head", epochs=1, frozen=("tokens.*",)), Stage(name="all", lr_factor=0.1)]
        return both if self.options.recipe == "own" else []

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, specs)

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        net = self.build(ctx.task, ctx.specs)
        for member in self.members(ctx.task, ctx.specs):
            load_member(net.tokens[member.modalities[0]], ctx, member, f"tokens.{member.modalities[0]}")
        return ctx.train(net, train, val)


class Net(nn.Module):
    def __init__(self, task, specs, width=8):
        super().__init__()
        self.tokens = nn.ModuleDict({name: nn.Linear(spec.dim, width) for name, spec in specs.items()})
        self.head = nn.Linear(width, task.n_outputs)

    def forward(self, batch: Batch) -> Tensor:
        bags = [batch.bags[name] for name in self.tokens]
        made = [f(masked_mean(bag.values, bag.mask)) for f, bag in zip(self.tokens.values(), bags, strict=True)]
        return self.head(torch.stack(made).mean(dim=0))
