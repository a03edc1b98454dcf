"""Pathomic Fusion as a torch module: a Batch in, logits out."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import cast

from fusionbench_lmf import AttentionEmbedder, attention_of
from torch import Tensor, nn

from fusionbench import Bag, Batch, ModalitySpec
from fusionbench.nn import SNNBlock, complete, scale_head
from fusionbench_pathomic_fusion.fusion import GatedKronecker
from fusionbench_pathomic_fusion.options import PathomicOptions
from fusionbench_pathomic_fusion.roles import Roles


class VectorLayers(nn.Module):
    """(case, width) of a vector, through layers of its own."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, bag: Bag) -> Tensor:
        return cast(Tensor, self.layers(bag.values[:, 0]))


def encoder(role: str, spec: ModalitySpec, options: PathomicOptions) -> nn.Module:
    """What makes the role's vector of its modality."""
    if role == "omic":
        steps = pairwise((spec.dim, *options.omic_widths))
        return VectorLayers(nn.Sequential(*(SNNBlock(a, b, dropout=options.dropout) for a, b in steps)))
    width = options.path_width if role == "path" else options.graph_width
    if spec.kind == "vector":
        return VectorLayers(nn.Sequential(nn.Linear(spec.dim, width), nn.ReLU()))
    return AttentionEmbedder(spec.dim, width, options.queries, options.dropout)


class PathomicNetwork(nn.Module):
    """A vector of each role, their gated Kronecker product, and logits.

    Args:
        roles: path, graph or none, omic.
        encoders: what makes each role's vector.
        widths: of these vectors.
    """

    def __init__(
        self,
        roles: Roles,
        encoders: Mapping[str, nn.Module],
        widths: Mapping[str, int],
        n_outputs: int,
        options: PathomicOptions,
    ) -> None:
        super().__init__()
        self.names = {role: spec.name for role, spec in roles.items()}
        self.encode, self.bounded = nn.ModuleDict(encoders), options.bounded
        self.fusion = GatedKronecker(widths, options)
        self.head = nn.Linear(options.fusion_width, n_outputs)
        scale_head(self.head, options.head_scale)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks a modality.
        """
        logits = cast(Tensor, self.head(self.fusion(self.vectors(batch))))
        return bounded(logits) if self.bounded else logits

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """(case, width) of each role."""
        bags = {role: complete(batch, name, "pathomic-fusion") for role, name in self.names.items()}
        return {role: self.encode[role](bag) for role, bag in bags.items()}

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, query, instance) weights of bags and grids, each row summing to 1."""
        return attention_of(self.encode.values(), list(self.names.values()), batch)


class AloneNetwork(nn.Module):
    """The vector of one role, and logits: what is trained before the fusion.

    Args:
        spec: of the role's modality.
        width: of its vector.
    """

    def __init__(self, role: str, spec: ModalitySpec, width: int, n_outputs: int, options: PathomicOptions) -> None:
        super().__init__()
        self.role, self.name, self.bounded = role, spec.name, options.bounded
        self.encode = nn.ModuleDict({role: encoder(role, spec, options)})
        self.head = nn.Linear(width, n_outputs)
        scale_head(self.head, options.head_scale)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks the modality.
        """
        vector = self.encode[self.role](complete(batch, self.name, "pathomic-fusion"))
        return bounded(self.head(vector)) if self.bounded else cast(Tensor, self.head(vector))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, query, instance) weights of a bag or a grid, each row summing to 1."""
        return attention_of(self.encode.values(), [self.name], batch)


def bounded(logits: Tensor) -> Tensor:
    """Within (-3, 3)."""
    return 6.0 * logits.sigmoid() - 3.0
