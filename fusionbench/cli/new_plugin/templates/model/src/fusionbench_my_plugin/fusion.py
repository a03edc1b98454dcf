"""The model `my-plugin`: an embedding per modality, averaged over those present."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from fusionbench import Batch, ModalitySpec, Options, Task
from fusionbench.nn import TorchModel
from pydantic import Field
from torch import Tensor, nn


class MeanFusionOptions(Options):
    """What a suite may set, as `my-plugin[width=64]`.

    Attributes:
        width: of the embeddings and of the hidden layer.
        dropout: share of the hidden layer dropped in training, in [0, 1).
    """

    width: int = Field(128, ge=1)  # enough to learn a few cases by heart, as the check wants to see
    dropout: float = Field(0.1, ge=0, lt=1)  # write the source of a default here: the paper's, or what settled it


class MeanNetwork(nn.Module):
    """Linear, ReLU on each instance; mean over the instances; mean over the modalities; a hidden layer; Linear."""

    def __init__(self, specs: Mapping[str, ModalitySpec], n_outputs: int, options: MeanFusionOptions) -> None:
        super().__init__()
        self.names = tuple(specs)
        width = options.width
        self.embed = nn.ModuleList(nn.Sequential(nn.Linear(s.dim, width), nn.ReLU()) for s in specs.values())
        hidden = (nn.Linear(width, width), nn.ReLU(), nn.Dropout(options.dropout))
        self.head = nn.Sequential(*hidden, nn.Linear(width, n_outputs))

    def forward(self, batch: Batch) -> Tensor:
        """Logits (case, n_outputs).

        Survival: one hazard per time bin, or one log risk where the suite's loss is Cox's. Classes: one per class.
        """
        bags = [batch.bags[name] for name in self.names]  # every declared modality is a key, also where it is missing
        pooled = [mean(embed(bag.values), bag.mask) for embed, bag in zip(self.embed, bags, strict=True)]
        present = torch.stack([bag.present for bag in bags], dim=1)  # case modality
        logits: Tensor = self.head(mean(torch.stack(pooled, dim=1), present))  # case modality width -> case output
        return logits


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """(case, item, feature) under mask (case, item) to (case, feature), over the real items; zeros where none is.

    The items are the instances of a bag (a vector is a bag of one) or the modalities of a case.
    """
    real = mask.unsqueeze(-1)
    return values.masked_fill(~real, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)


class MeanFusion(TorchModel):
    """Mean of the embedded instances of each modality, averaged over the modalities that a case has."""

    name = "my-plugin"
    version = "1"  # part of every result's key: count it up when results change
    tasks = ("survival", "binary", "multiclass")  # kinds of endpoints; rows of another kind are skipped
    missing = "native"  # takes any non-empty subset; "impute" = the harness fills in the training mean
    Options = MeanFusionOptions
    options: MeanFusionOptions

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        """A fresh network; the harness trains it with the suite's recipe and keeps the best validation epoch.

        `task.kind` is one of `tasks`; `task.classes` are the classes in the order of the logits, none for survival.
        """
        return MeanNetwork(specs, task.n_outputs, self.options)
