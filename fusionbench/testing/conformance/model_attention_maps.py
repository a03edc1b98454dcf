"""Checks of maps of attention: their shapes and masks, and what they sum to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionbench.core.attention_map import AttentionMap
from fusionbench.core.types import CaseSet
from fusionbench.testing.conformance.check import Checklist, Failure, Skipped
from fusionbench.testing.conformance.trials import ModelSubject, Trial, cases_to_attend

CHECKS: Checklist[ModelSubject] = Checklist()
SLACK = 1e-4
"""Of a sum of weights in single precision."""
HIDDEN = " with the first modality of every second case hidden"


@CHECKS.add(
    "attention-maps",
    "Where there are maps of attention each is (case, its axes, item), finite, at least 0, and zero where an item or a "
    "query is padded or missing; raw scores are finite where they are read.",
    cause="a mask of items without one of queries, scores in place of weights, or a softmax over nothing.",
    needs=("predictions", "deterministic"),
)
def attention_maps(subject: ModelSubject) -> None:
    for seen in _all_maps(subject):
        one, values = seen.map, seen.map.arranged(seen.map.values)
        if values.shape[-1] != seen.items.shape[1] or (one.queries and values.shape[-2] != seen.queries.shape[1]):
            sizes = f"{seen.queries.shape[1]} queries and {seen.items.shape[1]} items"
            raise Failure(f"{seen.where} has shape {tuple(one.values.shape)}", f"an axis of each of {sizes}")
        outside = values.masked_select(~seen.real.expand_as(values))
        if not bool(values.isfinite().all()) or bool((values < 0).any()) or bool(outside.any()):
            raise Failure(
                f"{seen.where} is below 0, not finite, or not 0 where nothing is",
                "at least 0 where item and query are real, else 0",
            )
        if one.scores is not None:
            scores = one.arranged(one.scores)
            if not bool(scores.masked_select(seen.real.expand_as(scores)).isfinite().all()):
                raise Failure(f"{seen.where} has scores that are not finite", "a number for each real item and query")


@CHECKS.add(
    "attention-sums",
    "Weights of a map sum to 1 over the items of a query, together with the maps of the same softmax; mass sums to 1, "
    "or to its stated marginals.",
    cause="a softmax over another axis, weights after dropout, a plan that was scaled, or `softmax` left out.",
    needs=("attention-maps",),
)
def attention_sums(subject: ModelSubject) -> None:
    together: dict[tuple[str, str], list[_Seen]] = {}
    for seen in _all_maps(subject):
        if seen.map.kind == "mass":
            _check_mass(seen)
        else:
            together.setdefault((seen.set, seen.map.softmax or seen.where), []).append(seen)
    for maps in together.values():
        _check_weights(maps)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A map on a set of cases.

    Attributes:
        where: for messages; `set`: the cases alone.
        items, queries: (case, item) and (case, query), which are real; learned queries all are.
    """

    set: str
    where: str
    map: AttentionMap
    items: Tensor
    queries: Tensor

    @property
    def real(self) -> Tensor:
        """(case, layer, head, class, query, item) with 1 for other axes than case, query and item."""
        return (self.queries[:, :, None] & self.items[:, None, :])[:, None, None, None]


def _all_maps(subject: ModelSubject) -> Iterator[_Seen]:
    """Every map of every set of cases that is tried.

    Raises:
        Skipped: there is none.
    """
    empty = True
    for trial in subject.trials:
        for i, cases in enumerate(cases_to_attend(trial)):
            for name, one in trial.fitted.predictor.attention_maps(cases).items():
                empty = False
                yield _seen(
                    trial, f"{trial.label}{', the first modality of every second case hidden' * i}", name, one, cases
                )
    if empty:
        raise Skipped("it has no maps of attention")


def _seen(trial: Trial, label: str, name: str, one: AttentionMap, cases: CaseSet) -> _Seen:
    where = f"on {label}, attention map {name!r}"
    if not isinstance(one, AttentionMap) or not {one.modality, one.queries or one.modality} <= set(cases.specs):
        raise Failure(f"{where} is {type(one).__name__}", f"an AttentionMap of {', '.join(trial.modalities)}")
    if one.values.ndim != len(one.axes) + 2 or len(one.values) != len(cases):
        raise Failure(f"{where} has shape {tuple(one.values.shape)}", f"(case, {', '.join((*one.axes, 'item'))})")
    queries = torch.ones(len(cases), one.arranged(one.values).shape[-2], dtype=torch.bool)
    if one.queries:
        queries = _real(one.queries, len(one.query_names), cases)
    return _Seen(label, where, one, _real(one.modality, len(one.item_names), cases), queries)


def _real(modality: str, named: int, cases: CaseSet) -> Tensor:
    """(case, item) whether it is real: each of its instances, or of the named items where the case has the modality."""
    bags = [cases[i].bags.get(modality) for i in range(len(cases))]
    counts = torch.tensor([0 if bag is None else named or len(bag.values) for bag in bags])
    return torch.arange(int(counts.max())) < counts[:, None]


def _check_weights(maps: list[_Seen]) -> None:
    """Maps of one softmax."""
    where = " with ".join([maps[0].where, *(repr(seen.map.softmax) for seen in maps[1:2])])
    sums = [seen.map.arranged(seen.map.values).sum(dim=-1) for seen in maps]
    if any(one.shape != sums[0].shape for one in sums):
        raise Failure(f"{where} is of one softmax with a map of other queries", "one number of queries in all of them")
    any_item = torch.stack([seen.items.any(dim=1) for seen in maps]).any(dim=0)
    wanted = (maps[0].queries & any_item[:, None])[:, None, None, None].to(sums[0])
    gap = float((torch.stack(sums).sum(dim=0) - wanted).abs().max())
    if not gap <= SLACK:
        raise Failure(f"{where} sums up to {gap:.3g} away from what it should", "1 over a query's items, 0 without any")


def _check_mass(seen: _Seen) -> None:
    values, stated = seen.map.arranged(seen.map.values), seen.map.marginals
    if stated is None:
        total = values.sum(dim=(-1, -2))
        gaps = {"total": total - seen.real.any(dim=-1).any(dim=-1).to(total)}
    else:
        axis = 1 + seen.map.axes.index("query")
        gaps = {side: seen.map.values.sum(dim=-1 if side == "query" else axis) - sums for side, sums in stated.items()}
    for side, difference in gaps.items():
        gap = float(difference.abs().max())
        if not gap <= SLACK:
            raise Failure(
                f"{seen.where}: its {side} is up to {gap:.3g} away from what it should be", "the sums stated, or 1"
            )
