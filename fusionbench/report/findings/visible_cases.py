"""Harrell's c under a pattern and with all modalities, on the patients who keep a modality under the pattern."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fusionbench.report.analysis import Analysis
from fusionbench.report.bootstrap import BootstrapDraws, bootstrap
from fusionbench.report.estimate import Estimate
from fusionbench.report.findings.estimates import (
    bootstrap_of,
    difference_between,
)
from fusionbench.report.findings.select_rows import modality_names
from fusionbench.report.model import FULL, FoldKey, RowKey
from fusionbench.report.paired import fold_mean, n_cases
from fusionbench.report.predictions import FoldPredictions, FollowUp, RowPattern, fold_predictions, follow_up_of
from fusionbench.survival.stats.concordance import Floats

_UNKNOWN = "which modalities a patient has is not stored with these results: all patients are compared"


@dataclass(frozen=True)
class VisibleScores:
    """c of rows under patterns, on the patients who keep a modality under each pattern.

    Attributes:
        cases: line to the patients compared; lines that were not tested are absent.
        sample: c and draws of every such line, and of its row under `full` on the same patients (`full_line`).
    """

    cases: Mapping[RowPattern, int]
    sample: BootstrapDraws
    notes: tuple[str, ...] = ()

    def full_line(self, line: RowPattern) -> RowPattern:
        """The line of the same row with all modalities, on the patients that a pattern is compared on."""
        return line[0], f"{FULL} on {line[1]}"

    def c(self, line: RowPattern) -> Estimate:
        """Harrell's c of a line on the compared patients."""
        return Estimate.of(fold_mean(self.sample.values.get(line, {})), self.sample.draws.get(line))

    def full(self, line: RowPattern) -> Estimate:
        """Harrell's c of the same fitted model with all modalities on the same patients."""
        return self.c(self.full_line(line))

    def difference(self, one: RowPattern, other: RowPattern) -> Estimate:
        """c of one line minus c of the other, paired by fold and draw."""
        values = tuple(self.sample.values.get(line, {}) for line in (one, other))
        return difference_between(self.sample, values, one, other)


def visible_scores(
    analysis: Analysis, dataset: str, rows: Sequence[RowKey], patterns: Sequence[str], *, seed: int
) -> VisibleScores:
    """c of the rows on the restricted patients, all from the same draws, as many as for the table.

    Args:
        seed: of the bootstrap; the suite's.
    """
    stored = analysis.stored
    cohort = follow_up_of(stored, dataset)
    wanted, shown = set(rows), (FULL, *patterns)
    parts = [p for p in fold_predictions(stored.predictions, cohort) if p.line[0] in wanted and p.line[1] in shown]
    having = modalities_of_cases(analysis, cohort)
    kept = list(_restricted(parts, having))
    lines = dict.fromkeys(part.line for part in kept if part.line[1] in patterns)
    counts = {line: n_cases([p for p in kept if p.line == line], line[1]) for line in lines}
    sample = _as_tabled(analysis, lines) if _everybody(kept, parts, patterns) else _drawn(analysis, kept, cohort, seed)
    return VisibleScores(counts, sample, () if having is not None else (_UNKNOWN,))


def _everybody(kept: Iterable[FoldPredictions], parts: Iterable[FoldPredictions], patterns: Sequence[str]) -> bool:
    """Whether the restriction keeps every patient."""
    tested_on = {(part.line, part.fold): len(part.cases) for part in parts}
    whole = ((part, part.line[1] if part.line[1] in patterns else FULL) for part in kept)
    return all(len(part.cases) == tested_on[(part.line[0], pattern), part.fold] for part, pattern in whole)


def _as_tabled(analysis: Analysis, lines: Iterable[RowPattern]) -> BootstrapDraws:
    """The draws of the table under the keys used here; where every patient is kept, they are of the same patients."""
    values: dict[RowPattern, Mapping[FoldKey, float]] = {}
    draws: dict[RowPattern, Floats] = {}
    for line in lines:
        (row, pattern), sample = line, bootstrap_of(analysis, line[0])
        for name, source in ((line, line), ((row, f"{FULL} on {pattern}"), (row, FULL))):
            values |= {name: sample.values[source]} if source in sample.values else {}
            draws |= {name: sample.draws[source]} if source in sample.draws else {}
    return BootstrapDraws(values, draws)


def _drawn(analysis: Analysis, parts: Sequence[FoldPredictions], cohort: FollowUp, seed: int) -> BootstrapDraws:
    """Draws of the restricted predictions, block by block as for the table."""
    values: dict[RowPattern, Mapping[FoldKey, float]] = {}
    draws: dict[RowPattern, Floats] = {}
    numbers = {part.line[0]: analysis.bootstraps[cohort.name, part.line[0][3]][0] for part in parts}
    for number in dict.fromkeys(numbers.values()):
        of_block = [part for part in parts if numbers[part.line[0]] == number]
        sample = bootstrap(of_block, cohort, seed=seed, draws=analysis.table.draws)
        values |= sample.values
        draws |= sample.draws
    return BootstrapDraws(values, draws)


def modalities_of_cases(analysis: Analysis, cohort: FollowUp) -> list[frozenset[str]] | None:
    """The modalities of each case of the cohort; None where they are not stored."""
    targets = analysis.stored.targets
    if "modalities" not in targets.columns:
        return None
    of = targets[targets["dataset"] == cohort.name].set_index("case")["modalities"].fillna("").astype(str)
    return [frozenset(of[case].split("+")) - {""} for case in cohort.cases]


def _restricted(parts: Sequence[FoldPredictions], having: Sequence[frozenset[str]] | None) -> Iterator[FoldPredictions]:
    """Each part under a pattern, and its row under `full`, on the patients that the pattern leaves something of."""
    full = {(part.line[0], part.fold): part for part in parts if part.line[1] == FULL}
    for part in parts:
        (row, pattern), other = part.line, full.get((part.line[0], part.fold))
        if pattern == FULL or other is None:
            continue
        shown = visible_modalities(pattern, modality_names(row))
        own = [having is None or bool(having[case] & shown) for case in part.cases]
        keep = np.array(own, dtype=bool)
        yield _only(part, keep, part.line)
        yield _only(other, np.isin(other.cases, part.cases[keep]), (row, f"{FULL} on {pattern}"))


def _only(part: FoldPredictions, keep: NDArray[np.bool_], line: RowPattern) -> FoldPredictions:
    return replace(part, line=line, cases=part.cases[keep], scores=part.scores[..., keep])


def visible_modalities(pattern: str, names: Sequence[str]) -> frozenset[str]:
    """The modalities of a row of which a pattern leaves something: a case with none of them is not seen at all.

    Random patterns never empty a case. A joined modality (`clinical+omic`) is there where one of its parts is.
    """
    kind, _, what = pattern.partition(":")
    parts = frozenset(what.split("+"))
    if kind == "only":
        return frozenset(names) & parts
    return frozenset(names) - (parts if kind == "drop" else frozenset())
