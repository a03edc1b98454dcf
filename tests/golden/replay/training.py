"""Losses of reference files, and their gradients by inputs and by published parameters.

A file names its losses: `loss/nll_a<alpha>` (hazards; the mean over cases, `_persample` of each case), `loss/cox`,
`loss/l1_sum` (the sum of absolute errors), and what else the adapter observes. The gradients `loss_grad/*` are those of
the last; where the file has an L1 penalty, `loss/l1`, of `loss/total`. `lossgrad/<loss>/*` names its loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fusionbench.survival import cox_partial_likelihood, discrete_hazard_nll
from tests.golden.replay.official import Official, Penalty
from tests.golden.replay.reference import Reference

if TYPE_CHECKING:
    from numpy.typing import NDArray


def losses(
    ours: Mapping[str, Any], inputs: Mapping[str, Tensor], official: Official, file: Reference
) -> dict[str, Any]:
    """What follows from our outputs and the file's targets, under the file's names; empty where it holds no loss.

    Args:
        ours: our outputs; a bounded one is what a regression loss is taken of.
        inputs: what the module was given, and the targets.
    """
    if own := official.adapter.losses(official.module, inputs):
        return _own(own, inputs, official, file)
    names = [n for n in file.arrays if n.startswith(("loss/nll_a", "loss/cox", "loss/l1_sum"))]
    if not names:
        return {}
    found: dict[str, Any] = {n: _loss(n.removeprefix("loss/"), ours, inputs) for n in names if n not in ours}
    named = {**ours, **found}
    main = named[names[-1]]
    if official.adapter.penalty is not None:
        found["loss/l1"] = sum(float(np.abs(file.arrays[f"param/{n}"]).sum()) for n in official.adapter.penalty.names)
        found["loss/total"] = main + official.adapter.penalty.weight * found["loss/l1"]
    elif "loss/total" in file.arrays:
        found |= {"loss/l1": 0.0, "loss/total": main}
    if any(name.startswith("loss_grad/") for name in file.arrays):
        found |= _by_inputs(main, inputs, "loss_grad/") | dict(_by_parameters(main, official, file, "loss_grad/param/"))
    for name in {name.split("/input/")[0].split("/param/")[0] for name in file.arrays if name.startswith("lossgrad/")}:
        loss = named.get(f"loss/{name.removeprefix('lossgrad/')}")
        if loss is not None:
            found |= _by_inputs(loss, inputs, f"{name}/input/")
            found |= dict(_by_parameters(loss, official, file, f"{name}/param/"))
    return found


def _own(
    own: Mapping[str, Tensor], inputs: Mapping[str, Tensor], official: Official, file: Reference
) -> dict[str, Any]:
    """Losses that the adapter takes itself, and the gradients that the file has of them."""
    found: dict[str, Any] = dict(own)
    for name, loss in own.items():
        short = name.removeprefix("loss/")
        prefix = "loss_grad/" if short == "total" else f"loss_grad/{short}/"
        if any(n.startswith((f"{prefix}x_", f"{prefix}param/")) for n in file.arrays):
            found |= _by_inputs(loss, inputs, prefix) | dict(_by_parameters(loss, official, file, f"{prefix}param/"))
    return found


def _loss(kind: str, ours: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> Tensor:
    logits = ours["output/logits"]
    if kind.startswith("nll_a"):
        alpha, _, form = kind.removeprefix("nll_a").partition("_")
        event = inputs["target/c" if "target/c" in inputs else "c"] == 0
        time_bin = inputs["target/y" if "target/y" in inputs else "Y"]
        each = discrete_hazard_nll(logits, time_bin, event, alpha=float(alpha))
        return each if form == "persample" else each.mean()
    if kind == "cox":
        return cox_partial_likelihood(
            logits[:, 0], inputs["target/time"], inputs["target/event"] == 1, reduction="cases"
        )
    return (ours.get("output/bounded", logits) - inputs["target/value"]).abs().sum()


def _by_inputs(loss: Tensor, inputs: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    wanted = {name: x for name, x in inputs.items() if x.requires_grad}
    found = torch.autograd.grad(
        loss, list(wanted.values()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return {f"{place}{name}": gradient for name, gradient in zip(wanted, found, strict=True)}


def _by_parameters(loss: Tensor, official: Official, file: Reference, place: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Gradients by the published tensors, each in its own shape; with the penalty's share."""
    state = file.under("param/")
    learnt = dict(official.module.named_parameters())
    by_ours = torch.autograd.grad(
        loss, list(learnt.values()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    found = {}
    for name, gradient in zip(learnt, by_ours, strict=True):
        theirs = official.adapter.parts.get(name, ())
        rows = [len(state[n]) for n in theirs]
        found |= dict(zip(theirs, gradient.split(rows) if rows else (), strict=True))
    for name, values in state.items():
        share = _share(official.adapter.penalty, name, values)
        if name in found:
            yield f"{place}{name}", found[name].numpy().reshape(values.shape) + share
        elif official.adapter.penalty is not None and name in official.adapter.penalty.names:
            yield f"{place}{name}", share


def _share(penalty: Penalty | None, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Gradient of the penalty by one tensor."""
    counted = penalty is not None and name in penalty.names
    weight = penalty.weight if penalty is not None and counted else 0.0
    return np.asarray(weight * np.sign(values))
