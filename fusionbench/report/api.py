"""What a plugin of report sections (`fusionbench_findings`) may import.

A section is made from an `Analysis` (a suite's stored results, checked) and the content of the suite's lock.
`row_means` gives the rows of the table with their bootstrap draws, `compare_rows` the difference of two rows.
"""

from fusionbench.core.protocol import AS_PUBLISHED, AS_PUBLISHED_TRAINING, Protocol, TrainRecipe, overlay
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Entry, Section, entries
from fusionbench.report.estimate import Estimate
from fusionbench.report.findings.estimates import (
    RowComparison,
    RowMean,
    compare_rows,
    relative_gain,
    row_means,
)
from fusionbench.report.findings.select_rows import matching_rows, patterns_of
from fusionbench.report.findings.variants import counterpart
from fusionbench.report.model import FULL, HARRELL, FoldKey, RowKey, row_key
from fusionbench.report.paired import paired_test
from fusionbench.results.frames import ROW
from fusionbench.suites.suite import BASE

__all__ = [
    "AS_PUBLISHED",
    "AS_PUBLISHED_TRAINING",
    "BASE",
    "FULL",
    "HARRELL",
    "ROW",
    "Analysis",
    "Entry",
    "Estimate",
    "FoldKey",
    "Protocol",
    "RowComparison",
    "RowKey",
    "RowMean",
    "Section",
    "TrainRecipe",
    "compare_rows",
    "counterpart",
    "entries",
    "matching_rows",
    "overlay",
    "paired_test",
    "patterns_of",
    "relative_gain",
    "row_key",
    "row_means",
]
