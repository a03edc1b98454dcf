"""Several cohorts pooled: random-effects means of paired differences, and ranks from six cohorts on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionbench.core.rounding import DIGITS
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Entry, Section
from fusionbench.report.findings.cohorts import CohortRows, cohort_rows, model_name
from fusionbench.report.model import FULL, Configuration, RowKey, is_oracle
from fusionbench.report.paired import comparison, fold_mean
from fusionbench.report.words import WORDS
from fusionbench.survival.stats import RandomEffects, RankTest, holm, random_effects, rank_test

RANKS_FROM = 6
"""Cohorts from which models are compared by rank; fewer carry no rank test."""


TWO_COHORTS = (
    "of two cohorts alone the interval is very wide, since how far cohorts differ is estimated from one difference "
    "(t distribution with one degree of freedom, factor 12.7): look at each cohort"
)
"""Note below what is pooled over two cohorts."""


@dataclass(frozen=True)
class PooledCohorts:
    """Rows of one variant that were run on the most cohorts, pooled over these.

    Attributes:
        rows: configuration to dataset to the row.
        ranking: the metric that is pooled: Harrell's c or the AUROC.
        means: configuration to the mean over cohorts of that metric; best first.
        effects: every other configuration to the leader's lead over it; None where a cohort's difference has no spread.
        p_holm: the effects' p-values, adjusted over all of them.
        notes: what was counted once, pooled under several options, or left out.
    """

    variant: str
    ranking: str
    n_cohorts: int
    rows: Mapping[Configuration, Mapping[str, RowKey]]
    means: Mapping[Configuration, float]
    effects: Mapping[Configuration, RandomEffects | None]
    p_holm: Mapping[Configuration, float]
    notes: tuple[str, ...] = ()

    @property
    def leader(self) -> Configuration:
        """The configuration with the highest mean over all cohorts."""
        return next(iter(self.means))


def pooled_sections(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """Sections that compare every row with the one of the highest mean over cohorts; none for a single cohort."""
    for together in pool_cohorts(analysis):
        yield _pooled(together)
        if together.n_cohorts >= RANKS_FROM:
            yield _ranked(together, ranks(analysis, together))


def pool_cohorts(analysis: Analysis) -> list[PooledCohorts]:
    """The pooled cohorts of each variant with two or more rows on the same two or more cohorts.

    Datasets that share patients are one cohort, and rows that lack folds are left out. Cohorts with follow-up and
    cohorts with classes are pooled apart.
    """
    return [of for ranking in analysis.rankings for of in _pool_ranking(analysis, ranking)]


def _pool_ranking(analysis: Analysis, ranking: str) -> list[PooledCohorts]:
    found = cohort_rows(analysis, ranking)
    return [
        of
        for variant in dict.fromkeys(config[2] for config in found.rows)
        if (of := _pool_variant(analysis, ranking, found, variant))
    ]


def _pool_variant(analysis: Analysis, ranking: str, found: CohortRows, variant: str) -> PooledCohorts | None:
    everywhere = _on_most_cohorts({config: rows for config, rows in found.rows.items() if config[2] == variant})
    if not everywhere:
        return None
    most = len(next(iter(everywhere.values())))
    means = {
        k: float(np.mean([_mean(analysis, ranking, row) for row in rows.values()])) for k, rows in everywhere.items()
    }
    leader, *others = sorted(everywhere, key=lambda config: -round(means[config], DIGITS))
    effects = {config: _effect(analysis, ranking, everywhere[leader], everywhere[config]) for config in others}
    # One family over all other rows; effects without a p do not count in it.
    p = holm([effect.p if effect else math.nan for effect in effects.values()])
    ordered = {config: means[config] for config in (leader, *others)}
    notes = tuple(_notes(analysis, ranking, found, everywhere, variant))
    p_holm = dict(zip(effects, map(float, p), strict=True))
    return PooledCohorts(variant, ranking, most, everywhere, ordered, effects, p_holm, notes)


def _on_most_cohorts(
    configs: Mapping[Configuration, Mapping[str, RowKey]],
) -> dict[Configuration, dict[str, RowKey]]:
    """Two or more configurations on the largest set of cohorts that so many share; of equals most configurations."""
    sets = {frozenset(rows) for rows in configs.values() if len(rows) > 1}
    members = {shared: [config for config, rows in configs.items() if rows.keys() >= shared] for shared in sets}
    several = [shared for shared in sorted(members, key=sorted) if len(members[shared]) > 1]
    largest = max(several, key=lambda shared: (len(shared), len(members[shared])), default=frozenset())
    everywhere: dict[Configuration, dict[str, RowKey]] = {}
    for config in members.get(largest, ()):
        rows = {name: row for name, row in configs[config].items() if name in largest}
        if rows not in everywhere.values():  # options that differ elsewhere only are one configuration here
            everywhere[config] = rows
    return everywhere if len(everywhere) > 1 else {}


def _notes(
    analysis: Analysis,
    ranking: str,
    found: CohortRows,
    everywhere: Mapping[Configuration, Mapping[str, RowKey]],
    variant: str,
) -> Iterator[str]:
    yield from found.not_counted
    yield from (f"options by cohort: {text}" for config, text in found.options.items() if config in everywhere)
    incomplete = analysis.table.incomplete.items()
    lacking = {row: n for (row, *of), n in incomplete if of == [FULL, ranking] and row[3] == variant}
    left_out = [f"{row[1]} on {row[2]}, {row[0]} ({n})" for row, n in lacking.items() if not is_oracle(row[1])]
    if left_out:
        yield f"left out, for lack of folds: {'; '.join(left_out)}"
    yield from _several_options(everywhere, {c: rows for c, rows in found.rows.items() if c[2] == variant})


def _several_options(
    everywhere: Mapping[Configuration, Mapping[str, RowKey]],
    configs: Mapping[Configuration, Mapping[str, RowKey]],
) -> Iterator[str]:
    """Models that were run on every cohort, under several options of which none stands on all."""
    pooled = {(model_name(model), modalities) for model, modalities, _ in everywhere}
    cohorts = next(iter(everywhere.values())).keys()
    datasets: dict[tuple[str, str], set[str]] = {}
    for (model, modalities, _), rows in configs.items():
        datasets.setdefault((model_name(model), modalities), set()).update(rows)
    for (name, modalities), there in datasets.items():
        if (name, modalities) not in pooled and there >= cohorts:
            yield f"left out, as no one set of its options was run on every cohort: {name} on {modalities}"


def ranks(analysis: Analysis, together: PooledCohorts) -> RankTest:
    """Ranks of the configurations of `together.rows`, in that order, over its cohorts."""
    datasets = list(next(iter(together.rows.values())))
    table = np.array(
        [[_mean(analysis, together.ranking, rows[name]) for rows in together.rows.values()] for name in datasets]
    )
    return rank_test(table, higher_is_better=True)


def _mean(analysis: Analysis, ranking: str, row: RowKey) -> float:
    return fold_mean(analysis.values[row, FULL, ranking])


def _pooled(together: PooledCohorts) -> Section:
    leader, means = together.leader, together.means
    lines = [(Entry(leader[0], True), Entry(leader[1], True), Entry(f"{means[leader]:.3f}", True), *[Entry("-")] * 3)]
    lines += [
        _line(config, means[config], effect, together.p_holm[config]) for config, effect in together.effects.items()
    ]
    named = f"{together.n_cohorts} cohorts together" + ("" if together.variant == "base" else f", {together.variant}")
    note = (
        "difference: the leading row minus this one, random-effects mean of the cohorts' paired differences, 95 % "
        "interval of Hartung and Knapp, never narrower than the cohorts' own errors allow; p: Holm-adjusted; I2: share "
        "of the variation that lies between cohorts"
    )
    header = ("model", "modalities", f"mean {WORDS[together.ranking].short}", "difference", "p", "I2")
    wide = [TWO_COHORTS] if together.n_cohorts == 2 else []
    return Section(2, named, header=header, lines=tuple(lines), notes=(note, *wide, *together.notes))


def _effect(
    analysis: Analysis, ranking: str, leader: Mapping[str, RowKey], rows: Mapping[str, RowKey]
) -> RandomEffects | None:
    """None where a cohort's difference has no spread, as of two rows that say the same."""
    lines = [_difference(analysis, ranking, leader[dataset], row) for dataset, row in rows.items() if dataset in leader]
    gaps, errors = [line["difference"] for line in lines], [line["se"] for line in lines]
    # Cohorts are weighed by the inverse of their variance, which a zero standard error does not allow.
    usable = len(lines) > 1 and all(math.isfinite(error) and error > 0 for error in errors)
    return random_effects(gaps, np.square(errors)) if usable else None


def _difference(analysis: Analysis, ranking: str, one: RowKey, other: RowKey) -> dict[str, Any]:
    values = tuple(analysis.values[row, FULL, ranking] for row in (one, other))
    return comparison(analysis.stored, (one, other), FULL, ranking, (values[0], values[1]), None)


def _line(config: Configuration, mean: float, effect: RandomEffects | None, p: float) -> tuple[Entry, ...]:
    head = (Entry(config[0]), Entry(config[1]), Entry(f"{mean:.3f}"))
    if effect is None:
        return (*head, Entry("undefined"), Entry("-"), Entry("-"))
    interval = f"{effect.mean:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]"
    return (*head, Entry(interval), Entry(f"{p:.3f}"), Entry(f"{effect.i2:.0%}"))


def _ranked(together: PooledCohorts, test: RankTest) -> Section:
    order = np.argsort(test.ranks, kind="stable")
    names = list(together.rows)
    lines = [
        tuple(map(Entry, (*names[i][:2], f"{test.ranks[i]:.2f}", "-" if i == test.best else f"{test.p_holm[i]:.3f}")))
        for i in order
    ]
    title = "Ranks over cohorts" + ("" if together.variant == "base" else f", {together.variant}")
    note = (
        f"do the models differ at all: Iman and Davenport's F = {test.f:.2f}, p = {test.p:.3f}; p of a row: Wilcoxon's "
        "signed-rank test against the best-ranked one, Holm-adjusted"
    )
    return Section(3, title, header=("model", "modalities", "mean rank", "p"), lines=tuple(lines), notes=(note,))
