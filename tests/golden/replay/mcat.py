"""Weights of mahmoodlab/MCAT (b9cca63) into this network, so that both can be compared number by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any, Literal, cast

import numpy as np
import torch
from fusionbench_mcat.blocks import SetPool
from fusionbench_mcat.network import McatNetwork
from fusionbench_mcat.options import McatOptions
from pydantic import Field
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from tests.golden.replay.official import (
    Adapter,
    Official,
    Parts,
    PublishedConfig,
    Size,
    State,
    as_bag,
    as_vector,
    checked,
    fill,
    fusion_parts,
    gated_parts,
    gated_values,
    linear_parts,
    stack_parts,
)


class McatConfig(PublishedConfig):
    """Of `MCAT_Surv`; `wsi` begins with the width of a patch, `d_model` is the width of everything after."""

    fusion: Literal["concat", "bilinear"]
    omic_sizes: tuple[Size, ...] = Field(min_length=1)
    n_classes: Size
    d_model: Size
    wsi: tuple[Size, Size, Size]
    nhead: Size
    dim_ff: Size
    layers: Size
    coattn_heads: Literal[1] = 1


class McatAdapter(Adapter):
    """x_path (instance, feature) and x_omic1, x_omic2, ... (feature,), one for each group, of one patient."""

    def __init__(self, groups: int) -> None:
        self.names = [f"x_omic{i + 1}" for i in range(groups)]

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        omic = torch.cat([inputs[name].reshape(-1) for name in self.names])
        return Batch(("0",), {"path": as_bag(inputs["x_path"]), "omic": as_vector(omic)})

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(McatNetwork, module), self(inputs)
        bag, omic = batch.bags["path"], batch.bags["omic"].values[:, 0]
        tokens, instances, raw = net.encode_groups(omic), net.embed(bag.values), net.coattention(batch).unsqueeze(1)
        attended, _ = net.attend(tokens, instances, bag.mask)
        fused = net.fusion(net.path(attended)[0], net.omic(tokens)[0])
        return {
            "output/logits": net(batch),
            "output/attn_coattn": raw,
            "mid/wsi_net": instances[0],
            "mid/coattn.0": attended.transpose(0, 1),
            "mid/coattn.1": raw,
            **observed_pools(net, attended, tokens),
            "mid/mm": fused[0],
        }


def observed_pools(net: McatNetwork, attended: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """What both set transformers and what follows them give."""
    pools = (
        _observe_pool(cast(SetPool, net.get_submodule(n)), n, x) for n, x in (("path", attended), ("omic", tokens))
    )
    return {name: value for pool in pools for name, value in pool.items()}


def _observe_pool(pool: SetPool, name: str, tokens: Tensor) -> dict[str, Tensor]:
    """What a set transformer, the attention after it and its last layer give, for (1, token, width)."""
    mixed = pool.mix(tokens)
    return {
        f"output/attn_{name}": pool.pool.scores(mixed),
        f"mid/{name}_transformer": mixed.transpose(0, 1),
        f"mid/{name}_rho": pool(tokens)[0],
        **gated_values(pool.pool, f"{name}_attention_head", mixed),
    }


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `MCAT_Surv` with these weights; None where `cls` names another class.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    if config.get("cls") != "MCAT_Surv":
        return None
    chosen = checked(McatConfig, config, "MCAT_Surv")
    widths = group_widths(chosen, state)
    net = McatNetwork(*specs(chosen), chosen.n_classes, _options(chosen, widths))
    fill(net, state, published_parts(net, chosen, len(widths)), who="MCAT_Surv")
    return Official(net, McatAdapter(len(chosen.omic_sizes)))


def specs(config: McatConfig) -> tuple[ModalitySpec, list[ModalitySpec]]:
    """The bag, and the vector with its groups one after the other."""
    bounds = list(accumulate(config.omic_sizes, initial=0))
    groups = {str(i): tuple(range(*ends)) for i, ends in enumerate(pairwise(bounds))}
    return ModalitySpec("path", "bag", config.wsi[0]), [ModalitySpec("omic", "vector", bounds[-1], groups)]


def _options(config: McatConfig, widths: tuple[int, ...]) -> McatOptions:
    values = {
        "fusion": config.fusion,
        "group_widths": widths,
        "heads": config.nhead,
        "layers": config.layers,
        "feedforward": config.dim_ff,
    }
    return checked(McatOptions, values, "MCAT_Surv")


def group_widths(config: McatConfig, state: State) -> tuple[int, ...]:
    """Of the layers on each group, which the config does not say ("small" has two, "big" four).

    The width that most groups have, so that a damaged tensor is named as such.
    """
    widths: list[int] = []
    while rows := _rows(state, [f"sig_networks.{g}.{len(widths)}.0.weight" for g in range(len(config.omic_sizes))]):
        widths.append(Counter(rows).most_common(1)[0][0])
    return (*widths[:-1], config.d_model) if widths else (config.d_model, config.d_model)


def _rows(state: State, names: list[str]) -> list[int]:
    return [np.shape(state[name])[0] for name in names if np.ndim(state.get(name, 0)) == 2]


def published_parts(net: McatNetwork, config: McatConfig, layers: int) -> Parts:
    """Our parameter to the published ones it is made of."""
    parts, _ = fusion_parts(config.fusion)
    parts |= linear_parts("embed.0", "wsi_net.0") | linear_parts("head", "classifier")
    for g in range(len(config.omic_sizes)):
        parts |= stack_parts(f"encode_groups.networks.{g}", f"sig_networks.{g}", layers)
    parts |= {f"attend.project.{kind}": (f"coattn.in_proj_{kind}",) for kind in ("weight", "bias")}
    parts |= linear_parts("attend.out", "coattn.out_proj")
    for name in ("path", "omic"):
        inner = cast(SetPool, net.get_submodule(name)).transformer.state_dict()
        parts |= {f"{name}.transformer.{tensor}": (f"{name}_transformer.{tensor}",) for tensor in inner}
        parts |= gated_parts(f"{name}.pool", f"{name}_attention_head")
        parts |= linear_parts(f"{name}.rho.0", f"{name}_rho.0")
    return parts
