"""Weights of jinxixiang/low_rank_wsi (bb45b9b) into our module, compared number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from fusionbench_ilra import IlraNetwork, IlraOptions
from fusionbench_ilra.network import Layer
from torch import Tensor, nn

from fusionbench import ModalitySpec
from tests.golden.replay.bags import PATH, BagAdapter
from tests.golden.replay.official import Official, Parts, PublishedConfig, Size, State, checked, fill, linear_parts


class IlraConfig(PublishedConfig):
    """Constructor arguments; `topk` is the rank."""

    n_classes: Size
    num_layers: Size
    feat_dim: Size
    hidden_feat: Size
    num_heads: Size
    topk: Size
    ln: bool

    @property
    def options(self) -> IlraOptions:
        values = {
            "width": self.hidden_feat,
            "heads": self.num_heads,
            "layers": self.num_layers,
            "rank": self.topk,
            "norm": self.ln,
        }
        return checked(IlraOptions, values, "ILRA")


class IlraAdapter(BagAdapter):
    """The bag, and what each layer makes of it."""

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(IlraNetwork, module), self(inputs)
        logits, pooled = net(batch), net.pooled(batch)
        seen = {"output/logits": logits, "output/Y_prob": logits.softmax(dim=1), "output/features": pooled}
        bag = batch.bags[PATH]
        x = bag.values
        for i, layer in enumerate(cast("list[Layer]", net.layers)):
            seen[f"mid/gab_blocks.{i}.project_forward"] = layer.collected(x, bag.mask)
            x = seen[f"mid/gab_blocks.{i}"] = layer(x, bag.mask)
        return seen | {"mid/pooling": pooled.unsqueeze(1)}


def _block(ours: str, theirs: str, config: IlraConfig, *, gated: bool) -> Parts:
    parts: Parts = {
        f"{ours}.attend.project": (f"{theirs}.multihead_attn.in_proj_weight",),
        f"{ours}.attend.bias": (f"{theirs}.multihead_attn.in_proj_bias",),
    }
    names = {"query": "fc_q", "key": "fc_k", "value": "fc_v", "feed": "fc_o", "attend.out": "multihead_attn.out_proj"}
    names |= {"norms.0": "ln0", "norms.1": "ln1"} if config.ln else {}
    names |= {"gate": "gate.0"} if gated else {}
    for own, published in names.items():
        parts |= linear_parts(f"{ours}.{own}", f"{theirs}.{published}")
    return parts


def published_parts(config: IlraConfig) -> Parts:
    """Our parameter to the published ones that it is made of."""
    parts: Parts = {"token": ("pooling.S",)} | linear_parts("head", "classifier")
    for i in range(config.num_layers):
        parts[f"layers.{i}.latent"] = (f"gab_blocks.{i}.latent",)
        parts |= _block(f"layers.{i}.collect", f"gab_blocks.{i}.project_forward", config, gated=True)
        parts |= _block(f"layers.{i}.spread", f"gab_blocks.{i}.project_backward", config, gated=True)
    return parts | _block("pool", "pooling.mha", config, gated=False)


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `ILRA` with these weights; None where `cls` names another.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    if config.get("cls") != "ILRA":
        return None
    given = checked(IlraConfig, config, "ILRA")
    net = IlraNetwork([ModalitySpec(PATH, "bag", given.feat_dim)], given.n_classes, given.options)
    parts = published_parts(given)
    fill(net, state, parts, who="ILRA")
    return Official(net, IlraAdapter().knowing(parts))
