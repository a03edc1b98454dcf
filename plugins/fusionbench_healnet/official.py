"""Weights of konst-int-i/healnet (90459b6) into this module, so that both can be compared number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from numpy.typing import ArrayLike

from fusionbench import ModalitySpec, PluginError
from fusionbench_healnet.network import HealNet
from fusionbench_healnet.options import HealnetOptions


def official_options(kwargs: Mapping[str, Any]) -> HealnetOptions:
    """The repository's constructor arguments in our words."""
    attends_itself = bool(kwargs["self_per_cross_attn"])
    return HealnetOptions(
        preset="official",
        layers=kwargs["depth"],
        latents=kwargs["l_c"],
        latent_dim=kwargs["l_d"],
        heads=kwargs["x_heads"],
        head_dim=kwargs["cross_dim_head"],
        self_heads=kwargs["l_heads"] if attends_itself else None,
        self_head_dim=kwargs["latent_dim_head"] if attends_itself else None,
        attention_dropout=kwargs["attn_dropout"],
        feedforward_dropout=kwargs["ff_dropout"],
        positions="all" if kwargs["fourier_encode_data"] else "none",
        bands=kwargs["num_freq_bands"],
        max_frequency=kwargs["max_freq"],
        self_attention=attends_itself,
        activation="selu" if kwargs["snn"] else "gelu",
        sharing="official-tied" if kwargs["weight_tie_layers"] else "none",
    )


def load_official(config: Mapping[str, Any], state: Mapping[str, ArrayLike]) -> HealNet:
    """A HealNet that computes what the repository's module with these weights computes.

    A modality of one axis becomes a bag whose instances are that axis; of more axes, a grid (row-major instances).

    Args:
        config: `kwargs`, the repository's constructor arguments, and `modalities`, a name for each of its inputs.
        state: its state dict, every name as it is there.

    Raises:
        PluginError: if a weight is absent, left over or of another shape.
    """
    kwargs = config["kwargs"]
    shapes = zip(config["modalities"], kwargs["channel_dims"], kwargs["num_spatial_axes"], strict=True)
    specs = [ModalitySpec(name, "grid" if axes > 1 else "bag", dim, axes=axes) for name, dim, axes in shapes]
    net = HealNet(specs, kwargs["out_dims"], official_options(kwargs))
    names = dict(official_names(net))
    if absent := sorted(set(names.values()) - set(state)):
        raise PluginError(f"the official state lacks {absent[0]!r} ({len(absent)} absent)")
    if unknown := sorted(set(state) - set(names.values()) - _aliases(net)):
        raise PluginError(f"the official state has {unknown[0]!r}, which nothing here stands for ({len(unknown)} such)")
    try:
        net.load_state_dict({ours: torch.as_tensor(state[theirs]) for ours, theirs in names.items()})
    except RuntimeError as error:
        raise PluginError(
            f"the official state does not fit the config: {str(error).splitlines()[-1].strip()}"
        ) from error
    return net


def official_names(net: HealNet) -> Iterator[tuple[str, str]]:
    """(our parameter, the repository's parameter) for every parameter of `net`."""
    yield "latents", "latents"
    for i, layer in enumerate(net.layers):
        own = 2 * len(net.names)
        for m in range(len(net.names)):
            yield from _attention(f"layers.{i}.cross.{m}", f"layers.{i}.{2 * m}", context=True)
        for m in range(len(layer.feed)):  # type: ignore[arg-type]
            yield from _feed(f"layers.{i}.feed.{m}", f"layers.{i}.{2 * m + 1}")
        if layer.own is not None:
            yield from _attention(f"layers.{i}.own.attention", f"layers.{i}.{own}.0", context=False)
            yield from _feed(f"layers.{i}.own.feed", f"layers.{i}.{own}.1")
    yield from _both("norm", "to_logits.1")
    yield from _both("head", "to_logits.2")


def _aliases(net: HealNet) -> set[str]:
    """The further names under which the repository's state repeats tied weights."""
    if len(net.layers) == net.depth and all(len(layer.feed) == len(net.names) for layer in net.layers):  # type: ignore[arg-type]
        return set()
    tied = [name for _, name in official_names(net) if name.startswith("layers.1.")]
    feeds = {name.replace("layers.1.1.", f"layers.1.{2 * m + 1}.") for name in tied for m in range(len(net.names))}
    return {name.replace("layers.1.", f"layers.{i}.", 1) for name in {*tied, *feeds} for i in range(1, net.depth)}


def _both(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for kind in ("weight", "bias"):
        yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _attention(ours: str, theirs: str, *, context: bool) -> Iterator[tuple[str, str]]:
    yield from _both(f"{ours}.norm", f"{theirs}.norm")
    if context:
        yield from _both(f"{ours}.norm_tokens", f"{theirs}.norm_context")
    yield f"{ours}.query.weight", f"{theirs}.fn.to_q.weight"
    yield f"{ours}.key_value.weight", f"{theirs}.fn.to_kv.weight"
    yield from _both(f"{ours}.out.linear", f"{theirs}.fn.to_out.0")


def _feed(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield from _both(f"{ours}.norm", f"{theirs}.norm")
    yield from _both(f"{ours}.expand", f"{theirs}.fn.net.0")
    yield from _both(f"{ours}.contract", f"{theirs}.fn.net.2")
