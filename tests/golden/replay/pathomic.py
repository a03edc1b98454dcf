"""Weights of mahmoodlab/PathomicFusion (44b5513) into our modules, compared number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from fusionbench_pathomic_fusion import PathomicNetwork, PathomicOptions
from fusionbench_pathomic_fusion.fusion import Branch, LinearGate, kronecker
from fusionbench_pathomic_fusion.network import VectorLayers, encoder
from fusionbench_unimodal.networks import SnnNetwork
from fusionbench_unimodal.options import SnnOptions
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from tests.golden.replay.official import (
    Adapter,
    Official,
    Parts,
    Penalty,
    PublishedConfig,
    Size,
    State,
    as_vector,
    bounds,
    checked,
    fill,
    linear_parts,
    stack_parts,
)

_HIDDEN = (64, 48, 32)
"""Widths of the published network on omic before its last."""


class NetConfig(PublishedConfig):
    """What all published classes are given."""

    input_size_omic: Size
    omic_dim: Size
    label_dim: Size
    act_type: Literal["none", "Sigmoid"]
    reg_type: Literal["none", "omic", "mm", "all"]
    lambda_reg: float

    @property
    def bounded(self) -> bool:
        return self.act_type == "Sigmoid"

    def penalty(self, state: State) -> Penalty | None:
        """The L1 term of the total loss; the constants of bounded outputs count, as published."""
        if self.reg_type == "none":
            return None
        # "mm" is meant for the fusion, whose layers it does not find: it is that of omic and the head.
        prefixes = {"omic": ("omic_net.",), "mm": ("omic_net.", "classifier."), "all": ("",)}[self.reg_type]
        names = {name for name in state if name.startswith(prefixes)}
        return Penalty(self.lambda_reg, frozenset(names))


class FusionConfig(NetConfig):
    """Of `PathomicNet` (two vectors) and `PathgraphomicNet` (three)."""

    fusion_type: Literal["pofusion", "pofusion_A", "pofusion_B"]
    path_dim: Size
    grph_dim: Size = 32
    mmhid: Size
    skip: bool
    use_bilinear: bool
    path_gate: bool
    grph_gate: bool
    omic_gate: bool
    path_scale: Size
    grph_scale: Size
    omic_scale: Size

    @property
    def options(self) -> PathomicOptions:
        return PathomicOptions(
            pairs="B" if self.fusion_type == "pofusion_B" else "A",
            gate="bilinear" if self.use_bilinear else "linear",
            gate_path=self.path_gate,
            gate_graph=self.grph_gate,
            gate_omic=self.omic_gate,
            scale_path=self.path_scale,
            scale_graph=self.grph_scale,
            scale_omic=self.omic_scale,
            skip=self.skip,
            path_width=self.path_dim,
            graph_width=self.grph_dim,
            omic_widths=(*_HIDDEN, self.omic_dim),
            fusion_width=self.mmhid,
            bounded=self.bounded,
        )


class FusionAdapter(Adapter):
    """x_path, x_grph (case, width) and x_omic (case, feature)."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        given = {"path": "x_path", "graph": "x_grph", "omic": "x_omic"}
        bags = {role: as_vector(inputs[name]) for role, name in given.items() if name in inputs}
        return Batch(tuple(map(str, range(len(bags["omic"].mask)))), bags)

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(PathomicNetwork, module), self(inputs)
        vectors = net.vectors(batch)
        product, fused = kronecker(net.fusion.reduced(vectors)), net.fusion(vectors)
        seen = {
            "output/logits": net(batch),
            "mid/omic_net": vectors["omic"],
            "mid/fusion.kronecker": product,
            "mid/fusion.encoder1": net.fusion.encode(product),
            "mid/classifier": net.head(fused),
            **dict.fromkeys(("mid/fusion", "mid/features"), fused),
        }
        for i, (role, branch) in enumerate(net.fusion.branches.items(), start=1):
            seen |= _of_branch(i, cast(Branch, branch), vectors[role], [vectors[r] for r in net.fusion.pairs[role]])
        return seen


def _of_branch(i: int, branch: Branch, vector: Tensor, pair: list[Tensor]) -> dict[str, Tensor]:
    seen = {f"mid/fusion.linear_o{i}": branch(vector, *pair)}
    if branch.value is not None and branch.gate is not None:
        seen |= {f"mid/fusion.linear_h{i}": branch.value(vector), f"mid/fusion.linear_z{i}": branch.gate(*pair)}
    return seen


class MaxNetAdapter(Adapter):
    """x_omic (case, feature)."""

    def __init__(self, bounded: bool) -> None:
        self.bounded = bounded

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        bag = as_vector(inputs["x_omic"])
        return Batch(tuple(map(str, range(len(bag.mask)))), {"omic": bag})

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(SnnNetwork, module), self(inputs)
        logits = net(batch)
        return {
            "output/logits": 6.0 * torch.sigmoid(logits) - 3.0 if self.bounded else logits,
            "mid/features": net.blocks(net.inputs(batch)),
        }


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `PathomicNet`, `PathgraphomicNet` or `MaxNet` with these weights; None for another class.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    cls = str(config.get("cls"))
    if cls == "MaxNet":
        return _maxnet(config, state)
    if cls not in ("PathomicNet", "PathgraphomicNet"):
        return None
    given = checked(FusionConfig, config, cls)
    options, widths = given.options, {"path": given.path_dim, "graph": given.grph_dim, "omic": given.omic_dim}
    if cls == "PathomicNet":
        widths.pop("graph")
    dims = {**widths, "omic": given.input_size_omic}
    found = {role: ModalitySpec(role, "vector", dim) for role, dim in dims.items()}
    # The path's and the graph's vectors are inputs of the published fusion.
    encoders = {role: VectorLayers(nn.Identity()) for role in found} | {"omic": encoder("omic", found["omic"], options)}
    net = PathomicNetwork(found, encoders, widths, given.label_dim, options)
    parts, unused = _fusion_parts(net)
    parts |= stack_parts("encode.omic.layers", "omic_net.encoder", len(options.omic_widths))
    parts |= linear_parts("head", "classifier.0")
    own_head = ("omic_net.classifier.0.weight", "omic_net.classifier.0.bias")  # used before the fusion alone
    fill(net, state, parts, unused=(*bounds(state), *own_head, *unused), who=cls)
    return Official(net, FusionAdapter().knowing(parts, given.penalty(state)))


def _fusion_parts(net: PathomicNetwork) -> tuple[Parts, list[str]]:
    """Our parameter to the published ones, and those of gates that are switched off."""
    parts = linear_parts("fusion.encode.0", "fusion.encoder1.0") | linear_parts("fusion.combine.0", "fusion.encoder2.0")
    unused = []
    for i, (role, branch) in enumerate(net.fusion.branches.items(), start=1):
        ours, theirs = f"fusion.branches.{role}", f"fusion.linear_{{}}{i}"
        parts |= linear_parts(f"{ours}.out.0", f"{theirs.format('o')}.0")
        gate = cast(Branch, branch).gate
        if gate is None:
            unused += [f"{theirs.format(x)}.{kind}" for x in "hz" for kind in ("weight", "bias", "0.weight", "0.bias")]
            continue
        parts |= linear_parts(f"{ours}.value.0", f"{theirs.format('h')}.0")
        linear = isinstance(gate, LinearGate)
        mine, other = (".linear", ".0") if linear else ("", "")
        parts |= linear_parts(f"{ours}.gate{mine}", f"{theirs.format('z')}{other}")
    return parts, unused


def _maxnet(config: Mapping[str, Any], state: State) -> Official:
    given = checked(NetConfig, config, "MaxNet")
    options = SnnOptions(widths=(*_HIDDEN, given.omic_dim), dropout_kind="alpha", head_scale=1.0)
    net = SnnNetwork([ModalitySpec("omic", "vector", given.input_size_omic)], given.label_dim, options)
    parts = stack_parts("blocks", "encoder", len(options.widths)) | linear_parts("head", "classifier.0")
    fill(net, state, parts, unused=bounds(state), who="MaxNet")
    return Official(net, MaxNetAdapter(given.bounded).knowing(parts, given.penalty(state)))
