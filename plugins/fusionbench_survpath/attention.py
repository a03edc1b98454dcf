"""Attention among pathways and between pathways and patches, with the patches' own block left out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fusionbench.nn import masked_softmax


class Looks(NamedTuple):
    """Scores before the softmax, or weights.

    Attributes:
        among: (case, pathway, pathway).
        patches: (case, pathway, patch), of pathways on patches; scores of padded patches mean nothing.
        pathways: (case, patch, pathway), of patches on pathways.
    """

    among: Tensor
    patches: Tensor
    pathways: Tensor


class PathwayAttention(nn.Module):
    """A pathway looks at pathways and patches under one softmax, a patch at pathways alone; no residual.

    With P pathways and N patches, at a cost of P (P + 2 N) and not of (P + N)^2.

    Source: Jaume et al. 2024, equation 3; one head of half the width, without biases and without an output projection.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.width = dim // 2
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * self.width, bias=False)  # rows: query, key, value

    def scores(self, pathways: Tensor, patches: Tensor) -> tuple[Looks, Tensor, Tensor]:
        """Of (case, pathway, dim) and (case, patch, dim); and the values of both, half as wide."""
        of_pathways, of_patches = (self.project(self.norm(x)).chunk(3, dim=-1) for x in (pathways, patches))
        (q, k, v), (q_patch, k_patch, v_patch) = of_pathways, of_patches
        q, q_patch = q * self.width**-0.5, q_patch * self.width**-0.5
        return Looks(q @ k.mT, q @ k_patch.mT, q_patch @ k.mT), v, v_patch

    def forward(self, pathways: Tensor, patches: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Looks]:
        """What both have seen, (case, pathway, dim / 2) and (case, patch, dim / 2), and the weights.

        Args:
            mask: (case, patch) bool, True = real; a case without patches has its pathways alone.
        """
        scores, v, v_patch = self.scores(pathways, patches)
        everywhere = mask.new_ones(len(mask), pathways.shape[1])
        seen = masked_softmax(
            torch.cat([scores.among, scores.patches], dim=-1), torch.cat([everywhere, mask], dim=1).unsqueeze(1)
        )
        among, on_patches = seen.tensor_split([pathways.shape[1]], dim=-1)
        on_pathways = scores.pathways.softmax(dim=-1)
        return among @ v + on_patches @ v_patch, on_pathways @ v, Looks(among, on_patches, on_pathways)
