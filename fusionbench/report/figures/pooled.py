"""Several cohorts at once: random-effects means of paired differences, and ranks from six cohorts on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusionbench.report.analysis import Analysis
from fusionbench.report.estimate import Estimate
from fusionbench.report.figures.dot_plot import Series, dot_figure
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.style import COLOURS, GREY, SIZE, Style, shortened
from fusionbench.report.findings.pooled import RANKS_FROM, PooledCohorts, pool_cohorts, ranks
from fusionbench.report.model import Configuration
from fusionbench.report.ranking import ALPHA
from fusionbench.report.words import WORDS
from fusionbench.suites.suite import BASE
from fusionbench.survival.stats import RankTest

TITLE = "Cohorts together"
RANKS = "Ranks over cohorts"
_CAPTION = (
    "Random-effects mean over cohorts of each row's paired difference to the row that leads over all of them, with the "
    "95 % interval of Hartung and Knapp. Left of the dashed line: lower than the leader. {leaders}"
)
_RANKED = (
    "Critical-difference drawing (Demsar 2006): mean rank over {n} cohorts, 1 is best. The bar joins the best-ranked "
    "row with those not significantly different from it (Wilcoxon's signed-rank test, Holm-adjusted, 5 %); Iman and "
    "Davenport's F = {f:.2f}, p = {p:.3f}."
)
LINE = 0.2
NAME = 2.5
"""Inches of a row's name beside the ranks."""

SCALE = 4.0
"""Inches."""


def pooled(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """A panel for each variant, and from six cohorts on a figure of ranks."""
    found = pool_cohorts(analysis)
    if not found:
        yield Omitted(TITLE, "pooling needs two or more rows that were run on the same two or more cohorts")
        return
    rankings = list(dict.fromkeys(together.ranking for together in found))
    for i, ranking in enumerate(rankings):
        of_score = [together for together in found if together.ranking == ranking]
        yield _means(of_score, WORDS[ranking].short, numbered("cohorts", i, len(rankings)))
    ranked = [together for together in found if together.n_cohorts >= RANKS_FROM]
    if not ranked:
        n = max(together.n_cohorts for together in found)
        yield Omitted(RANKS, f"ranks are tested from {RANKS_FROM} cohorts on; here rows share {n}")
    for i, together in enumerate(ranked):
        yield _ranked(together, ranks(analysis, together), numbered("ranks", i, len(ranked)))


def _means(found: Sequence[PooledCohorts], score: str, name: str) -> FigureOrOmitted:
    """The cohorts that have one score. Rows are named without their variant, which is the panel's."""
    panel = {together.variant: f"{together.variant}, {together.n_cohorts} cohorts" for together in found}
    dots = {
        (panel[together.variant], (config[0], config[1], BASE)): Estimate(-effect.mean, -effect.high, -effect.low)
        for together in found
        for config, effect in together.effects.items()
        if effect is not None
    }
    if not dots:
        return Omitted(TITLE, "the rows' differences have no spread over folds, so that cohorts cannot be weighed")
    configs = [(config[0], config[1], BASE) for together in found for config in together.rows]
    shown = [title for title in panel.values() if any(title == place for place, _ in dots)]
    series = Series("difference", Style(COLOURS[0], "o"), dots)
    figure, marks = dot_figure(configs, shown, [series], axis=f"difference in {score}", reference=0.0)
    leaders = "; ".join(f"{panel[of.variant]}: {of.leader[0]} on {of.leader[1]} leads" for of in found)
    below = sum(dot.high < 0 for dot in dots.values())
    alt = f"Points with intervals: mean difference to the leader. {below} of {len(dots)} intervals lie below zero."
    return ReportFigure(name, TITLE, _CAPTION.format(leaders=f"{leaders}."), alt, figure, marks=marks)


def _ranked(together: PooledCohorts, test: RankTest, name: str) -> ReportFigure:
    configs = list(together.rows)
    best = configs[test.best]
    caption = _RANKED.format(n=together.n_cohorts, f=test.f, p=test.p)
    alt = f"Mean ranks of {len(configs)} rows over {together.n_cohorts} cohorts; {best[0]} on {best[1]} is best-ranked."
    title = RANKS + ("" if together.variant == BASE else f": {together.variant}")
    return ReportFigure(name, title, caption, alt, rank_figure(configs, test))


def rank_figure(configs: Sequence[Configuration], test: RankTest) -> Figure:
    """Names of the better half at the left, of the others at the right, each joined to its rank on the scale."""
    order = [int(i) for i in np.argsort(test.ranks, kind="stable")]
    half = -(-len(order) // 2)
    side, height = 3.0, 0.75 + (half + 1) * LINE
    figure = Figure(figsize=(SCALE + 2 * side, height))
    axes = figure.add_axes((side / (SCALE + 2 * side), 0.0, SCALE / (SCALE + 2 * side), 1 - 0.4 / height))
    axes.set_xlim(1, len(order))
    axes.set_ylim(-height + 0.4, 0)
    _scale(axes, len(order))
    _clique(axes, test)
    for place, i in enumerate(order):
        left = place < half
        y = -0.35 - LINE * (place if left else len(order) - 1 - place)
        edge = 1 if left else len(order)
        axes.plot([test.ranks[i], test.ranks[i], edge], [0, y, y], color=GREY, linewidth=0.8, clip_on=False)
        text = shortened(f"{configs[i][0]} on {configs[i][1]}", NAME) + f"  {test.ranks[i]:.2f}"
        axes.annotate(
            *(text, (edge, y)),
            xytext=(-4 if left else 4, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=SIZE,
            annotation_clip=False,
        )
    return figure


def _scale(axes: Axes, n: int) -> None:
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.spines["top"].set_visible(True)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    axes.set_xticks(range(1, n + 1, max(1, n // 12)))
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("mean rank (1 = best)")


def _clique(axes: Axes, test: RankTest) -> None:
    tied = [rank for rank, p in zip(test.ranks, test.p_holm, strict=True) if not p <= ALPHA]
    axes.plot([min(tied), max(tied)], [-0.15, -0.15], color=COLOURS[1], linewidth=4, solid_capstyle="butt")
