"""Models on the test folds of their own cohort and on other cohorts: one line a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusionbench.report.analysis import Analysis
from fusionbench.report.estimate import Estimate
from fusionbench.report.external_tests import ExternalTest
from fusionbench.report.figures.dot_plot import Series, dot_figure
from fusionbench.report.figures.figure import FigureOrOmitted, Omitted, ReportFigure, numbered
from fusionbench.report.figures.style import COLOURS, Style
from fusionbench.report.findings.estimates import c_estimate
from fusionbench.report.model import FULL, RANKINGS, Configuration, configuration_of
from fusionbench.report.words import WORDS

TITLE = "Internal and external validation"
_CAPTION = (
    "{score} with all modalities and its 95 % interval over resampled patients, models fixed. Filled: the test folds "
    "of {train}, on which the models were fitted. Open: mean over the fold models on every patient of the other cohort."
)


def external(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """A figure for each cohort that models were fitted on, with a panel for each external cohort; none without one."""
    if not analysis.external:
        return
    groups = [
        (metric, train, tests)
        for metric in RANKINGS
        for train in dict.fromkeys(test.train for test in analysis.external)
        if (tests := [test for test in analysis.external if test.train == train and test.of(metric)])
    ]
    if not groups:
        yield Omitted(TITLE, "no row has a score on an external cohort")
    for i, (metric, train, tests) in enumerate(groups):
        yield _figure(analysis, metric, train, tests, numbered("external", i, len(groups)))


def _figure(analysis: Analysis, metric: str, train: str, tests: Sequence[ExternalTest], name: str) -> ReportFigure:
    inside: dict[tuple[str, Configuration], Estimate] = {}
    outside: dict[tuple[str, Configuration], Estimate] = {}
    configs: dict[Configuration, None] = {}
    for test in tests:
        for mean in test.of(metric):
            config = configuration_of(mean.row)
            configs[config] = None
            outside[test.test, config] = mean.external
            inside[test.test, config] = c_estimate(analysis, (mean.row, FULL))
    words = WORDS[metric]
    series = [
        Series(f"test folds of {train}", Style(COLOURS[0], "o"), inside),
        Series("external cohort", Style(COLOURS[1], "s"), outside, filled=False),
    ]
    figure, marks = dot_figure(list(configs), [t.test for t in tests], series, axis=words.axis, reference=0.5)
    lower = sum(outside[place].value < inside[place].value for place in outside)
    alt = (
        f"Points with intervals: {words.short} of {len(configs)} rows fitted on {train}, on its test folds and on "
        f"{', '.join(t.test for t in tests)}. {lower} of {len(outside)} external points lie below the internal ones."
    )
    caption = _CAPTION.format(score=words.score, train=train)
    return ReportFigure(name, TITLE, caption, alt, figure, marks=marks)
