"""Several cohorts pooled: random-effects means of paired differences, and ranks from six cohorts on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Entry, Section
from fusionbench.report.model import FULL, HARRELL, Configuration, RowKey, configuration_of, is_oracle
from fusionbench.report.paired import comparison, fold_mean
from fusionbench.survival.stats import RandomEffects, RankTest, holm, random_effects, rank_test

RANKS_FROM = 6
"""Cohorts from which models are compared by rank; fewer carry no rank test."""


@dataclass(frozen=True)
class PooledCohorts:
    """Rows of one variant that were run on the most cohorts, pooled over these.

    Attributes:
        rows: configuration to dataset to the row.
        means: configuration to the mean over cohorts of its c-index; best first.
        effects: every other configuration to the leader's lead over it; None where a cohort's difference has no spread.
        p_holm: the effects' p-values, adjusted over all of them.
    """

    variant: str
    n_cohorts: int
    rows: Mapping[Configuration, Mapping[str, RowKey]]
    means: Mapping[Configuration, float]
    effects: Mapping[Configuration, RandomEffects | None]
    p_holm: Mapping[Configuration, float]

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
    """The pooled cohorts of each variant with two or more rows on the same two or more cohorts."""
    configs = _configs(analysis)
    return [
        of
        for variant in dict.fromkeys(config[2] for config in configs)
        if (of := _pool_variant(analysis, configs, variant))
    ]


def _pool_variant(
    analysis: Analysis, configs: Mapping[Configuration, dict[str, RowKey]], variant: str
) -> PooledCohorts | None:
    of = {config: rows for config, rows in configs.items() if config[2] == variant}
    most = max(map(len, of.values()), default=0)
    everywhere = {config: rows for config, rows in of.items() if len(rows) == most}
    if most < 2 or len(everywhere) < 2:
        return None
    means = {k: float(np.mean([_mean(analysis, row) for row in rows.values()])) for k, rows in everywhere.items()}
    leader, *others = sorted(everywhere, key=lambda config: -means[config])
    effects = {config: _effect(analysis, everywhere[leader], everywhere[config]) for config in others}
    # One family over all other rows; effects without a p do not count in it.
    p = holm([effect.p if effect else math.nan for effect in effects.values()])
    ordered = {config: means[config] for config in (leader, *others)}
    return PooledCohorts(variant, most, everywhere, ordered, effects, dict(zip(effects, map(float, p), strict=True)))


def ranks(analysis: Analysis, together: PooledCohorts) -> RankTest:
    """Ranks of the configurations of `together.rows`, in that order, over its cohorts."""
    datasets = list(next(iter(together.rows.values())))
    table = np.array([[_mean(analysis, rows[name]) for rows in together.rows.values()] for name in datasets])
    return rank_test(table, higher_is_better=True)


def _configs(analysis: Analysis) -> dict[Configuration, dict[str, RowKey]]:
    """Configuration to dataset to the row, where Harrell's c is defined."""
    configs: dict[Configuration, dict[str, RowKey]] = {}
    for (row, pattern, metric), values in analysis.values.items():
        if pattern == FULL and metric == HARRELL and values and not is_oracle(row[1]):
            configs.setdefault(configuration_of(row), {})[row[0]] = row
    return configs


def _mean(analysis: Analysis, row: RowKey) -> float:
    return fold_mean(analysis.values[row, FULL, HARRELL])


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
    header = ("model", "modalities", "mean c-index", "difference", "p", "I2")
    return Section(2, named, header=header, lines=tuple(lines), notes=(note,))


def _effect(analysis: Analysis, leader: Mapping[str, RowKey], rows: Mapping[str, RowKey]) -> RandomEffects | None:
    """None where a cohort's difference has no spread, as of two rows that say the same."""
    lines = [_difference(analysis, leader[dataset], row) for dataset, row in rows.items() if dataset in leader]
    gaps, errors = [line["difference"] for line in lines], [line["se"] for line in lines]
    # Cohorts are weighed by the inverse of their variance, which a zero standard error does not allow.
    usable = len(lines) > 1 and all(math.isfinite(error) and error > 0 for error in errors)
    return random_effects(gaps, np.square(errors)) if usable else None


def _difference(analysis: Analysis, one: RowKey, other: RowKey) -> dict[str, Any]:
    values = (analysis.values[one, FULL, HARRELL], analysis.values[other, FULL, HARRELL])
    return comparison(analysis.stored, (one, other), FULL, HARRELL, values, None)


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
