"""What reference files of models of one bag have in common: the bag, and the losses of its logits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fusionbench import Bag, Batch
from fusionbench.survival import discrete_hazard_nll
from tests.golden.replay.official import Adapter

PATH = "x_path"


class BagAdapter(Adapter):
    """x_path (instance, feature) of one patient; or (case, instance, feature), of several with `mask`."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        values = inputs[PATH] if inputs[PATH].ndim == 3 else inputs[PATH].unsqueeze(0)
        mask = inputs.get("mask", torch.ones(values.shape[:2], dtype=torch.bool))
        return Batch(tuple(map(str, range(len(mask)))), {PATH: Bag(values, mask)})

    def losses(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Of the logits read as classes and as hazards: the mean over the file's patients, and `_persample`."""
        if "target/y" not in inputs:
            return {}
        return averaged(of_logits(module(self(inputs)), inputs))


def of_logits(logits: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cross-entropy and likelihoods of hazards, (case,) each; `target/y` is the class and the bin alike."""
    bins, event = inputs["target/y"], inputs["target/c"] == 0
    nll = {f"nll_a{a}": discrete_hazard_nll(logits, bins, event, alpha=a) for a in (0.0, 0.5)}
    return {"ce": nn.functional.cross_entropy(logits, bins, reduction="none"), **nll}


def averaged(each: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """(case,) losses under the names that files use for their means and for themselves."""
    return {f"loss/{n}": x.mean() for n, x in each.items()} | {f"loss/{n}_persample": x for n, x in each.items()}
