"""Need 11: a transport plan between groups and patches, as MOTCat has, and a map a class, as CLAM-MB has."""

from collections.abc import Mapping

import torch
from torch import nn

from fusionbench import AttentionMap, Batch, ModalitySpec, Task
from fusionbench.nn import TorchModel


class Transport(TorchModel):
    """Groups of columns get patches by an unbalanced plan without a gradient; each class pools with its own weights."""

    name = "need-maps"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, *specs.values())


class Net(nn.Module):
    def __init__(self, task, omic, patches, width=8):
        super().__init__()
        self.omic, self.patches, self.parts = omic.name, patches.name, {omic.name: dict(omic.groups)}
        self.groups = nn.ModuleList(nn.Linear(len(columns), width) for columns in omic.groups.values())
        self.embed, self.score = nn.Linear(patches.dim, width), nn.Linear(width, 3)
        self.head = nn.Linear(2 * width, task.n_outputs)

    def attention_maps(self, batch: Batch) -> dict[str, AttentionMap]:
        x, real = batch.bags[self.omic].values[:, 0], batch.bags[self.patches].mask
        tokens = [net(x[:, list(of)]) for net, of in zip(self.groups, self.parts[self.omic].values(), strict=True)]
        plan = transport(torch.cdist(torch.stack(tokens, 1), self.embed(batch.bags[self.patches].values)), real)
        scores = self.score(self.embed(batch.bags[self.patches].values)).mT
        classes = scores.masked_fill(~real[:, None], -1e9).softmax(-1)
        return {
            "plan": AttentionMap(plan, self.patches, ("query",), self.omic, "mass", marginals={}),
            "classes": AttentionMap(classes, self.patches, ("class",), scores=scores),
        }

    def forward(self, batch: Batch) -> torch.Tensor:
        h, maps = self.embed(batch.bags[self.patches].values), self.attention_maps(batch)
        return self.head(torch.cat([(maps[name].values @ h).mean(1) for name in ("plan", "classes")], 1))


@torch.no_grad()
def transport(cost, real, share=5 / 6):
    kernel = (-10 * cost / (cost * real[:, None]).amax((1, 2), keepdim=True)).exp() * real[:, None]
    u, v = torch.ones_like(kernel[:, :, 0]), torch.ones_like(kernel[:, 0])
    for _ in range(30):
        u = (1 / u.shape[1] / (kernel @ v[..., None])[..., 0]) ** share
        v = (real / real.sum(1, keepdim=True) / (kernel.mT @ u[..., None])[..., 0].clamp(min=1e-9)) ** share
    return u[..., None] * kernel * v[:, None]
