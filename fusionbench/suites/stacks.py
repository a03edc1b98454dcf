"""Which cells are trained together under `train.stacked`: the folds of one repeat of a row, trained alike.

One repeat's folds and no more, so that asking for more repeats leaves finished cells valid; all of them, whichever were
asked for, so that a cell that is computed alone is computed with the same others and comes to the same bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fusionbench.nn import TorchModel
from fusionbench.suites.cell import Cell

if TYPE_CHECKING:
    from fusionbench.core.interfaces import FusionModel
    from fusionbench.core.types import ModalitySpec

STACK = "stack"
"""The ingredient of a key that says with which folds: the hashes of all their splits, in order."""


def why_alone(model: type[FusionModel], specs: Mapping[str, ModalitySpec]) -> str:
    """Why a model on these modalities is never trained in a stack; empty where it may be."""
    if not issubclass(model, TorchModel) or model.fit is not TorchModel.fit:
        return "the model does not leave its training to the harness"
    other = next((spec for spec in specs.values() if spec.kind != "vector"), None)
    return "" if other is None else f"{other.name!r} is a {other.kind}, and only vectors can be stacked"


def with_stacks(cells: Sequence[Cell]) -> list[Cell]:
    """Keyed cells, in their order, each with those whose splits its key has beside its own."""
    groups: dict[tuple[object, ...], dict[int, Cell]] = defaultdict(dict)
    for cell in cells:
        if STACK in cell.ingredients:
            groups[_alike(cell)].setdefault(cell.fold, cell)
    stacks = {alike: tuple(of_fold[fold] for fold in sorted(of_fold)) for alike, of_fold in groups.items()}
    return [replace(c, stack=stacks[_alike(c)]) if STACK in c.ingredients else c for c in cells]


def _alike(cell: Cell) -> tuple[object, ...]:
    """What the cells of a stack have in common: all but the fold."""
    together = tuple(cell.ingredients[STACK])
    return (*cell.row, cell.repeat, cell.modalities, cell.masked_over, cell.chosen, cell.recipe, together)
