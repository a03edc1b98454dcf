"""What a torch module is given: the cases of a batch side by side, each modality as padded bags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionbench.core.endpoints import Targets

if TYPE_CHECKING:
    from torch import Tensor

NO_NEIGHBOUR = -1
"""In `Bag.neighbours`, in the place of an instance."""


@dataclass(frozen=True, eq=False)
class Bag:
    """One modality of a batch.

    Attributes:
        values: (case, instance, feature) float32, zero where padded.
        mask: (case, instance) bool, True = real; a row of all False = modality missing for that case.
        coords: (case, instance, axis), or None.
        shape: (case, axis) int64 extents for grids, or None.
        known: `rows`, where whoever made the bag knows them; only to be read through `rows`.
        counts: `lengths`, likewise.
        piece: (case, instance) int64, the number of the file (slide) that an instance comes from, 0 where padded; None
            where no case of the batch has several.
        neighbours: (case, instance, k) int64, for a module that sets `neighbours = k`: the positions of the k instances
            of the same piece that are nearest by their coords, the nearest first, of equally near ones the first;
            `NO_NEIGHBOUR` where there is none, and where padded. An instance is none of its own neighbours.
    """

    values: Tensor
    mask: Tensor
    coords: Tensor | None = None
    shape: Tensor | None = None
    known: Tensor | None = None
    counts: Tensor | None = None
    piece: Tensor | None = None
    neighbours: Tensor | None = None

    @property
    def present(self) -> Tensor:
        """(case,) bool: the modality is there."""
        return self.mask.any(dim=1)

    @property
    def rows(self) -> Tensor:
        """(row,) int64 ON THE CPU, ascending: positions of the cases that have the modality.

        Batches of the harness know them, so that a model on a GPU can ask without waiting for it.
        """
        return self.present.nonzero().flatten().cpu() if self.known is None else self.known

    @property
    def lengths(self) -> Tensor:
        """(case,) int64 ON THE CPU: instances of each case, which stand before its padding."""
        return self.mask.sum(dim=1).cpu() if self.counts is None else self.counts

    @property
    def complete(self) -> bool:
        """Every case has the modality."""
        return len(self.rows) == len(self.mask)


@dataclass(frozen=True, eq=False)
class Batch:
    """Cases side by side. EVERY declared modality is a key of `bags`, also when missing for all.

    Attributes:
        targets: SurvivalTargets or ClassTargets of the cases, for a module that sets `reads_targets = True`, and only
            in training; None for all others and wherever something is predicted.
        seed: of what a module draws for a case (`fusionbench.nn.case_generator`): of the cell and the epoch in
            training, None at validation and prediction, where the same is drawn each time.
    """

    ids: tuple[str, ...]
    bags: Mapping[str, Bag]
    targets: Targets[Tensor] | None = None
    seed: int | None = None
