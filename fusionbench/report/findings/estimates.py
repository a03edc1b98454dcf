"""What sections below the table share: Harrell's c of a row under a pattern, and differences from the same draws."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fusionbench.report.analysis import Analysis
from fusionbench.report.bootstrap import Bootstrapped
from fusionbench.report.document import Entry
from fusionbench.report.model import FULL, HARRELL, Fold, Row, is_oracle
from fusionbench.report.predictions import Line
from fusionbench.survival.stats import mean_over_folds, percentile_interval
from fusionbench.survival.stats.concordance import Floats

BEST_UNIMODAL = "best-unimodal"
XOR = "xor-unimodal"
NONE = Entry("-")


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(cls, value: float, draws: Floats | None) -> Estimate:
        """A value with the 95 % percentile interval of its bootstrap draws; without draws, no interval."""
        return cls(value) if draws is None else cls(value, *percentile_interval(draws))

    def entry(self, *, signed: bool = False) -> Entry:
        """`0.650 [0.610, 0.690]`, with signs where it is a difference."""
        if math.isnan(self.value):
            return Entry("undefined")
        form = "{:+.3f}" if signed else "{:.3f}"
        known = not math.isnan(self.low)
        return Entry(form.format(self.value) + (f" [{form}, {form}]".format(self.low, self.high) if known else ""))


def c_of(values: Mapping[Fold, float]) -> float:
    """Mean over folds, then repeats."""
    return mean_over_folds(list(values.values()), [repeat for repeat, _ in values])


def difference_between(
    sample: Bootstrapped, values: tuple[Mapping[Fold, float], ...], one: Line, other: Line
) -> Estimate:
    """c of one minus c of the other over the folds that both have, paired by draw.

    Draws are means over a row's own folds: where one row lacks a fold of the other there is no interval.
    """
    first, second = values
    value = c_of({fold: first[fold] - second[fold] for fold in first if fold in second})
    paired = first.keys() == second.keys() and one in sample.draws and other in sample.draws
    return Estimate.of(value, sample.draws[one] - sample.draws[other] if paired else None)


def sample_of(analysis: Analysis, row: Row) -> Bootstrapped:
    """The draws of the row's block."""
    return analysis.samples[row[0], row[3]][1]


def values_of(analysis: Analysis, line: Line) -> Mapping[Fold, float]:
    """Fold to c, as it was scored."""
    return analysis.values.get((line[0], line[1], HARRELL), {})


def draws_of(analysis: Analysis, line: Line) -> Floats | None:
    """(draw,) bootstrap values of c of a row under a pattern; None where there are none."""
    return sample_of(analysis, line[0]).draws.get(line)


def c(analysis: Analysis, line: Line) -> Estimate:
    """Harrell's c of a row under a pattern."""
    return Estimate.of(c_of(values_of(analysis, line)), draws_of(analysis, line))


def difference(analysis: Analysis, one: Line, other: Line) -> Estimate:
    """c of one minus c of the other, paired by fold and by draw."""
    values = (values_of(analysis, one), values_of(analysis, other))
    return difference_between(sample_of(analysis, one[0]), values, one, other)


def scored_rows(analysis: Analysis, dataset: str) -> list[Row]:
    """The dataset's rows that have a c under the pattern `full`, without the true hazards."""
    scored = dict.fromkeys(row for (row, pattern, metric), of in analysis.values.items() if of and metric == HARRELL)
    return [row for row in scored if row[0] == dataset and not is_oracle(row[1]) and values_of(analysis, (row, FULL))]


def fused_rows(analysis: Analysis, dataset: str) -> list[Row]:
    """The rows on more than one modality; vectors joined by the protocol are one."""
    return [row for row in scored_rows(analysis, dataset) if analysis.inputs[row] > 1]


def unimodal_rows(analysis: Analysis, fused: Row) -> list[Row]:
    """The rows on one modality of another row's, under the same variant."""
    names = frozenset(modalities(fused))
    rows = (row for row in scored_rows(analysis, fused[0]) if row[3] == fused[3] and analysis.inputs[row] == 1)
    return [row for row in rows if names.issuperset(modalities(row))]


def modalities(row: Row) -> tuple[str, ...]:
    """The names of the modalities that a row is on."""
    return tuple(row[2].split("+"))


def named(row: Row, *names: str) -> bool:
    """Its model, whatever its options, is one of `names`."""
    return row[1].partition("[")[0] in names


def beside(rows: Sequence[Row], row: Row, name: str) -> Row | None:
    """The row of model `name` on the same modalities under the same variant; of several the shortest written."""
    same = [other for other in rows if named(other, name) and other[2:] == row[2:]]
    return min(same, key=lambda other: len(other[1]), default=None)


def patterns_of(analysis: Analysis, rows: Sequence[Row], kind: str) -> list[str]:
    """The patterns of a kind (`rate`, `only`) that some of the rows were tested under, in the order of the suite."""
    wanted = set(rows)
    found = (p for row, p, metric in analysis.values if row in wanted and metric == HARRELL)
    return list(dict.fromkeys(p for p in found if p.partition(":")[0] == kind))


class Grid:
    """Lines of a section that begin with a row's model and modalities, and its variant where there are several."""

    def __init__(self, rows: Sequence[Row], *columns: str) -> None:
        self._variants = len({row[3] for row in rows}) > 1
        self.header = ("model", "modalities", *(["variant"] if self._variants else []), *columns)
        self.lines: list[tuple[Entry, ...]] = []

    def add(self, row: Row, entries: Iterator[Entry] | Sequence[Entry]) -> None:
        """One line: the names of the row, then `entries`."""
        names = (row[1], row[2], *([row[3]] if self._variants else []))
        self.lines.append((*map(Entry, names), *entries))


def where(row: Row, *, several: bool) -> str:
    """The modality set, with its variant where there are several."""
    return f"{row[2]} ({row[3]})" if several else row[2]
