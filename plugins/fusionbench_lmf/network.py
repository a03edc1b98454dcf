"""LMF as a torch module: a Batch in, logits out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusionbench import Batch
from fusionbench.nn import some_modality
from fusionbench_lmf.embedding import Embedder, attention_of
from fusionbench_lmf.options import LmfOptions


class LowRankFusion(nn.Module):
    """Sum over ranks of the product over modalities of linear forms.

    With h = [1, z], the 1 first, and a factor W (rank, width + 1, output) of each modality: logits = sum over ranks j
    of w_j times the product over modalities of h W[j], plus b.

    Args:
        widths: of the vectors.

    Source: Liu et al. 2018, equations 5 to 9; w is of the published program, the paper has 1. Starts as published,
    `start` apart: factors and w Xavier-normal as torch counts their fans, b 0.
    """

    def __init__(self, widths: Sequence[int], n_outputs: int, options: LmfOptions) -> None:
        super().__init__()
        self.absent = options.absent
        sizes = [(options.rank, width + 1, n_outputs) for width in widths]
        self.factors = nn.ParameterList(nn.init.xavier_normal_(torch.empty(size)) for size in sizes)
        if options.start == "one":
            with torch.no_grad():
                for factor in self.factors:
                    factor[:, 0] = 1.0
        weights = torch.ones(1, options.rank)
        learned = options.rank_weights == "learned"
        self.weights = nn.Parameter(nn.init.xavier_normal_(weights) if learned else weights, requires_grad=learned)
        self.bias = nn.Parameter(torch.zeros(1, n_outputs))

    def factor(self, modality: int, z: Tensor) -> Tensor:
        """(case, width) -> (case, rank, output)."""
        factor = self.factors[modality]
        forms: Tensor = factor[:, 0] + torch.einsum("cd,rdk->crk", z, factor[:, 1:])
        return forms

    def forward(self, vectors: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
        """(case, output) logits of one (case, width) a modality, and of which cases have it, (case,) bool each."""
        product = None
        for m, (z, there) in enumerate(zip(vectors, present, strict=True)):
            factor = self.factor(m, z)
            if self.absent == "one":
                factor = factor.masked_fill(~there[:, None, None], 1.0)
            product = factor if product is None else product * factor
        assert product is not None
        return torch.einsum("r,crk->ck", self.weights[0], product) + self.bias


class LmfNetwork(nn.Module):
    """A vector of each modality, and their low-rank product, which is the logits.

    Args:
        names: of the modalities.
        embed: an `Embedder` for each of them.
    """

    def __init__(self, names: Sequence[str], embed: nn.ModuleList, n_outputs: int, options: LmfOptions) -> None:
        super().__init__()
        self.names, self.embed = tuple(names), embed
        self.fusion = LowRankFusion([_width(e) for e in embed], n_outputs, options)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case has no modality at all.
        """
        some_modality(batch, self.names)
        bags = [batch.bags[name] for name in self.names]
        vectors = [embed(bag) for embed, bag in zip(self.embed, bags, strict=True)]
        logits: Tensor = self.fusion(vectors, [bag.present for bag in bags])
        return logits

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """(case, 1, query, instance) weights of bags and grids that are pooled by attention."""
        return attention_of(self.embed, self.names, batch)


def _width(embed: nn.Module) -> int:
    assert isinstance(embed, Embedder)
    return embed.width
