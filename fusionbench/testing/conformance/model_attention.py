"""Checks of what a model says of where it looks."""

from __future__ import annotations

import torch

from fusionbench.core.types import Attention, CaseSet
from fusionbench.testing.conformance.check import Checklist, Failure, Skipped
from fusionbench.testing.conformance.trials import ModelSubject, Trial, cases_to_attend

CHECKS: Checklist[ModelSubject] = Checklist()
SLACK = 1e-4
"""Of a sum of weights in single precision."""


@CHECKS.add(
    "attention",
    "Where there is attention it is (case, layer, head, item), sums to 1 over the items of a case that has the "
    "modality, and is zero where padded or missing.",
    cause="a softmax over another axis or without a mask, weights after dropout, or layers that were added up.",
    needs=("predictions", "deterministic", "attention-sums"),
)
def attention(subject: ModelSubject) -> None:
    seen = [_checked(trial, cases) for trial in subject.trials for cases in cases_to_attend(trial)]
    if not any(seen):
        raise Skipped("it has no attention")


def _checked(trial: Trial, cases: CaseSet) -> bool:
    """Whether there is attention."""
    maps = trial.fitted.predictor.attention(cases)
    for name, seen in (maps or {}).items():
        if name not in cases.specs or not isinstance(seen, Attention):
            raise Failure(
                f"on {trial.label}, attention on {name!r} is {type(seen).__name__}", "an Attention of a modality"
            )
        _check_weights(f"on {trial.label}, attention on {name!r}", name, seen, cases)
    return maps is not None


def _check_weights(where: str, name: str, seen: Attention, cases: CaseSet) -> None:
    counts = [_items(name, seen, cases, i) for i in range(len(cases))]
    weights = seen.weights
    if weights.ndim != 4 or (len(weights), weights.shape[-1]) != (len(cases), max(counts)):
        raise Failure(
            f"{where} has shape {tuple(weights.shape)}", f"({len(cases)} cases, layers, heads, {max(counts)} items)"
        )
    columns = [column for part in seen.parts.values() for column in part]
    if columns and not 0 <= min(columns) <= max(columns) < cases.specs[name].dim:
        raise Failure(f"{where} has parts with columns up to {max(columns)} of {cases.specs[name].dim}")
    real = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    outside = weights.movedim(-1, 1)[~real]
    if bool((weights < 0).any()) or bool(outside.any()):
        raise Failure(
            f"{where} is below 0, or not 0 where nothing is", "weights of at least 0, 0 where padded or missing"
        )
    wanted = real.any(dim=1).to(weights)[:, None, None]
    gap = float((weights.sum(dim=-1) - wanted).abs().max())
    if not gap <= SLACK:
        raise Failure(f"{where} sums up to {gap:.3g} away from what it should", "1 over a case's items, 0 without any")


def _items(name: str, seen: Attention, cases: CaseSet, i: int) -> int:
    bag = cases[i].bags.get(name)
    return 0 if bag is None else len(seen.parts) or len(bag.values)
