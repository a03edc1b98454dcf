"""Two cohorts beside each other, before models of one predict the other: what `data check A B` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fusionbench.core.data_warning import DataWarning
from fusionbench.core.endpoints import SurvivalTarget
from fusionbench.core.plural import plural
from fusionbench.data.cohort import listed, load_cohort
from fusionbench.data.inspection.contents import Content, read_all
from fusionbench.data.inspection.duplicates import copied, twins
from fusionbench.data.inspection.same_names import same_names
from fusionbench.data.inspection.summary import Facts, facts_of
from fusionbench.tasks.survival import FAR_TIMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.core.interfaces import Dataset, Modality
    from fusionbench.data.cohort import Cohort

    Floats = NDArray[np.float64]

Kind = Literal[
    "shared-patients",
    "same-names",
    "equal-cases",
    "other-kind",
    "other-scale",
    "unknown-levels",
    "other-width",
    "other-encoder",
    "other-endpoint",
    "other-shares",
    "other-times",
]
"""Kinds of warnings about two cohorts; docs/own-data.md says when each is given."""

SAME_PATIENTS = ("shared-patients", "equal-cases")
"""Kinds of warnings that models were trained on patients whom they are tested on."""
SAME_NAMES = "same-names"
"""Kind of the warning that ids or groups of both cohorts are the same, and the patients, by all that is known, not."""
FAR_SPREAD = 10.0
"""Interquartile ranges of a column that differ by more than this factor look like two scales."""
FAR_MEDIAN = 5.0
"""Medians further apart than this many interquartile ranges, of the cohort with the larger one, likewise."""
UNKNOWN_LEVELS = 0.05
"""Share of the second cohort's cases with levels that the first does not have from which on that is a warning."""
FAR_SHARES = 0.2
"""Difference of a class's shares from which on it is a warning: a calibrated model of one is none of the other."""


@dataclass(frozen=True)
class Between:
    """The second of two cohorts beside the first.

    Attributes:
        first, second: what is in each.
        lines: what both have and what one lacks, one line each.
        warnings: what makes a test on the second doubtful.
    """

    first: Facts
    second: Facts
    lines: tuple[str, ...]
    warnings: tuple[DataWarning, ...]


def compare_datasets(one: Dataset, other: Dataset, known: Mapping[str, type[Modality]]) -> Between:
    """Read both cohorts and compare them.

    Args:
        one: the cohort that models are trained on.
        known: modality plugins by name.

    Raises:
        DataError: one of them cannot be read; `data check` of it alone tells more.
    """
    return compare_cohorts(*(load_cohort(dataset, known, new_patients=True) for dataset in (one, other)))


def compare_cohorts(one: Cohort, other: Cohort) -> Between:
    """Compare patients, columns, scales, levels, outcomes and follow-up.

    Args:
        one: the cohort that models are trained on.
    """
    problems: list[str] = []
    first, second = (read_all(cohort, problems) for cohort in (one, other))
    facts = facts_of(one, first), facts_of(other, second)
    lines = [*_modality_lines(first, second)]
    pairs = [Pair.of(name, first[name], second[name]) for name in first if name in second]
    values = tuple(_values(cohort, k, pairs) for k, cohort in enumerate((one, other)))
    warnings = [*same_names(one, other, (values[0], values[1])), *_outcomes(*facts), *_same_rows(one, other, pairs)]
    for pair in pairs:
        lines += pair.lines()
        warnings += _columns(pair)
    return Between(facts[0], facts[1], tuple(lines), tuple(warnings))


@dataclass(frozen=True, eq=False)
class Pair:
    """A modality of both cohorts.

    Attributes:
        columns: that both have, in the order of the first.
        tables: (case, column) of each cohort, those columns; of bags means and deviations, empty where widths differ.
    """

    name: str
    first: Content
    second: Content
    columns: tuple[str, ...]
    tables: tuple[Floats, Floats]

    @classmethod
    def of(cls, name: str, first: Content, second: Content) -> Pair:
        """The columns of both, by name; of bags all or none."""
        if first.table is None or second.table is None:
            summaries = [content.summaries for content in (first, second)]
            a, b = (np.zeros((0, 0)) if s is None else s for s in summaries)
            same = a.shape[1] == b.shape[1]
            return cls(name, first, second, (), (a, b) if same else (a[:, :0], b[:, :0]))
        places = [{name: i for i, name in enumerate(content.columns)} for content in (first, second)]
        columns = tuple(name for name in places[0] if name in places[1])
        tables = [
            content.cells[:, [place[name] for name in columns]]
            for content, place in zip((first, second), places, strict=True)
        ]
        return cls(name, first, second, columns, (tables[0], tables[1]))

    def lines(self) -> Iterator[str]:
        """How many columns both have, and which one lacks."""
        widths = [content.modality.use.dim for content in (self.first, self.second)]
        if self.first.table is None or self.second.table is None:
            yield f"{self.name}: {widths[0]} features an instance in the first, {widths[1]} in the second"
            return
        yield f"{self.name}: {plural(len(self.columns), 'column')} in both"
        for here, there, which in ((self.first, self.second, "first"), (self.second, self.first, "second")):
            others = frozenset(there.columns)
            if alone := [c for c in here.columns if c not in others]:
                yield f"{self.name}: {len(alone)} only in the {which} ({listed(alone)})"


def _modality_lines(first: Mapping[str, Content], second: Mapping[str, Content]) -> Iterator[str]:
    for here, there, which in ((first, second, "first"), (second, first, "second")):
        for name in here:
            if name not in there:
                yield f"{name}: a modality of the {which} cohort alone"


def _same_rows(first: Cohort, second: Cohort, pairs: Sequence[Pair]) -> Iterator[DataWarning]:
    """Cases of the two cohorts with equal values under different ids: of all tables with the follow-up, or of a bag."""
    tables = [pair for pair in pairs if pair.first.table is not None and pair.columns]
    found = {"tables": _twins(first, second, tables, followed=True)} if tables else {}
    for pair in pairs:
        if pair.first.table is None and pair.tables[0].shape[1]:
            found[pair.name] = _twins(first, second, [pair], followed=False)
    for where, twin in found.items():
        if twin:
            one, other = twin[0]
            text = (
                f"{where}: {len(twin)} cases have the values of a case of the other cohort (the first: {one!r} and "
                f"{other!r}): probably the same patients"
            )
            yield DataWarning("equal-cases", where, text, tuple(id_ for id_, _ in twin))


def _twins(first: Cohort, second: Cohort, pairs: Sequence[Pair], *, followed: bool) -> list[tuple[str, str]]:
    """Ids of cases of the first and of the second cohort that agree in all these values."""
    cases, blocks = [], []
    for k, cohort in enumerate((first, second)):
        rows = list(_values(cohort, k, pairs).values())
        time = [[t.time if isinstance(t := case.target, SurvivalTarget) else np.nan] for case in cohort.cases]
        blocks.append(np.concatenate([np.array(rows), *([np.array(time)] if followed else [])], axis=1))
        cases += [(k, case) for case in cohort.cases]
    table, groups = np.concatenate(blocks), [case.group for _, case in cases]
    found = set(twins(table, groups))
    if followed:  # few columns make no row particular; with an equal follow-up they do
        covariates = [tuple(row) for row in np.nan_to_num(table[:, :-1], nan=-np.inf)]
        times = np.nan_to_num(table[:, -1], nan=-np.inf).tolist()
        for same in copied(times, covariates, groups):
            found |= {(i, j) for i in same for j in same if i < j}
    both = [(cases[i], cases[j]) for i, j in sorted(found) if cases[i][0] < cases[j][0]]
    return [(one.id, other.id) for (_, one), (_, other) in both if one.id != other.id]


def _values(cohort: Cohort, k: int, pairs: Sequence[Pair]) -> dict[str, Floats]:
    """Each case's values in the columns that both cohorts have, in the cohort's order; NaN where it has none.

    Args:
        k: 0 for the first cohort, 1 for the second.
    """
    rows: list[list[Floats]] = [[] for _ in cohort.cases]
    for pair in pairs:
        content, table = (pair.first, pair.second)[k], pair.tables[k]
        at = {case.id: i for i, case in enumerate(content.cases)}
        nothing = np.full(table.shape[1], np.nan)
        for row, case in zip(rows, cohort.cases, strict=True):
            row.append(table[at[case.id]] if case.id in at else nothing)
    return {case.id: np.concatenate([*row, []]) for row, case in zip(rows, cohort.cases, strict=True)}


def _columns(pair: Pair) -> Iterator[DataWarning]:
    """Columns that are levels in one and numbers in the other, on two scales, or with levels that the first lacks."""
    uses = [content.modality.use for content in (pair.first, pair.second)]
    widths = [use.dim for use in uses]
    if pair.first.table is None or pair.second.table is None:
        said = [use.encoder for use in uses]
        if widths[0] != widths[1]:
            text = (
                f"{pair.name}: {widths[0]} features an instance in the first, {widths[1]} in the second: two encoders"
            )
            yield DataWarning("other-width", pair.name, text)
        elif all(said) and said[0] != said[1]:
            text = f"{pair.name}: features of {said[0]} in the first, of {said[1]} in the second: two encoders"
            yield DataWarning("other-encoder", pair.name, text)
        return
    kinds = [c for c in pair.columns if (c in uses[0].categorical) != (c in uses[1].categorical)]
    if kinds:
        text = f"{pair.name}: {listed(kinds)}: levels in one cohort and numbers in the other; write them alike"
        yield DataWarning("other-kind", pair.name, text, tuple(kinds))
    scales, levels = [], []
    for column, a, b in zip(pair.columns, pair.tables[0].T, pair.tables[1].T, strict=True):
        if column in kinds:
            continue
        if column in uses[0].categorical:
            known = b[~np.isnan(b)]
            share = float(np.mean(~np.isin(known, a))) if len(known) else 0.0
            levels += [f"{column} ({share:.0%})"] if share > UNKNOWN_LEVELS else []
        elif seen := _two_scales(a, b):
            scales.append(f"{column} ({seen})")
    if scales:
        columns = "column" if len(scales) == 1 else "columns"
        text = f"{pair.name}: {len(scales)} {columns} on two scales: {'; '.join(scales[:4])}; bring both to one unit"
        yield DataWarning("other-scale", pair.name, text, tuple(scales))
    if levels:
        text = f"{pair.name}: levels that the first cohort does not have, of so many cases: {', '.join(levels[:4])}"
        yield DataWarning("unknown-levels", pair.name, text, tuple(levels))


def _two_scales(a: Floats, b: Floats) -> str:
    """How a column's quartiles differ where they look like two scales; empty where they do not."""
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if min(len(a), len(b)) < 10 or min(len(np.unique(a)), len(np.unique(b))) < 5:
        return ""  # codes and counts have no scale to be told by
    quartiles = [np.percentile(x, [25, 50, 75]) for x in (a, b)]
    spread = [float(q[2] - q[0]) for q in quartiles]
    if min(spread) == 0:
        return ""
    far = abs(quartiles[0][1] - quartiles[1][1]) > FAR_MEDIAN * max(spread)
    if not far and max(spread) / min(spread) <= FAR_SPREAD:
        return ""
    return " and ".join(f"median {q[1]:.3g}, quartiles {q[0]:.3g} to {q[2]:.3g}" for q in quartiles)


def _outcomes(first: Facts, second: Facts) -> Iterator[DataWarning]:
    """Other kinds of endpoints, other classes or shares of them, other lengths of follow-up."""
    if second.events is None and not any(second.classes.values()):
        return
    if (first.events is None) != (second.events is None) or set(first.classes) != set(second.classes):
        said = [", ".join(facts.classes) if facts.classes else "survival" for facts in (first, second)]
        text = f"outcomes differ in kind: {said[0]} in the first, {said[1]} in the second; nothing can be scored"
        yield DataWarning("other-endpoint", "outcome", text)
        return
    totals = [max(1, sum(facts.classes.values())) for facts in (first, second)]
    for label in first.classes:
        shares = [facts.classes[label] / n for facts, n in zip((first, second), totals, strict=True)]
        if abs(shares[0] - shares[1]) >= FAR_SHARES:
            text = f"{label!r} are {shares[0]:.0%} of the first cohort and {shares[1]:.0%} of the second"
            yield DataWarning("other-shares", "outcome", text, (label,))
            if len(first.classes) == 2:
                return
    if first.follow_up is not None and second.follow_up is not None:
        medians = [facts.follow_up.median_time for facts in (first, second) if facts.follow_up is not None]
        if min(medians) > 0 and max(medians) / min(medians) > FAR_TIMES:
            text = f"median times are {medians[0]:.3g} and {medians[1]:.3g} months: look at the unit of time"
            yield DataWarning("other-times", "follow-up", text)
