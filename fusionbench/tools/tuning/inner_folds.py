"""A trial on one inner fold: a cell like any other, within the training and validation cases of an outer one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import DataError, SuiteError, did_you_mean
from fusionbench.core.protocol import overlay
from fusionbench.core.registry import Registry
from fusionbench.core.search_space import TRAIN
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, Fold
from fusionbench.data import splits
from fusionbench.suites.cell import Cell
from fusionbench.tasks import task_kind

NLL = "nll"
"""Objective: the best validation loss of the training loop."""


@dataclass(frozen=True)
class Objective:
    """What a search improves: a metric on the held-out part of an inner fold, or the validation NLL within it."""

    name: str
    higher_is_better: bool

    @classmethod
    def named(cls, name: str, registry: Registry) -> Objective:
        """The objective of a name.

        Raises:
            SuiteError: unknown, or a metric without a direction.
        """
        if name == NLL:
            return cls(NLL, higher_is_better=False)
        if name not in registry.names("metrics"):
            raise SuiteError(did_you_mean("objective", name, (*registry.names("metrics"), NLL)))
        better = registry.metric(name).higher_is_better
        if better is None:
            raise SuiteError(f"objective {name!r} has no direction; choose another metric, or {NLL!r}")
        return cls(name, better)

    def value(self, result: CellResult) -> float | str:
        """The objective's value of a result, or the reason why there is none."""
        if result.status != "ok":
            return result.reason
        if self.name == NLL:
            loss = result.record["fit"]["validation_loss"]
            return float(loss) if loss is not None else f"no validation loss, which objective {NLL!r} needs"
        score = next(s for s in result.scores if s.metric == self.name and s.pattern == "full")
        return score.value if math.isfinite(score.value) else f"{self.name} is undefined: {score.reason}"


def objective_of(name: str | None, cells: Sequence[Cell], registry: Registry) -> Objective:
    """The objective of all searches.

    Raises:
        SuiteError: it does not score the endpoint of a dataset; or none is named and the endpoints are of two kinds.
    """
    kinds = {cell.dataset: task_kind(cell.task.kind) for cell in cells}
    usual = sorted({kind.primary_metric for kind in kinds.values()})
    if name is None and len(usual) > 1:
        raise SuiteError(f"the datasets have endpoints of two kinds: name one with --dataset, or --objective {NLL}")
    objective = Objective.named(name or usual[0], registry)
    for dataset, kind in kinds.items():
        if objective.name != NLL and kind.name not in registry.metric(objective.name).tasks:
            raise SuiteError(
                f"objective {objective.name!r} does not score the {kind.name} endpoint of {dataset}: "
                f"leave --objective out, or choose {kind.primary_metric!r}"
            )
    return objective


def inner_folds(cell: Cell, cases: Mapping[str, Case], n: int) -> list[Fold]:
    """Group-disjoint folds of an outer fold's training and validation cases, the same for every model.

    Raises:
        DataError: too few groups or events for so many folds.
    """
    inside = [cases[i] for i in (*cell.split.train, *cell.split.val)]
    protocol = overlay(cell.protocol, {"fold_source": "generated", "folds": n})
    seed = derive(cell.seed, "inner folds", cell.cohort_name, cell.variant, cell.repeat, cell.fold)
    try:
        folds = splits.make_folds(inside, protocol, seed, 0)
    except DataError as error:
        raise DataError(f"{cell.label}: no {n} inner folds: {error}; ask for fewer with --inner-folds") from error
    outside = set(cell.split.test)
    assert not any(outside.intersection(fold.train + fold.val + fold.test) for fold in folds)
    return folds


def inner_cell(cell: Cell, fold: Fold, number: int, point: Mapping[str, Any], objective: Objective) -> Cell:
    """The cell of a trial: options and recipe as found, scored on the full modalities of the fold's held-out part."""
    train = {name.removeprefix(TRAIN): value for name, value in point.items() if name.startswith(TRAIN)}
    return replace(
        cell,
        split=fold,
        fold=number,
        patterns=("full",),
        metrics=() if objective.name == NLL else (objective.name,),
        tuned=tuple(sorted(point.items())),
        recipe=overlay(cell.recipe, train),
        key="",
    )
