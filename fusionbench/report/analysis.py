"""A suite's stored results, checked and bootstrapped once for the table, the findings and the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import pandas as pd

from fusionbench.report.model import (
    AUROC,
    FULL,
    HARRELL,
    CheckedFrames,
    ComparisonTable,
    FoldCount,
    RowKey,
    row_keys,
    unique,
)
from fusionbench.report.paired import FoldValues, fold_values
from fusionbench.report.ranking import BlockDraws, bootstrap_variants
from fusionbench.report.table import comparison_table
from fusionbench.results.frames import Frames
from fusionbench.survival.stats import DRAWS


@dataclass(frozen=True)
class Analysis:
    """A suite's stored results with what is computed from them once.

    Attributes:
        stored: the frames after a check.
        values: every row, pattern and metric, fold by fold.
        samples: bootstrap draws of Harrell's c, the same patients for every row.
    """

    frames: Frames
    stored: CheckedFrames
    values: FoldValues
    bootstraps: BlockDraws
    table: ComparisonTable

    def lacking(self, row: RowKey, pattern: str = FULL, metric: str | None = None) -> FoldCount | None:
        """How many of its planned folds a row's mean rests on, where it lacks some; None of a complete row.

        Args:
            metric: None for Harrell's c or the AUROC.
        """
        return self.table.incomplete.get((row, pattern, metric or self.stored.ranking(row[0])))

    @cached_property
    def ranking(self) -> str:
        """The metric by which cohorts are pooled: Harrell's c, or the AUROC where no dataset has follow-up."""
        found = {self.stored.ranking(dataset) for dataset in unique(self.stored.cells["dataset"])}
        return HARRELL if HARRELL in found else AUROC

    @cached_property
    def inputs(self) -> Mapping[RowKey, int]:
        """How many modalities each row's model was given; where that is not stored, as many as it names."""
        cells = self.stored.cells
        named = cells["modalities"].astype(str).str.count(r"\+") + 1
        stored = pd.to_numeric(cells["n_inputs"], errors="coerce") if "n_inputs" in cells.columns else named
        return dict(zip(row_keys(cells), stored.fillna(named).astype(int), strict=True))


def analyse(
    frames: Frames,
    *,
    directions: Mapping[str, bool | None],
    seed: int,
    draws: int = DRAWS,
    identities: Mapping[str, str] = MappingProxyType({}),
) -> Analysis:
    """Check the frames, resample patients, and rank the rows.

    Args:
        directions: metric to higher_is_better, in the order of the table's columns; None is never ranked.
        seed: of the bootstrap; the suite's.
        identities: dataset to which cohort it is; see `identities_of`.

    Raises:
        ResultsError: the stored frames contradict one another.
    """
    stored = CheckedFrames.of(frames, directions, identities)
    values = fold_values(stored.folds)
    bootstraps = bootstrap_variants(stored, seed=seed, draws=draws)
    return Analysis(frames, stored, values, bootstraps, comparison_table(stored, values, bootstraps, draws))
