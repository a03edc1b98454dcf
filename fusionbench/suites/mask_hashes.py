"""What a cell's key has of its masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fusionbench.core.types import Case
from fusionbench.data.masks import mask_hash
from fusionbench.data.patterns import GIVEN, parse_pattern
from fusionbench.suites.cell import ORACLE, Cell, test_masks, train_mask


class MaskHashes:
    """Hashes of the masks of one cohort under one protocol; each is made once for all models."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = {case.id: case for case in cases}
        self._known: dict[tuple[Any, ...], str] = {}

    def ingredients(self, cell: Cell) -> dict[str, str]:
        """The hash of the test masks, and of training masks that were read; others follow from the rest of the key."""
        over = cell.masked_over or cell.modalities
        place = (cell.modalities, cell.patterns, cell.repeat, cell.fold)
        if place not in self._known:
            masks = test_masks(cell, [self._cases[i] for i in cell.split.test])
            self._known[place] = mask_hash([mask for of_pattern in masks.values() for mask in of_pattern])
        reads = parse_pattern(cell.protocol.train_pattern).kind in GIVEN
        if not reads or len(over) < 2 or cell.model.name == ORACLE:
            return {"masks": self._known[place]}
        of_training = (over, cell.repeat, cell.fold)
        if of_training not in self._known:
            seen = [self._cases[i] for i in (*cell.split.train, *cell.split.val)]
            self._known[of_training] = mask_hash([train_mask(cell, seen)])
        return {"masks": self._known[place], "train_masks": self._known[of_training]}
