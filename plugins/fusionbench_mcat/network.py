"""MCAT as a torch module: a Batch in, logits and attention out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from fusionbench.nn import complete, fully_connected, fusion_of_equals, one_head, scale_head, vectors
from fusionbench_mcat.blocks import CoAttention, GroupEncoder, SetPool
from fusionbench_mcat.groups import declared_groups, one_group, parts_of, remarks

if TYPE_CHECKING:
    from fusionbench_mcat.options import McatOptions


class Encoded(NamedTuple):
    """What is fused, and where it looked.

    Attributes:
        path, omic: (case, width), of what the tokens saw in the bag and of the tokens themselves.
        seen: (case, token, instance) weights of the co-attention.
        path_tokens, omic_tokens: (case, token) weights of the two poolings.
    """

    path: Tensor
    omic: Tensor
    seen: Tensor
    path_tokens: Tensor
    omic_tokens: Tensor


class McatNetwork(nn.Module):
    """Tokens of feature groups attend to the instances of a bag; both sets are pooled, fused, and give logits.

    Attributes:
        notes: groups and columns that are left out, a line each.
        parts: a vector with groups to the groups that are its tokens, with their columns.
        who: the model's name, for messages.

    Args:
        attend: what takes the place of the co-attention: tokens (case, token, width), instances (case, instance, width)
            and their mask to what the tokens have seen (case, token, width) and its weights (case, token, instance).
    """

    who = "mcat"

    def __init__(
        self,
        bag: ModalitySpec,
        vectors: Sequence[ModalitySpec],
        n_outputs: int,
        options: McatOptions,
        attend: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.bag, self.vectors = bag.name, tuple(spec.name for spec in vectors)
        declared = options.groups == "declared"
        self.groups = declared_groups(vectors) if declared else one_group(vectors)
        self.parts = {spec.name: parts_of(spec) for spec in vectors if declared and parts_of(spec)}
        self.notes = tuple(line for spec in vectors for line in remarks(spec)) if declared else ()
        width, rate = options.width, options.dropout
        kind = options.dropout_kind
        self.encode_groups = GroupEncoder(self.groups, options.group_widths, dropout=options.dropout, kind=kind)
        self.embed = fully_connected(bag.dim, width, rate)
        self.attend = CoAttention(width) if attend is None else attend
        self.path, self.omic = SetPool(options), SetPool(options)
        self.fusion = fusion_of_equals(options.fusion, width, scale=options.scale, dropout=rate)
        self.head = nn.Linear(width, n_outputs)
        scale_head(self.head, options.head_scale)

    def forward(self, batch: Batch) -> Tensor:
        """(case, n_outputs) logits.

        Raises:
            DataError: if a case lacks the bag or one of the vectors.
        """
        encoded = self._encode(batch)
        return cast(Tensor, self.head(self.fusion(encoded.path, encoded.omic)))

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Where each modality is looked at.

        Returns:
            the bag's name -> (case, 1, 1, instance): what its tokens saw, averaged with the weights that the pooling of
            what they saw gives them (a token which that pooling drops counts for nothing; that tokens are mixed in
            between is not looked at); a vector's name -> (case, 1, 1, token), for vectors with groups: one for each of
            its groups, of the pooling of the tokens themselves. Each row sums to 1 over what is real.
        """
        encoded = self._encode(batch)
        maps = {self.bag: one_head((encoded.path_tokens.unsqueeze(1) @ encoded.seen).squeeze(1))}
        for name in self.vectors:
            mine = [i for i, group in enumerate(self.groups) if group.vector == name]
            if mine:
                weights = encoded.omic_tokens[:, mine]
                total = weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
                maps[name] = one_head(weights / total)
        return maps

    def coattention(self, batch: Batch) -> Tensor:
        """(case, token, instance) scores of the co-attention before its softmax; -inf where padded."""
        tokens, instances, mask = self._tokens_and_instances(batch)
        scores = cast(CoAttention, self.attend).scores(tokens, instances)
        return scores.masked_fill(~mask.unsqueeze(1), -torch.inf)

    def _encode(self, batch: Batch) -> Encoded:
        tokens, instances, mask = self._tokens_and_instances(batch)
        attended, seen = self.attend(tokens, instances, mask)
        path, path_tokens = self.path(attended)
        omic, omic_tokens = self.omic(tokens)
        return Encoded(path, omic, seen, path_tokens, omic_tokens)

    def _tokens_and_instances(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(case, token, width), (case, instance, width), and the instances' mask."""
        bag = complete(batch, self.bag, self.who)
        return self.encode_groups(vectors(batch, self.vectors, self.who)), self.embed(bag.values), bag.mask
