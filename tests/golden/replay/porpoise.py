"""Weights of mahmoodlab/PORPOISE (3390dc4) into these networks, so that both can be compared number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from fusionbench_porpoise.networks import PorpoiseNetwork
from fusionbench_porpoise.options import PorpoiseAmilOptions, PorpoiseOptions, PorpoiseSnnOptions
from fusionbench_unimodal import AbmilNetwork, SnnNetwork
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

Widths = tuple[Size, Size, Size]


class MmfConfig(PublishedConfig):
    """Of `PorpoiseMMF`; `wsi` holds the widths of a patch, of its embedding, and of both attention and bag."""

    fusion: Literal["bilinear", "concat"]
    omic_input_dim: Size
    n_classes: Size
    hidden: Size
    wsi: Widths
    gate_path: bool = True
    gate_omic: bool = True
    scale_dim1: Size = 8
    scale_dim2: Size = 8
    skip: bool = True
    dropinput: float = Field(0.10, ge=0, lt=1)
    use_mlp: bool = False

    @property
    def options(self) -> PorpoiseOptions:
        _, width, narrow = self.wsi
        bilinear = {
            "gate_bag": self.gate_path,
            "gate_vector": self.gate_omic,
            "scale_bag": self.scale_dim1,
            "scale_vector": self.scale_dim2,
            "skip": self.skip,
        }
        values = {
            "fusion": self.fusion,
            **(bilinear if self.fusion == "bilinear" else {}),
            "input_dropout": self.dropinput,
            "width": width,
            "attention_width": narrow,
            "bag_width": narrow,
            "vector_widths": (self.hidden, self.hidden),
            "fusion_width": self.hidden,
            "mlp": self.use_mlp,
        }
        return checked(PorpoiseOptions, values, "PorpoiseMMF")


class AmilConfig(PublishedConfig):
    """Of `PorpoiseAMIL`; `wsi` holds the widths of a patch, of its embedding and of the attention."""

    n_classes: Size
    wsi: Widths


class SnnConfig(PublishedConfig):
    """Of `SNN`."""

    omic_input_dim: Size
    hidden: tuple[Size, ...] = Field(min_length=1)
    n_classes: Size


class MmfAdapter(Adapter):
    """x_path (instance, feature) and x_omic (1, feature) of one patient."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        return Batch(("0",), {"path": as_bag(inputs["x_path"]), "omic": as_vector(inputs["x_omic"])})

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(PorpoiseNetwork, module), self(inputs)
        path, _ = net.path(batch.bags["path"])
        omic = net.omic(batch.bags["omic"].values[:, 0])
        inner = {"mid/rho": path, "mid/fc_omic": omic, "mid/mm": net.fusion(path, omic)}
        attention = gated_values(net.path.pool, "attention_net", net.path.embed(batch.bags["path"].values))
        return {"output/logits": net(batch), **inner, **attention}


class AmilAdapter(Adapter):
    """x_path (instance, feature) of one patient."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        return Batch(("0",), {"path": as_bag(inputs["x_path"])})

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(AbmilNetwork, module), self(inputs)
        instances, _ = net.attended(batch)
        return {
            "output/logits": net(batch),
            "output/attention_only_raw": net.pool.scores(instances),
            "output/slide_features": net.pooled(batch),
            **gated_values(net.pool, "attention_net", instances),
        }


class SnnAdapter(Adapter):
    """x_omic (case, feature)."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        bag = as_vector(inputs["x_omic"])
        return Batch(tuple(map(str, range(len(bag.values)))), {"omic": bag})

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(SnnNetwork, module), self(inputs)
        return {"output/logits": net(batch), "mid/fc_omic": net.blocks(batch.bags["omic"].values[:, 0])}


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `PorpoiseMMF`, `PorpoiseAMIL` or `SNN` with these weights; None where `cls` names no such class.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    loaders = {"PorpoiseMMF": _mmf, "PorpoiseAMIL": _amil, "SNN": _snn}
    loader = loaders.get(str(config.get("cls")))
    return None if loader is None else loader(config, state)


def _mmf(raw: Mapping[str, Any], state: State) -> Official:
    config = checked(MmfConfig, raw, "PorpoiseMMF")
    bag, omic = ModalitySpec("path", "bag", config.wsi[0]), ModalitySpec("omic", "vector", config.omic_input_dim)
    net = PorpoiseNetwork(bag, [omic], config.n_classes, config.options)
    fusion, unused = fusion_parts(config.fusion, (config.gate_path, config.gate_omic))
    first = 1 if config.dropinput else 0  # where there is an input dropout, it is the first of the published layers
    parts = _embed_and_pool("path.", first) | linear_parts("path.rho.0", "rho.0") | stack_parts("omic", "fc_omic", 2)
    fill(net, state, parts | fusion | linear_parts("head", "classifier_mm"), unused=unused, who="PorpoiseMMF")
    return Official(net, MmfAdapter())


def _amil(raw: Mapping[str, Any], state: State) -> Official:
    config = checked(AmilConfig, raw, "PorpoiseAMIL")
    dim, width, attention_width = config.wsi
    options = PorpoiseAmilOptions(width=width, attention_width=attention_width)
    net = AbmilNetwork([ModalitySpec("path", "bag", dim)], config.n_classes, options)
    fill(net, state, _embed_and_pool("", 0) | linear_parts("head", "classifier"), who="PorpoiseAMIL")
    return Official(net, AmilAdapter())


def _snn(raw: Mapping[str, Any], state: State) -> Official:
    config = checked(SnnConfig, raw, "SNN")
    spec = ModalitySpec("omic", "vector", config.omic_input_dim)
    net = SnnNetwork([spec], config.n_classes, PorpoiseSnnOptions(widths=config.hidden))
    parts = stack_parts("blocks", "fc_omic", len(config.hidden)) | linear_parts("head", "classifier")
    fill(net, state, parts, who="SNN")
    return Official(net, SnnAdapter())


def _embed_and_pool(ours: str, first: int) -> Parts:
    embed = linear_parts(f"{ours}embed.0", f"attention_net.{first}")
    return embed | gated_parts(f"{ours}pool", f"attention_net.{first + 3}")
