"""Batches and networks of the sizes that speed is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from fusionbench_healnet import HealNet, HealnetOptions
from torch import Tensor

from fusionbench import Batch, ModalitySpec, Outputs, PreparedBag, PreparedCase
from fusionbench.data.collate import collate

OMIC = 2191
"""Columns of the paper's omic tables, about."""
TABLE_5 = ("paper-blca", "paper-kirp", "paper-ucec")


def specs(channels: int, bags: int = 1, groups: int = 6) -> dict[str, ModalitySpec]:
    """An omic vector in `groups` groups and `bags` bags of `channels` channels."""
    parts = {f"g{i}": tuple(range(i, OMIC, groups)) for i in range(groups)}
    images = {f"image{i}": ModalitySpec(f"image{i}", "bag", channels) for i in range(bags)}
    return {"omic": ModalitySpec("omic", "vector", OMIC, parts), **images}


def batch(of: Mapping[str, ModalitySpec], cases: int, tokens: int) -> Batch:
    g = torch.Generator().manual_seed(0)
    sizes = {name: (1 if spec.kind == "vector" else tokens, spec.dim) for name, spec in of.items()}
    made = [
        PreparedCase(str(i), {name: PreparedBag(torch.randn(*size, generator=g)) for name, size in sizes.items()})
        for i in range(cases)
    ]
    return collate(made, of)


def healnet(preset: str, of: Mapping[str, ModalitySpec], sharing: str, **more: object) -> HealNet:
    """Table 5's network in training, with the LayerNorm over tokens that the published module has."""
    torch.manual_seed(0)
    options = HealnetOptions.model_validate({"preset": preset, "token_norm": True, "sharing": sharing, **more})
    return HealNet(of.values(), 4, options).train()


def logits(net: torch.nn.Module, batch: Batch) -> Tensor:
    """Of a network that returns them, alone or among other outputs."""
    found = net(batch)
    values: Tensor = found.logits if isinstance(found, Outputs) else found
    return values


def step(net: torch.nn.Module, logits: Callable[[Batch], Tensor], batches: Sequence[Batch]) -> None:
    """Forward and backward of each batch, gradients from scratch."""
    net.zero_grad(set_to_none=True)
    for one in batches:
        logits(one).square().mean().backward()
