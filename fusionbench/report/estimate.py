"""A number with its bootstrap interval, and how a grid shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fusionbench.report.document import Entry
from fusionbench.survival.stats import percentile_interval
from fusionbench.survival.stats.concordance import Floats


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval; NaN where there is none.

    Attributes:
        folds: on which part of the planned folds it rests ("on 3 of 5 folds"); empty where it rests on all.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    folds: str = ""

    @classmethod
    def of(cls, value: float, draws: Floats | None, folds: str = "") -> Estimate:
        """A value with the 95 % percentile interval of its bootstrap draws; without draws, no interval."""
        interval = (math.nan, math.nan) if draws is None else percentile_interval(draws)
        return cls(value, *interval, folds)

    def text(self, *, signed: bool = False, digits: int = 3, unit: str = "") -> str:
        """`0.650 [0.610, 0.690] (3 of 5 folds)`, signed where it is a difference; brackets where known."""
        if math.isnan(self.value):
            return "undefined"
        form = f"{{:{'+' if signed else ''}.{digits}f}}"
        interval = "" if math.isnan(self.low) else f" [{form}, {form}]".format(self.low, self.high)
        return form.format(self.value) + unit + interval + (f" ({self.folds})" if self.folds else "")

    def entry(self, *, signed: bool = False) -> Entry:
        """`text` as a cell of a grid."""
        return Entry(self.text(signed=signed))
