"""Weights of the set-MIL file of MCAT (b9cca63) into our modules, so that both can be compared number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

import torch
from fusionbench_unimodal.bag_network import AttentionNetwork, BagNetwork
from fusionbench_unimodal.mifcn_network import MifcnNetwork
from fusionbench_unimodal.networks import AbmilNetwork, DeepsetsNetwork
from fusionbench_unimodal.options import AbmilOptions, DeepsetsOptions, MifcnOptions
from pydantic import model_validator
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from fusionbench.nn import ConcatFusion
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

PATH, OMIC, CLUSTERS = "x_path", "x_omic", "cluster_id"
"""The published arguments, which are also what the modalities of the batch are called."""


class SetMilConfig(PublishedConfig):
    """Constructor arguments of the published classes.

    Attributes:
        wsi: widths of a patch, of its embedding, and of both the attention and rho.
        omic_input_dim: needed where there is a fusion.
    """

    cls: Literal["MIL_Sum_FC_surv", "MIL_Attention_FC_surv", "MIL_Cluster_FC_surv"]
    fusion: Literal["concat", "bilinear"] | None
    wsi: tuple[Size, Size, Size]
    omic_input_dim: Size | None = None
    n_classes: Size
    num_clusters: Size = 10

    @model_validator(mode="after")
    def _fusion_has_omics(self) -> Self:
        if self.fusion is not None and self.omic_input_dim is None:
            raise ValueError(f"fusion {self.fusion!r} needs omic_input_dim")
        return self

    @property
    def specs(self) -> list[ModalitySpec]:
        """The modalities of the batch that the module takes."""
        specs = [ModalitySpec(PATH, "bag", self.wsi[0])]
        if self.fusion is not None and self.omic_input_dim is not None:
            specs.append(ModalitySpec(OMIC, "vector", self.omic_input_dim))
        return specs


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `MIL_{Sum,Attention,Cluster}_FC_surv` with these weights; None where `cls` names no such class.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    cls = config.get("cls")
    if cls not in ("MIL_Sum_FC_surv", "MIL_Attention_FC_surv", "MIL_Cluster_FC_surv"):
        return None
    net = _network(checked(SetMilConfig, config, cls))
    fill(net, state, published_parts(net), who=cls)
    return Official(net, SetMilAdapter())


def _network(config: SetMilConfig) -> BagNetwork:
    _, width, narrow = config.wsi
    values: dict[str, Any] = {"fusion": config.fusion or "none", "width": width, "hidden": narrow}
    specs, bins, cls = config.specs, config.n_classes, config.cls
    if cls == "MIL_Sum_FC_surv":
        return DeepsetsNetwork(specs, bins, checked(DeepsetsOptions, {**values, "pool": "sum"}, cls))
    values["attention_width"] = narrow
    if cls == "MIL_Attention_FC_surv":
        return AbmilNetwork(specs, bins, checked(AbmilOptions, {**values, "rho": True}, cls))
    options = checked(MifcnOptions, {**values, "clusters": config.num_clusters}, cls)
    return MifcnNetwork(specs, bins, options, GivenClusters(config.num_clusters))


def published_parts(net: BagNetwork) -> Parts:
    """Our parameter to the published ones that it is made of."""
    parts = linear_parts("rho.0", "rho.0") | linear_parts("head", "classifier")
    if isinstance(net, AttentionNetwork):
        parts |= linear_parts("embed.0", "attention_net.0") | gated_parts("pool", "attention_net.3")
    else:
        parts |= linear_parts("embed.0", "phi.0")
    if isinstance(net, MifcnNetwork):
        for layer in (f"phis.{c}.{i}" for c in range(len(net.phis)) for i in (0, 3)):
            parts |= linear_parts(layer, layer)
    if net.vectors:
        kind = "concat" if isinstance(net.fusion, ConcatFusion) else "bilinear"
        parts |= stack_parts("omic", "fc_omic", len(net.omic)) | fusion_parts(kind)[0]
    return parts


class GivenClusters(nn.Module):
    """The cluster of each instance as a modality of its own says it."""

    used: Tensor

    def __init__(self, clusters: int) -> None:
        super().__init__()
        self.register_buffer("used", torch.ones(clusters, dtype=torch.bool), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """(case, instance) int64, -1 where padded."""
        bag = batch.bags[CLUSTERS]
        return bag.values[..., 0].long().masked_fill(~bag.mask, -1)


class SetMilAdapter(Adapter):
    """x_path (instance, feature), x_omic (feature,) and cluster_id (instance,) of one patient, as far as given."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        bags = {PATH: as_bag(inputs[PATH])}
        if OMIC in inputs:
            bags[OMIC] = as_vector(inputs[OMIC])
        if CLUSTERS in inputs:
            bags[CLUSTERS] = as_bag(inputs[CLUSTERS].unsqueeze(-1))
        return Batch(("0",), bags)

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(BagNetwork, module), self(inputs)
        seen = {"output/logits": net(batch), "mid/rho": net.rho(net.pooled(batch))}
        if isinstance(net, AttentionNetwork):
            return {**seen, **gated_values(net.pool, "attention_net", net.attended(batch)[0])}
        return {**seen, "mid/rho": seen["mid/rho"][0]}  # the published sum leaves no axis of cases
