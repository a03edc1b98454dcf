"""Weights of yaohungt/Multimodal-Transformer (a670936) into our modules, compared number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import torch
from fusionbench_mult import MultiHeadAttention, MultNetwork, MultOptions
from fusionbench_mult.blocks import Transformer, future_hidden, numbered, sinusoids
from pydantic import Field
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from tests.golden.replay.compare import Comparison, compare
from tests.golden.replay.official import (
    Adapter,
    Official,
    Parts,
    PublishedConfig,
    Size,
    State,
    as_bag,
    checked,
    fill,
    linear_parts,
)
from tests.golden.replay.reference import Reference

NAMES = ("l", "a", "v")


class MultConfig(PublishedConfig):
    """Of the published `MULTModel`, whose width was made `d`."""

    orig_dims: tuple[Size, Size, Size]
    d: Size
    output_dim: Size
    num_heads: Size
    layers: Size
    mem_layers: Size
    attn_mask: bool
    targets: Literal["lav", "l", "a", "v"]
    unused_parameters: tuple[str, ...] = Field(())

    @property
    def options(self) -> MultOptions:
        """All that is published, with what we have by default otherwise."""
        return MultOptions(
            width=self.d,
            heads=self.num_heads,
            layers=self.layers,
            memory_layers=self.mem_layers,
            target="" if self.targets == "lav" else self.targets,
            causal=self.attn_mask,
            bag_tokens=0,
            readout="last",
            order=True,
            zero_is_padding=True,
            equal_width_as_is=True,
        )


class MultAdapter(Adapter):
    """x_l, x_a, x_v (case, token, feature)."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        bags = {name: as_bag(inputs[f"x_{name}"][0]) for name in NAMES}
        for name, bag in bags.items():
            values = inputs[f"x_{name}"]
            bags[name] = type(bag)(values, torch.ones(values.shape[:2], dtype=torch.bool))
        return Batch(tuple(map(str, range(len(inputs["x_l"])))), bags)

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(MultNetwork, module), self(inputs)
        tokens = net.tokens(batch)
        summary = net.summary(tokens)
        seen = {"output/logits": net(batch), "mid/last_hs": summary, "mid/proj1": net.first(summary)}
        seen |= {f"mid/proj_{name}": tokens[name].values.transpose(1, 2) for name in NAMES}
        for i, target in enumerate(net.targets):
            reads = dict(zip(net._sources(target), net.reads(i, tokens), strict=True))
            both = torch.cat([read.tokens for read in reads.values()], dim=-1)
            memory, looked = net.memory[i](both, tokens[target].mask)
            found = {f"trans_{target}_with_{source}": tuple(read) for source, read in reads.items()}
            for name, (x, weights) in {**found, f"trans_{target}_mem": (memory, looked)}.items():
                seen[f"mid/{name}"] = x.transpose(0, 1)
                seen |= {f"attn/{name}.layers.{j}": w.mean(dim=1) for j, w in enumerate(weights)}
        return seen


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `MULTModel` with these weights; None where `cls` names another class.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    if config.get("cls") != "MULTModel":
        return None
    given = checked(MultConfig, config, "MULTModel")
    specs = [ModalitySpec(name, "bag", dim) for name, dim in zip(NAMES, given.orig_dims, strict=True)]
    net = MultNetwork(specs, given.output_dim, given.options)
    # A convolution over one position is a linear map; its weights have one axis more.
    flat = {name: x[..., 0] if name.startswith("proj_") else x for name, x in state.items()}
    parts = published_parts(net)
    used = {name for theirs in parts.values() for name in theirs}
    unused = [name for name in state if name not in used and name.startswith(given.unused_parameters)]
    fill(net, flat, parts, unused=unused if given.unused_parameters else (), who="MULTModel")
    return Official(net, MultAdapter().knowing(parts))


def published_parts(net: MultNetwork) -> Parts:
    """Our parameter to the published ones."""
    parts = linear_parts("first", "proj1") | linear_parts("second", "proj2") | linear_parts("head", "out_layer")
    for i, name in enumerate(NAMES):
        if list(net.embed[i].parameters()):
            parts[f"embed.{i}.project.weight"] = (f"proj_{name}.weight",)
    for i, target in enumerate(net.targets):
        for j, source in enumerate(net._sources(target)):
            parts |= _transformer(f"read.{i}.{j}", f"trans_{target}_with_{source}", net.read[i][j])
        parts |= _transformer(f"memory.{i}", f"trans_{target}_mem", net.memory[i])
    return parts


def _transformer(ours: str, theirs: str, network: nn.Module) -> Parts:
    parts = linear_parts(f"{ours}.norm", f"{theirs}.layer_norm")
    for j in range(len(cast(Transformer, network).layers)):
        mine, other = f"{ours}.layers.{j}", f"{theirs}.layers.{j}"
        parts |= linear_parts(f"{mine}.expand", f"{other}.fc1") | linear_parts(f"{mine}.contract", f"{other}.fc2")
        for k in (0, 1):
            parts |= linear_parts(f"{mine}.norms.{k}", f"{other}.layer_norms.{k}")
        parts |= _attention(f"{mine}.attend.", f"{other}.self_attn.")
    return parts


def _attention(ours: str, theirs: str) -> Parts:
    stacked: Parts = {f"{ours}project.{kind}": (f"{theirs}in_proj_{kind}",) for kind in ("weight", "bias")}
    return stacked | linear_parts(f"{ours}out", f"{theirs}out_proj")


def pieces(file: Reference) -> Iterator[tuple[str, Comparison]]:
    """Tables of sinusoids, the mask of the future, and one attention, as the program computes them by themselves."""
    first = torch.tensor(file.arrays["input/x_first"]).unsqueeze(-1)
    everywhere = torch.ones(first.shape[:2], dtype=torch.bool)
    for name, theirs in file.arrays.items():
        kind, _, size = name.removeprefix("output/").partition("_")
        if kind == "table":
            number = torch.arange(len(theirs), dtype=torch.float64)
            yield name, compare(name, sinusoids(number, int(size)), theirs)
        elif kind == "positions":
            yield name, compare(name, sinusoids(numbered(first, everywhere, True), int(size)), theirs)
        elif kind == "allowed":
            yield name, compare(name, _allowed(*map(int, size.split("x"))), theirs)
    yield from _attentions(file)


def _allowed(target: int, source: int) -> Tensor:
    return future_hidden(*(torch.ones(1, n, dtype=torch.bool) for n in (target, source)))[0]


def _attentions(file: Reference) -> Iterator[tuple[str, Comparison]]:
    given = {name: torch.tensor(x) for name, x in file.under("input/").items()}
    query, key, value = (given[name].transpose(0, 1) for name in ("query", "key", "value"))
    attend = MultiHeadAttention(query.shape[-1], file.config["num_heads"])
    weights = [name for names in _attention("", "").values() for name in names]
    fill(attend, {name: file.arrays[f"input/{name}"] for name in weights}, _attention("", ""), who="the attention")
    for kind, seen in (
        ("mha", torch.ones(1, 1, 1).bool()),
        ("mha_masked", _allowed(query.shape[1], key.shape[1])[None]),
    ):
        mixed, looked = attend(query, key, value, seen)
        for name, ours in ((f"output/{kind}", mixed.transpose(0, 1)), (f"output/{kind}_weights", looked.mean(dim=1))):
            yield name, compare(name, ours, file.arrays[name])
