"""Needs 7 and 11: overlapping groups of columns as tokens, and three maps between them and patches, as SurvPath has."""

from collections.abc import Mapping

import torch
from torch import nn

from fusionbench import AttentionMap, Batch, ModalitySpec, Task
from fusionbench.nn import TorchModel


class Pathways(TorchModel):
    """A network a group; groups choose among groups and patches in one softmax, patches among groups."""

    name = "need-groups"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(task, *specs.values())


class Net(nn.Module):
    def __init__(self, task, omic, patches, width=8):
        super().__init__()
        self.omic, self.patches, self.parts = omic.name, patches.name, {omic.name: dict(omic.groups)}
        self.groups = nn.ModuleList(nn.Linear(len(columns), width) for columns in omic.groups.values())
        self.embed, self.head = nn.Linear(patches.dim, width), nn.Linear(2 * width, task.n_outputs)

    def attention_maps(self, batch: Batch) -> dict[str, AttentionMap]:
        x, n, (omic, patches) = batch.bags[self.omic].values[:, 0], len(self.groups), (self.omic, self.patches)
        tokens = [net(x[:, list(of)]) for net, of in zip(self.groups, self.parts[omic].values(), strict=True)]
        self.t, mask = torch.stack(tokens, 1), batch.bags[patches].mask
        self.h = self.embed(batch.bags[patches].values)
        scores = self.t @ torch.cat([self.t, self.h], 1).mT
        shown = scores.masked_fill(~nn.functional.pad(mask, (n, 0), value=True)[:, None], -1e9).softmax(-1)
        back = (self.h @ self.t.mT).softmax(-1) * mask[..., None]
        one = AttentionMap(shown[..., :n], omic, ("query",), omic, scores=scores[..., :n], softmax="pathways")
        two = AttentionMap(shown[..., n:], patches, ("query",), omic, scores=scores[..., n:], softmax="pathways")
        return {
            "group to group": one,
            "group to patch": two,
            "patch to group": AttentionMap(back, omic, ("query",), patches),
        }

    def forward(self, batch: Batch) -> torch.Tensor:
        one, two, back = (m.values for m in self.attention_maps(batch).values())
        groups, patches = one @ self.t + two @ self.h, back @ self.t
        return self.head(torch.cat([groups.mean(1), patches.sum(1) / back.sum((1, 2))[:, None]], 1))
