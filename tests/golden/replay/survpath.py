"""Weights of mahmoodlab/SurvPath (3f73ddd) into this network, so that both can be compared number by number."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from typing import Any, Literal, cast

import numpy as np
import torch
from fusionbench_survpath import SurvPathNetwork, SurvPathOptions
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from fusionbench import Bag, Batch, ModalitySpec
from fusionbench.core.protocol import TrainRecipe
from fusionbench.execution.training.optimizers import optimizer, rate_factor
from tests.golden.replay.compare import Comparison, compare
from tests.golden.replay.official import (
    Adapter,
    Official,
    Parts,
    PublishedConfig,
    Size,
    State,
    as_vector,
    checked,
    fill,
    linear_parts,
    stack_parts,
)
from tests.golden.replay.reference import Reference

_PATH = re.compile(r"output/radam_(?P<case>\w+)_path")
_RATES = re.compile(r"output/lr_w(?P<warm>\d+)_t(?P<steps>\d+)_base(?P<base>[\d.e-]+)")


class SurvPathConfig(PublishedConfig):
    """Of the published `SurvPath`."""

    omic_sizes: tuple[Size, ...] = Field(min_length=1)
    wsi_embedding_dim: Size
    wsi_projection_dim: Size
    num_classes: Size
    heads: Literal[1]


class SurvPathAdapter(Adapter):
    """x_path (case, patch, feature) and x_omic1, x_omic2, ... (feature,) of one patient, (case, feature) of more."""

    def __init__(self, groups: int) -> None:
        self.names = [f"x_omic{i + 1}" for i in range(groups)]

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        path = inputs["x_path"]
        omic = torch.cat([inputs[name].reshape(len(path), -1) for name in self.names], dim=1)
        bags = {"path": Bag(path, torch.ones(path.shape[:2], dtype=torch.bool)), "omic": as_vector(omic)}
        return Batch(tuple(map(str, range(len(path)))), bags)

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(SurvPathNetwork, module), self(inputs)
        tokens, scores = net.tokens(batch), net.scores(batch)
        both = torch.cat([tokens.pathways, tokens.patches], dim=1)
        seen = torch.cat(net.attend(*tokens)[:2], dim=1)
        fed, summary = net.feed(seen), net.summary(tokens)
        maps = {"attn_pathways": scores.among, "cross_attn_pathways": scores.patches}
        maps["cross_attn_histology"] = scores.pathways
        return {
            "output/logits": net(batch),
            **{f"output/{name}": _squeezed(scores) for name, scores in maps.items()},
            **{f"mid/sig_networks.{g}": tokens.pathways[:, g] for g in range(len(self.names))},
            "mid/wsi_projection_net": tokens.patches,
            "mid/identity": both,
            "mid/cross_attender.norm": net.attend.norm(both),
            "mid/cross_attender": seen,
            "mid/feed_forward.norm": net.feed[0](seen),
            "mid/feed_forward": fed,
            "mid/layer_norm": net.norm(fed),
            "mid/embedding": summary,
            "mid/to_logits": net.head(net.hidden(summary).relu()),
        }


def _squeezed(scores: Tensor) -> Tensor:
    """As published, which takes one patient: axes of length 1 are gone; those of several patients are stacked."""
    each = [one.squeeze() for one in scores]
    return torch.stack(each) if len(each) > 1 else each[0]


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `SurvPath` with these weights; None where `cls` names another class.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    if config.get("cls") != "SurvPath":
        return None
    given = checked(SurvPathConfig, config, "SurvPath")
    bounds = list(accumulate(given.omic_sizes, initial=0))
    groups = {str(i): tuple(range(*ends)) for i, ends in enumerate(pairwise(bounds))}
    specs = ModalitySpec("path", "bag", given.wsi_embedding_dim), [ModalitySpec("omic", "vector", bounds[-1], groups)]
    width = given.wsi_projection_dim
    options = checked(SurvPathOptions, {"group_widths": (width, width)}, "SurvPath")
    net, parts = SurvPathNetwork(*specs, given.num_classes, options), published_parts(len(groups))
    fill(net, state, parts, who="SurvPath")
    return Official(net, SurvPathAdapter(len(groups)).knowing(parts))


def published_parts(groups: int) -> Parts:
    """Our parameter to the published ones."""
    parts: Parts = {"attend.project.weight": ("cross_attender.attn.to_qkv.weight",)}
    for g in range(groups):
        parts |= stack_parts(f"encode_groups.networks.{g}", f"sig_networks.{g}", 2)
    names = {"embed": "wsi_projection_net.0", "attend.norm": "cross_attender.norm", "feed.0": "feed_forward.norm"}
    names |= {"feed.1": "feed_forward.net.0", "feed.4": "feed_forward.net.3", "norm": "layer_norm"}
    names |= {"hidden": "to_logits.0", "head": "to_logits.2"}
    for ours, theirs in names.items():
        parts |= linear_parts(ours, theirs)
    return parts


def pieces(file: Reference) -> Iterator[tuple[str, Comparison]]:
    """Steps of the optimiser, rates of the schedule, and the scale of expression values."""
    for name, theirs in file.arrays.items():
        if found := _PATH.fullmatch(name):
            yield name, compare(name, _steps(file, file.config["radam"][found["case"]]), theirs)
        elif found := _RATES.fullmatch(name):
            steps = int(found["steps"])
            recipe = TrainRecipe(schedule="cosine", epochs=steps, warmup=int(found["warm"]))
            factors = [rate_factor(step, recipe=recipe, steps=steps) for step in range(steps)]
            yield name, compare(name, float(found["base"]) * np.array(factors), theirs)
        elif name.startswith("output/rna_"):
            values = file.arrays[f"input/{name.removeprefix('output/').removesuffix('_scaled')}"]
            yield name, compare(name, _scaled_together(values, file.arrays["input/rna_train"]), theirs)


def _steps(file: Reference, settings: Mapping[str, float]) -> Tensor:
    """The parameter after each step under the given gradients."""
    parameter = nn.Parameter(torch.tensor(file.arrays["input/radam_start"]))
    made = optimizer([parameter], TrainRecipe(optimizer="radamw", lr=settings["lr"], weight_decay=settings["wd"]))
    path = []
    for gradient in torch.tensor(file.arrays["input/radam_grads"]):
        parameter.grad = gradient.clone()
        made.step()
        path.append(parameter.detach().clone())
    return torch.stack(path)


def _scaled_together(values: NDArray[Any], train: NDArray[Any]) -> NDArray[Any]:
    """(case, gene) to [-1, 1] by one minimum and one maximum, of all genes and training cases; others may lie outside.

    A value that is exactly 0 stays 0: as published, where it is meant for a missing one. Without it, nothing tells
    genes apart in scale, unlike the standardised columns of a suite.
    """
    low, high = train.min(), train.max()
    return np.asarray(np.where(values == 0, 0.0, 2.0 * (values - low) / (high - low) - 1.0))
