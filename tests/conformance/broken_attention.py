"""A sound model with maps of attention of every kind, and copies of it with one defect each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fusionbench import AttentionMap, Batch
from tests.conformance.broken import Net, Sound, fails


def softmax(scores: Tensor, real: Tensor) -> Tensor:
    """Over the real items; all zeros where there are none."""
    return scores.masked_fill(~real, -1e9).softmax(dim=-1) * real


class NetOfMaps(Net):
    """The sound network, with what groups of columns and instances of a bag would give each other."""

    def __init__(self, task: Any, specs: Any) -> None:
        super().__init__(task, specs)
        dim = specs["omic"].dim
        self.parts = {"omic": {"all": tuple(range(dim)), "first": (0,), "even": tuple(range(0, dim, 2))}}

    def attention_maps(self, batch: Batch) -> dict[str, AttentionMap]:
        omic, image = batch.bags["omic"], batch.bags["image"]
        columns = omic.values[:, 0]
        groups = torch.stack([columns[:, list(of)].mean(dim=1) for of in self.parts["omic"].values()], dim=1)
        here = omic.present[:, None].expand_as(groups)
        return {**self.softmaxes(groups, here, image.values.mean(dim=-1), image.mask), **self.plans(here, image.mask)}

    def softmaxes(self, groups: Tensor, here: Tensor, tiles: Tensor, mask: Tensor) -> dict[str, AttentionMap]:
        """Groups choose among groups and tiles at once, tiles among groups, classes among tiles."""
        among = torch.cat([groups, tiles], dim=1)
        scores = groups[:, :, None] * among[:, None, :]
        joint = softmax(scores, here[:, :, None] & torch.cat([here, mask], dim=1)[:, None, :])
        back = tiles[:, :, None] * groups[:, None, :]
        classes = torch.stack([tiles, -tiles], dim=1)
        n = groups.shape[1]
        return {
            "groups to tiles": AttentionMap(
                joint[..., n:], "image", ("query",), "omic", scores=scores[..., n:], softmax="joint"
            ),
            "groups to groups": AttentionMap(
                joint[..., :n], "omic", ("query",), "omic", scores=scores[..., :n], softmax="joint"
            ),
            "tiles to groups": AttentionMap(self.back(back, mask, here), "omic", ("query",), "image", scores=back),
            "classes": AttentionMap(softmax(classes, mask[:, None]), "image", ("class",), scores=classes),
        }

    def back(self, scores: Tensor, mask: Tensor, here: Tensor) -> Tensor:
        return softmax(scores, mask[:, :, None] & here[:, None, :])

    def plans(self, here: Tensor, mask: Tensor) -> dict[str, AttentionMap]:
        """An even plan, one with stated marginals, and one of prototypes with free sums."""
        real = here[:, :, None] & mask[:, None, :]
        even = real / real.sum(dim=(1, 2), keepdim=True).clamp(min=1)
        sums = {"query": 2 * even.sum(dim=2), "item": 2 * even.sum(dim=1)}
        learned = mask[:, None, :] * torch.tensor([0.5, 0.25], device=mask.device)[:, None]
        return {
            "balanced": AttentionMap(even, "image", ("query",), "omic", "mass"),
            "stated": AttentionMap(2 * even, "image", ("query",), "omic", "mass", marginals=sums),
            "free": AttentionMap(
                learned, "image", ("query",), kind="mass", marginals={}, query_names=("stroma", "tumour")
            ),
        }


class WithMaps(Sound):
    """Says what it looks at, in maps of every kind."""

    name = "with-maps"
    network = NetOfMaps


class _PaddedQueries(NetOfMaps):
    def back(self, scores: Tensor, mask: Tensor, here: Tensor) -> Tensor:
        return softmax(scores, here[:, None, :].expand_as(scores))


@fails("attention-maps")
class PaddedTilesAsk(Sound):
    """Its padded instances choose among groups."""

    network = _PaddedQueries


class _Changed(NetOfMaps):
    """The network with one of its maps changed."""

    changed = "classes"

    def attention_maps(self, batch: Batch) -> dict[str, AttentionMap]:
        maps = super().attention_maps(batch)
        return {**maps, self.changed: self.change(maps[self.changed])}

    def change(self, one: AttentionMap) -> AttentionMap:
        raise NotImplementedError


class _ScoresAsWeights(_Changed):
    def change(self, one: AttentionMap) -> AttentionMap:
        return replace(one, values=one.scores)


@fails("attention-maps")
class ScoresInPlaceOfWeights(Sound):
    """Gives what the softmax is taken of as its result."""

    network = _ScoresAsWeights


class _InfiniteScores(_Changed):
    def change(self, one: AttentionMap) -> AttentionMap:
        assert one.scores is not None
        return replace(one, scores=torch.full_like(one.scores, torch.inf))


@fails("attention-maps")
class InfiniteScores(Sound):
    """Has no number before its softmax."""

    network = _InfiniteScores


class _Turned(_Changed):
    changed = "groups to tiles"

    def change(self, one: AttentionMap) -> AttentionMap:
        return replace(one, values=one.values.transpose(1, 2), scores=None)


@fails("attention-maps")
class QueriesAndItemsExchanged(Sound):
    """Its axes are in another order than it says."""

    network = _Turned


class _Alone(_Changed):
    changed = "groups to groups"

    def change(self, one: AttentionMap) -> AttentionMap:
        return replace(one, softmax="")


@fails("attention-sums")
class LeavesOutTheCommonSoftmax(Sound):
    """Does not say that groups choose among tiles too."""

    network = _Alone


class _Scaled(_Changed):
    changed = "balanced"

    def change(self, one: AttentionMap) -> AttentionMap:
        return replace(one, values=one.values / 3)


@fails("attention-sums")
class ScaledPlan(Sound):
    """Its plan has lost most of its mass."""

    network = _Scaled


class _OtherMarginals(_Changed):
    changed = "stated"

    def change(self, one: AttentionMap) -> AttentionMap:
        assert one.marginals is not None
        return replace(one, marginals={**one.marginals, "item": one.marginals["item"] * 1.5})


@fails("attention-sums")
class StatesOtherMarginals(Sound):
    """Its tiles get other mass than it says."""

    network = _OtherMarginals


class _OverQueries(_Changed):
    changed = "tiles to groups"

    def change(self, one: AttentionMap) -> AttentionMap:
        return replace(one, values=one.values / one.values.sum(dim=1, keepdim=True).clamp(min=1e-9))


@fails("attention-sums")
class SumsOverQueries(Sound):
    """Its softmax is over another axis."""

    network = _OverQueries
