"""A suite's figures, made from stored results alone.

A maker is a function from an `Analysis` and the run's lock to figures, or to the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fusionbench.report.analysis import Analysis
from fusionbench.report.figures.calibration import calibration
from fusionbench.report.figures.classes import classes
from fusionbench.report.figures.cost import cost
from fusionbench.report.figures.external import external
from fusionbench.report.figures.figure import FigureOrOmitted, Maker
from fusionbench.report.figures.forest import forest
from fusionbench.report.figures.kaplan_meier import survival
from fusionbench.report.figures.missing import missing
from fusionbench.report.figures.pooled import pooled
from fusionbench.report.figures.style import report_style
from fusionbench.report.figures.training import training
from fusionbench.report.figures.uplift import uplift

MAKERS: tuple[Maker, ...] = (forest, uplift, pooled, external, missing, survival, calibration, classes, training, cost)


def make_figures(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[FigureOrOmitted]:
    """Yields the figures of all makers in order; those of one maker at a time are in memory."""
    for make in MAKERS:
        with report_style():
            figures = list(make(analysis, lock))
        yield from figures
