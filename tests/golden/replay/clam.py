"""Weights of mahmoodlab/CLAM (53e2409) into our modules, and the smooth SVM loss, compared number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from fusionbench_clam import ClamNetwork, ClamOptions
from fusionbench_clam.instances import InstanceLoss, smooth_svm
from torch import Tensor, nn

from fusionbench import Bag, Batch, ModalitySpec, SurvivalTargets
from fusionbench.nn import masked_softmax
from fusionbench.survival import discrete_hazard_nll
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
    gated_parts,
    linear_parts,
)
from tests.golden.replay.reference import Reference

PATH = "x_path"


class ClamConfig(PublishedConfig):
    """Constructor arguments, the widths, and what the losses were made of."""

    cls: Literal["CLAM_SB", "CLAM_MB"]
    gate: bool
    k_sample: Size
    n_classes: Size
    subtyping: bool
    instance_loss: Literal["ce", "svm"]
    bag_weight: float
    embed_dim: Size
    hidden_dim: Size
    attention_dim: Size

    @property
    def options(self) -> ClamOptions:
        values = {
            "branches": "one" if self.cls == "CLAM_SB" else "output",
            "gated": self.gate,
            "width": self.hidden_dim,
            "attention_width": self.attention_dim,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            "instance": "label",
            "instances": self.k_sample,
            "instance_loss": self.instance_loss,
            "subtyping": self.subtyping,
            "bag_weight": self.bag_weight,
            "count_censored": True,
            "overlap": True,
        }
        return checked(ClamOptions, values, self.cls)


class ClamAdapter(Adapter):
    """x_path (instance, feature) of one patient; or of several (case, instance, feature) with `mask`."""

    def __init__(self, config: ClamConfig) -> None:
        self.config = config

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        values = inputs[PATH]
        bag = Bag(values, inputs["mask"]) if values.ndim == 3 else as_bag(values)
        return Batch(tuple(map(str, range(len(bag.mask)))), {PATH: bag})

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(ClamNetwork, module), self(inputs)
        instances, scores = net.scored(batch)
        by_branch = scores.transpose(1, 2)
        weights = masked_softmax(by_branch, batch.bags[PATH].mask.unsqueeze(1))
        logits, features = cast(Tensor, net(batch)), net.pooled(batch)
        of_one = inputs[PATH].ndim == 2
        seen = {
            "output/logits": logits,
            "output/Y_prob": logits.softmax(dim=1),
            "output/attention": weights[0] if of_one else weights,
            "output/features": features[0] if of_one else features,
        }
        if not of_one:
            return seen
        labels, predicted = _rows(cast(InstanceLoss, net.instance), instances, scores, batch, int(inputs["target/y"]))
        return seen | {
            "output/A_raw": by_branch[0],
            "output/inst_labels": labels,
            "output/inst_preds": predicted,
            "mid/attention_net.3_scores": scores[0],
            "mid/attention_net.3_embedding": instances[0],
        }

    def losses(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Each of the mean over the file's patients, and `_persample`; the totals are as the module weighs them."""
        net, batch = cast(ClamNetwork, module), self(inputs)
        bins, event = inputs["target/y"], inputs["target/c"] == 0
        told = replace(batch, targets=SurvivalTargets(bins.double(), event, bins))
        out = net.train()(told)  # without dropout; only then is the loss on instances taken
        net.eval()
        instances, scores = net.scored(batch)
        each = {
            "ce": nn.functional.cross_entropy(out.logits, bins, reduction="none"),
            **{f"nll_a{a}": discrete_hazard_nll(out.logits, bins, event, alpha=a) for a in (0.0, 0.5)},
            "instance": out.losses["instance"],
            "instance_event": cast(InstanceLoss, net.instance)(instances, scores, batch.bags[PATH].mask, event.long()),
        }
        for name in ("ce", "nll_a0.0"):
            each[f"total_{name}"] = out.weights["loss"] * each[name] + out.weights["instance"] * each["instance"]
        return {f"loss/{n}": x.mean() for n, x in each.items()} | {f"loss/{n}_persample": x for n, x in each.items()}


def _rows(loss: InstanceLoss, instances: Tensor, scores: Tensor, batch: Batch, own: int) -> tuple[Tensor, Tensor]:
    """Targets and predictions of the instance heads, class by class: those looked at most, then those least."""
    chosen = loss.chosen(instances, scores, batch.bags[PATH].mask)
    most, least = chosen.most[0].argmax(dim=-1), chosen.least[0].argmax(dim=-1)
    labels, predicted = [], []
    for k in range(loss.classes):
        if k == own:
            labels += [torch.ones(len(most)), torch.zeros(len(least))]
            predicted += [most[:, k], least[:, k]]
        elif loss.options.subtyping:
            labels.append(torch.zeros(len(most)))
            predicted.append(most[:, k])
    return torch.cat(labels), torch.cat(predicted)


def published_parts(config: ClamConfig, state: State) -> Parts:
    """Our parameter to the published ones that it is made of; dropout, where there is one, shifts their numbers."""
    parts = linear_parts("embed.0", "attention_net.0")
    attention = "attention_net.3" if any(name.startswith("attention_net.3.") for name in state) else "attention_net.2"
    if config.gate:
        parts |= gated_parts("pool", attention)
    else:
        score = next((n for n in ("3", "2") if f"{attention}.module.{n}.weight" in state), "3")
        parts |= linear_parts("pool.project", f"{attention}.module.0")
        parts |= linear_parts("pool.score", f"{attention}.module.{score}")
    each = range(config.n_classes)
    heads = ["classifiers"] if config.cls == "CLAM_SB" else [f"classifiers.{k}" for k in each]
    return (
        parts
        | linear_parts("head", *heads)
        | linear_parts("instance.heads", *(f"instance_classifiers.{k}" for k in each))
    )


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `CLAM_SB` or `CLAM_MB` with these weights; None where `cls` names neither.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    cls = config.get("cls")
    if cls not in ("CLAM_SB", "CLAM_MB"):
        return None
    given = checked(ClamConfig, config, cls)
    net = ClamNetwork(
        [ModalitySpec(PATH, "bag", given.embed_dim)], given.n_classes, given.options, classes=given.n_classes
    )
    parts = published_parts(given, state)
    fill(net, state, parts, unused=("instance_loss_fn.labels",), who=cls)
    return Official(net, ClamAdapter(given).knowing(parts))


def pieces(file: Reference) -> Iterator[tuple[str, Comparison]]:
    """The smooth SVM loss of `svm_<name>_x` and `_y`: row by row, its mean, and the mean's gradient."""
    for given in [name for name in file.arrays if name.startswith("input/svm_") and name.endswith("_x")]:
        x = torch.tensor(file.arrays[given]).requires_grad_()
        loss = smooth_svm(x, torch.tensor(file.arrays[given.removesuffix("x") + "y"]))
        (gradient,) = torch.autograd.grad(loss.mean(), x)
        name = given.replace("input/", "output/").removesuffix("x")
        for what, value in (("persample", loss), ("mean", loss.mean()), ("grad", gradient)):
            yield name + what, compare(name + what, value, file.arrays[name + what])
