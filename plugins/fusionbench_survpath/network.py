"""SurvPath as a torch module: a Batch in, logits and attention out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from fusionbench_mcat import GroupEncoder, declared_groups, one_group, parts_of, remarks
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Batch, ModalitySpec
from fusionbench.nn import Dropout, masked_mean, one_head, scale_head, some_modality
from fusionbench_survpath.attention import Looks, PathwayAttention

if TYPE_CHECKING:
    from fusionbench_survpath.options import SurvPathOptions


class Tokens(NamedTuple):
    """Of a batch.

    Attributes:
        pathways: (case, pathway, width).
        patches: (case, patch, width).
        mask: (case, patch) bool, True = counts.
    """

    pathways: Tensor
    patches: Tensor
    mask: Tensor


class SurvPathNetwork(nn.Module):
    """Pathways and patches look at one another; the means of both give logits.

    Attributes:
        notes: groups and columns that are left out, a line each.
        parts: a vector with groups to the groups that are its tokens, with their columns.
    """

    def __init__(
        self, bag: ModalitySpec, vectors: Sequence[ModalitySpec], n_outputs: int, options: SurvPathOptions
    ) -> None:
        super().__init__()
        self.options, self.bag, self.vectors = options, bag.name, tuple(spec.name for spec in vectors)
        declared = options.groups == "declared"
        self.groups = declared_groups(vectors) if declared else one_group(vectors)
        self.parts = {spec.name: parts_of(spec) for spec in vectors if declared and parts_of(spec)}
        self.notes = tuple(line for spec in vectors for line in remarks(spec)) if declared else ()
        width, half = options.width, options.width // 2
        kind = options.dropout_kind
        self.encode_groups = GroupEncoder(self.groups, options.group_widths, dropout=options.dropout, kind=kind)
        self.embed = nn.Linear(bag.dim, width)
        self.attend = PathwayAttention(width)
        self.feed = nn.Sequential(
            nn.LayerNorm(half),
            nn.Linear(half, half),
            nn.GELU(),
            Dropout(options.feedforward_dropout),
            nn.Linear(half, half),
        )
        self.norm = nn.LayerNorm(half)
        self.hidden, self.head = nn.Linear(width, width // 4), nn.Linear(width // 4, n_outputs)
        scale_head(self.head, options.head_scale)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case has no modality at all.
        """
        return cast(Tensor, self.head(self.hidden(self.summary(self.tokens(batch))).relu()))

    def tokens(self, batch: Batch) -> Tokens:
        """A vector that a case lacks is zeros, of which its groups' biases make constant tokens."""
        some_modality(batch, tuple(batch.bags))
        columns = [batch.bags[name] for name in self.vectors]
        values = [one.values[:, 0].masked_fill(~one.present.unsqueeze(1), 0.0) for one in columns]
        bag = batch.bags[self.bag]
        instances, mask = bag.values, bag.mask
        if not bag.complete:  # nobody says what stands where a bag is missing
            instances = instances.masked_fill(~mask.unsqueeze(-1), 0.0)
        if self.training and self.options.padding == "attended":
            instances, mask = _filled_up(instances, mask, self.options.padded_to)
        return Tokens(self.encode_groups(torch.cat(values, dim=-1)), self.embed(instances), mask)

    def summary(self, tokens: Tokens) -> Tensor:
        """(case, width): the mean of the pathways beside the mean of the patches, zeros where there is no patch."""
        pathways, patches, _ = self.attend(*tokens)
        means = self.norm(self.feed(pathways)).mean(dim=1), masked_mean(self.norm(self.feed(patches)), tokens.mask)
        return torch.cat(means, dim=-1)

    def scores(self, batch: Batch) -> Looks:
        """What pathways and patches give one another before the softmax."""
        tokens = self.tokens(batch)
        return self.attend.scores(tokens.pathways, tokens.patches)[0]

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Where each modality is looked at.

        Returns:
            the bag's name -> (case, 1, 1, instance): what pathways give to patches, averaged over pathways; a vector's
            name -> (case, 1, 1, token), for vectors with groups: what pathways and patches give to its groups, averaged
            over both. Each row sums to 1 where the case has the modality.
        """
        tokens = self.tokens(batch)
        looks = self.attend(*tokens)[2]
        given = looks.among.sum(dim=1) + looks.pathways.masked_fill(~tokens.mask.unsqueeze(-1), 0.0).sum(dim=1)
        maps = {self.bag: _shares(looks.patches.sum(dim=1))}
        for name in self.vectors:
            if mine := [i for i, group in enumerate(self.groups) if group.vector == name]:
                maps[name] = _shares(given[:, mine]) * batch.bags[name].present[:, None, None, None]
        return maps


def _shares(weights: Tensor) -> Tensor:
    """(case, item) -> (case, 1, 1, item): divided by their sum; zeros stay."""
    return one_head(weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny))


def _filled_up(instances: Tensor, mask: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Each bag that a case has with at least so many instances; those that are not its own are zeros, and count."""
    more = max(least - instances.shape[1], 0)
    own = F.pad(mask, (0, more))
    first = torch.arange(own.shape[1], device=mask.device) < least
    return F.pad(instances, (0, 0, 0, more)).masked_fill(~own.unsqueeze(-1), 0.0), (own | first) & mask.any(
        dim=1, keepdim=True
    )
