"""Batches of several members one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fusionbench.core.types import Bag, Batch, SurvivalTargets


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of vectors with targets, from one of each member; ids may come more than once."""
    first = batches[0]
    bags = {name: _bags([batch.bags[name] for batch in batches]) for name in first.bags}
    targets = [batch.targets for batch in batches if batch.targets is not None]
    ids = tuple(i for batch in batches for i in batch.ids)
    return Batch(ids, bags, SurvivalTargets(*(_cat(targets, name) for name in ("time", "event", "time_bin"))))


def _bags(bags: Sequence[Bag]) -> Bag:
    return Bag(torch.cat([bag.values for bag in bags]), torch.cat([bag.mask for bag in bags]))


def _cat(targets: Sequence[SurvivalTargets[Tensor]], name: str) -> Tensor:
    return torch.cat([getattr(one, name) for one in targets])
