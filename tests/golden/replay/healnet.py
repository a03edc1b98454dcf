"""Weights of konst-int-i/healnet (90459b6) into this module, so that both can be compared number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from fusionbench_healnet.attention import Attention
from fusionbench_healnet.network import HealNet
from fusionbench_healnet.options import HealnetOptions
from torch import Tensor, nn

from fusionbench import Bag, Batch, ModalitySpec, PluginError
from fusionbench.survival import discrete_hazard_nll
from tests.golden.replay.official import Adapter, Official, State, fill

_ARGUMENTS = {"l_c", "l_d", "depth", "channel_dims", "num_spatial_axes"}
_ALPHA, _CLAMP, _L1 = 0.4, 1e-7, 1e-4  # of the loss whose gradients reference files hold


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """A HealNet that computes what the repository's module with these weights computes, or None for another config.

    A modality of one axis becomes a bag whose instances are that axis; of more axes, a grid (row-major instances).

    Args:
        config: `kwargs`, the repository's constructor arguments; `modalities`, a name for each of its inputs; and
            `present`, whether each was given (all where it is absent).
        state: its state dict, every name as it is there.

    Raises:
        PluginError: if a weight is missing, left over or of another shape; all are named.
    """
    kwargs = config.get("kwargs")
    if not isinstance(kwargs, Mapping) or not set(kwargs) >= _ARGUMENTS:
        return None
    _refuse_what_is_not_reproduced(config)
    shapes = zip(config["modalities"], kwargs["channel_dims"], kwargs["num_spatial_axes"], strict=True)
    specs = [ModalitySpec(name, "grid" if axes > 1 else "bag", dim, axes=axes) for name, dim, axes in shapes]
    net = HealNet(specs, kwargs["out_dims"], official_options(kwargs))
    if not kwargs.get("final_classifier_head", True):
        net.norm = net.head = nn.Identity()  # type: ignore[assignment]
    names = dict(official_names(net))
    aliases = _aliases(net)
    fill(net, state, {ours: [theirs] for ours, theirs in names.items()}, unused=aliases, who="healnet")
    _check_ties(state, aliases)
    return Official(net, HealNetAdapter(config))


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


def _refuse_what_is_not_reproduced(config: Mapping[str, Any]) -> None:
    """Raises PluginError where the repository's answer depends on an exception that it swallows."""
    absent = not all(config.get("present", [True]))
    if absent and config["kwargs"]["self_per_cross_attn"] and not config.get("verbose", True):
        raise PluginError(
            "healnet: made with verbose=false, self-attention and a missing modality: the repository swallows an "
            "exception there and still applies the self-attention of the step it skips, which is not reproduced; "
            "export with verbose=true"
        )


class HealNetAdapter(Adapter):
    """The repository's list of arrays (case, axes..., channel) as a Batch, and everything a reference file may hold."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        kwargs = config["kwargs"]
        self.names = tuple(config["modalities"])
        self.dims = dict(zip(self.names, kwargs["channel_dims"], strict=True))
        self.axes = dict(zip(self.names, kwargs["num_spatial_axes"], strict=True))
        self.present = dict(zip(self.names, config.get("present", [True] * len(self.names)), strict=True))
        self.headless = not kwargs.get("final_classifier_head", True)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        """`inputs` may hold `mask` (case, token), True = keep, which the repository applies to every modality."""
        cases, dtype = next((len(inputs[n]), inputs[n].dtype) for n in self.names if self.present[n])
        mask = inputs.get("mask")
        bags = {}
        for name in self.names:
            if self.present[name]:
                bags[name] = self._bag(name, inputs[name], mask)
            else:
                nothing = torch.zeros(cases, 1, self.dims[name], dtype=dtype)
                bags[name] = Bag(nothing, torch.zeros(cases, 1, dtype=torch.bool))
        return Batch(tuple(map(str, range(cases))), bags)

    def _bag(self, name: str, values: Tensor, mask: Tensor | None) -> Bag:
        axes = values.shape[1:-1]
        if len(axes) != self.axes[name]:
            raise PluginError(f"healnet: {name!r} has {len(axes)} axes, the config says {self.axes[name]}")
        tokens = values.flatten(1, -2)
        real = torch.ones(tokens.shape[:2], dtype=torch.bool) if mask is None else mask
        if real.shape != tokens.shape[:2]:
            raise PluginError(
                f"healnet: the mask has {real.shape[1]} tokens, {name!r} has {tokens.shape[1]}; the repository drops "
                "that modality without a word, which is not reproduced"
            )
        # where a token stands does not depend on the mask there, so positions are given
        index = torch.meshgrid(*(torch.arange(n, dtype=values.dtype) for n in axes), indexing="ij")
        coords = torch.stack(index, dim=-1).flatten(0, -2).expand(len(tokens), -1, -1)
        return Bag(tokens, real, coords, torch.tensor([tuple(axes)] * len(tokens)))

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Logits, latents, each call's attention (case x head, latent, token), and the loss with its gradients."""
        net, batch = cast(HealNet, module), self(inputs)
        seen: list[Tensor] = []
        hooks = [
            part.register_forward_hook(lambda module, given, _result: seen.append(module.weights(*given)))
            for part in net.modules()
            if isinstance(part, Attention)
        ]
        try:
            latents = net.encode(batch)
        finally:
            for hook in hooks:
                hook.remove()
        logits = net.head(net.norm(latents.mean(dim=1)))
        values = {"output/logits": logits, "output": latents if self.headless else logits, "embedding": latents}
        values |= {f"attn/{call}": weights.flatten(0, 1) for call, weights in zip(self._calls(net), seen, strict=True)}
        if {"target/y_disc", "target/censorship", "target/class_weights"} <= set(inputs):
            values |= _loss_and_gradients(net, logits, inputs)
        return values

    def _calls(self, net: HealNet) -> Iterator[str]:
        """`<call>/<module>` of each attention in the order of the forward pass."""
        call = 0
        for i in range(net.depth):
            shown = min(i, len(net.layers) - 1)
            for m, name in enumerate(self.names):
                own = [f"layers.{shown}.{2 * len(self.names)}.0.fn"] if net.layers[shown].own is not None else []
                for module in [f"layers.{shown}.{2 * m}.fn", *own] if self.present[name] else []:
                    yield f"{call:02d}/{module}"
                    call += 1


def _loss_and_gradients(net: HealNet, logits: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The repository's weighted NLL with L1 over all parameters, and its gradients by their published names."""
    weights = inputs["target/class_weights"].to(logits)
    nll = discrete_hazard_nll(
        logits,
        inputs["target/y_disc"],
        inputs["target/censorship"] == 0,
        alpha=_ALPHA,
        clamp=_CLAMP,
        weights=weights / weights.sum(),
        weight_on="likelihood",
    )
    parameters = dict(net.named_parameters())
    loss = nll.mean() + _L1 * torch.stack([p.abs().sum() for p in parameters.values()]).sum()
    found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
    names = dict(official_names(net))
    return {"loss": loss} | {f"grad/{names[ours]}": g for ours, g in zip(parameters, found, strict=True)}


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
    if isinstance(net.head, nn.Linear):
        yield from _both("norm", "to_logits.1")
        yield from _both("head", "to_logits.2")


def _aliases(net: HealNet) -> dict[str, str]:
    """The further names under which the repository's state repeats tied weights, and what each one repeats."""
    if len(net.layers) == net.depth and all(len(layer.feed) == len(net.names) for layer in net.layers):  # type: ignore[arg-type]
        return {}
    found: dict[str, str] = {}
    for _, name in official_names(net):
        if name.startswith("layers.1."):
            # one feed-forward stands behind all modalities there
            feeds = {name.replace("layers.1.1.", f"layers.1.{2 * m + 1}.") for m in range(len(net.names))}
            copies = {n.replace("layers.1.", f"layers.{i}.", 1) for n in feeds for i in range(1, net.depth)}
            found |= dict.fromkeys(copies - {name}, name)
    return found


def _check_ties(state: State, aliases: Mapping[str, str]) -> None:
    """Raises PluginError where the two names of one tied weight hold different numbers."""
    unequal = [a for a, name in aliases.items() if a in state and not np.array_equal(state[a], state[name])]
    if unequal:
        raise PluginError(f"healnet: tied weights differ: {', '.join(f'{a!r} from {aliases[a]!r}' for a in unequal)}")


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
