"""The model `my-plugin`: embedded modalities, which are also reconstructed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from fusionbench import Batch, ModalitySpec, Options, Outputs, Task
from fusionbench.nn import TorchModel, masked_mean
from pydantic import Field
from torch import Tensor, nn


class ReconstructingOptions(Options):
    """What a suite may set, as `my-plugin[width=64]`.

    Attributes:
        width: of the embeddings.
        reconstruction: weight of the auxiliary loss.
    """

    width: int = Field(128, ge=1)  # write the source of a default here: the paper's, or what settled it
    reconstruction: float = Field(0.1, ge=0)


class ReconstructingNetwork(nn.Module):
    """Each modality averaged over its instances and embedded; the mean over those present predicts and reconstructs."""

    def __init__(self, specs: Mapping[str, ModalitySpec], n_outputs: int, options: ReconstructingOptions) -> None:
        super().__init__()
        self.names, self.weight = tuple(specs), options.reconstruction
        width = options.width
        self.embed = nn.ModuleList(nn.Sequential(nn.Linear(s.dim, width), nn.ReLU()) for s in specs.values())
        self.decode = nn.ModuleList(nn.Linear(width, s.dim) for s in specs.values())
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_outputs))

    def forward(self, batch: Batch) -> Outputs:
        """Logits (case, n_outputs), and the loss of the second task, one value a case."""
        bags = [batch.bags[name] for name in self.names]  # every declared modality is a key, also where it is missing
        means = [masked_mean(bag.values, bag.mask) for bag in bags]
        embedded = torch.stack([embed(mean) for embed, mean in zip(self.embed, means, strict=True)], dim=1)
        present = torch.stack([bag.present for bag in bags], dim=1)  # case modality
        fused = masked_mean(embedded, present)
        errors = [(decode(fused) - mean).square().mean(dim=1) for decode, mean in zip(self.decode, means, strict=True)]
        counted = torch.stack(errors, dim=1) * present  # an absent modality has nothing to reconstruct
        loss: Tensor = counted.sum(dim=1) / present.sum(dim=1).clamp(min=1)
        return Outputs(self.head(fused), {"reconstruction": loss}, {"reconstruction": self.weight})


class Reconstructing(TorchModel):
    """Mean of the embedded modalities that a case has, which is also trained to reconstruct them."""

    name = "my-plugin"
    version = "1"  # part of every result's key: count it up when results change
    tasks = ("survival", "binary", "multiclass")  # kinds of endpoints; rows of another kind are skipped
    missing = "native"  # takes any non-empty subset; "impute" = the harness fills in the training mean
    Options = ReconstructingOptions
    options: ReconstructingOptions

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        """A fresh network; the harness trains it with the suite's recipe and keeps the best validation epoch."""
        return ReconstructingNetwork(specs, task.n_outputs, self.options)
