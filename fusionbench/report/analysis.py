"""A suite's stored results, checked and bootstrapped once for the table, the findings and the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import pandas as pd

from fusionbench.report.external_tests import ExternalTest, external_tests
from fusionbench.report.model import (
    FULL,
    RANKINGS,
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
from fusionbench.report.words import WORDS, Words, score_names
from fusionbench.results.frames import Frames
from fusionbench.survival.stats import DRAWS


@dataclass(frozen=True)
class Analysis:
    """A suite's stored results with what is computed from them once.

    Attributes:
        stored: the frames after a check.
        values: every row, pattern and metric, fold by fold.
        bootstraps: draws of Harrell's c or the AUROC, the same patients for every row.
        external: the rows on cohorts that they were not fitted on.
    """

    frames: Frames
    stored: CheckedFrames
    values: FoldValues
    bootstraps: BlockDraws
    table: ComparisonTable
    external: tuple[ExternalTest, ...] = ()

    def lacking(self, row: RowKey, pattern: str = FULL, metric: str | None = None) -> FoldCount | None:
        """How many of its planned folds a row's mean rests on, where it lacks some; None of a complete row.

        Args:
            metric: None for Harrell's c or the AUROC.
        """
        return self.table.incomplete.get((row, pattern, metric or self.stored.ranking(row[0])))

    @cached_property
    def rankings(self) -> tuple[str, ...]:
        """The metrics by which the datasets' rows are ranked, each once: Harrell's c, the AUROC or both."""
        found = {self.stored.ranking(dataset) for dataset in unique(self.stored.cells["dataset"])}
        return tuple(name for name in RANKINGS if name in found)

    @property
    def score_names(self) -> str:
        """Names of what rows are ranked by, for a title or note on all datasets: `c-index`, `AUROC` or both."""
        return score_names(self.rankings)

    def words(self, dataset: str) -> Words:
        """How texts on a dataset name its score and its predictions."""
        return WORDS[self.stored.ranking(dataset)]

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
    table = comparison_table(stored, values, bootstraps, draws)
    external: tuple[ExternalTest, ...] = ()
    if frames.external is not None:
        external = external_tests(frames.external, stored, values, bootstraps, seed=seed, draws=draws)
    return Analysis(frames, stored, values, bootstraps, table, external)
