"""Models trained by the harness on small suites in which no row is better than another.

A/A, one model with two families of seeds: a row is trained twice on one cohort and one set of folds; only the root seed
differs that the seed of each fit is derived from (initialisation, order of cases, dropout). Both fits are draws from
one distribution, so the true difference is 0 whatever the cohort. Given the cohort, the differences of the folds are
independent, and a plain t-test would do: A/A cannot show that a correction is large enough, only that nothing else is
wrong and what the correction costs.

What the correction is for needs rows that differ by what they learnt from the shared training patients: twins, one
model on two tables that tell the same about a patient with noise of their own. Over cohorts, the true difference is 0
by symmetry; within a cohort one table is the luckier one, in all folds at once.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from fusionbench.core.cell_result import CellResult
from fusionbench.core.registry import GROUP, Registry, discover
from fusionbench.core.seeds import derive
from fusionbench.data.cohort import Cohort
from fusionbench.execution.run_cell import run_cell
from fusionbench.execution.shared import SharedResources
from fusionbench.report.bootstrap import bootstrap
from fusionbench.report.predictions import FoldPredictions, FollowUp, RowPattern
from fusionbench.suites.cell import Cell
from fusionbench.suites.plan import expand
from fusionbench.suites.suite import Suite
from fusionbench.suites.suite_files import parse_suite
from fusionbench.survival.stats import percentile_interval
from fusionbench.survival.stats.concordance import Floats

FAMILIES = {("left", "a"): 0, ("left", "b"): 1, ("right", "a"): 2}
"""(modality, family of seeds) to the row of `Trained`."""
SUITE = """
title = "Rows of which none is better"
datasets = ["twins[seed={seed}]"]
models = ["snn"]
modalities = [["left"], ["right"]]
seed = {seed}
[train]
epochs = {epochs}
batch_size = 32
lr = 2e-3
"""


class Trained(NamedTuple):
    """One suite's rows.

    Attributes:
        values: (row, fold) Harrell's c.
        ratio: n_test / n_train, train with validation.
        intervals: (2, end) bootstrap interval of the difference: A/A, twins.
    """

    values: Floats
    ratio: float
    intervals: Floats


def trained(seed: int, epochs: int, draws: int) -> Trained:
    """Train a suite's rows and compare them as a table does."""
    bench = SharedResources(registry(), Path("nowhere"), threads=1)
    cells = expand(_suite(seed, epochs), bench.registry, bench.cohort).listed
    runs = [
        (row, cell.fold, run_cell(_of_family(cell, seed, family), bench, _no_members))
        for (modality, family), row in FAMILIES.items()
        for cell in cells
        if cell.modalities == (modality,)
    ]
    values = np.full((len(FAMILIES), len(runs) // len(FAMILIES)), np.nan)
    for row, fold, result in runs:
        assert result.status == "ok", result.reason
        values[row, fold] = result.scores[0].value
    cohort = bench.cohort(cells[0].dataset, "patient")
    ratios = [len(c.split.test) / (len(c.split.train) + len(c.split.val)) for c in cells]
    return Trained(values, float(np.mean(ratios)), _intervals(runs, cohort, seed, draws))


@cache
def registry() -> Registry:
    """What is installed, and the twins through the same door."""
    twins = EntryPoint("calibration-twins", "tests.calibration.twins", GROUP)
    return discover(points=[*entry_points(group=GROUP), twins])


def _suite(seed: int, epochs: int) -> Suite:
    return parse_suite("calibration", SUITE.format(seed=seed, epochs=epochs), __file__)


def _of_family(cell: Cell, seed: int, family: str) -> Cell:
    """The same cell, its folds held, fitted under another root seed."""
    return replace(cell, seed=derive(seed, "family", family))


def _no_members(key: str) -> NoReturn:
    raise AssertionError(f"cell {key} was asked for as a member")


def _intervals(runs: list[tuple[int, int, CellResult]], cohort: Cohort, seed: int, draws: int) -> Floats:
    """(2, end) intervals of the differences of A/A and of the twins."""
    lines: list[RowPattern] = [(("twins", "snn", m, family), "full") for m, family in FAMILIES]
    targets = _targets(cohort)
    parts = [_tested(lines[row], fold, result, targets) for row, fold, result in runs]
    made = bootstrap(parts, targets, seed=seed, draws=draws).draws
    return np.array([percentile_interval(made[lines[0]] - made[line]) for line in lines[1:]])


def _targets(cohort: Cohort) -> FollowUp:
    ids = tuple(sorted(cohort.targets))
    time = np.array([cohort.targets[i].time for i in ids])
    event = np.array([cohort.targets[i].event for i in ids])
    return FollowUp("twins", ids, time, event, np.arange(len(ids)), "twins")


def _tested(line: RowPattern, fold: int, result: CellResult, cohort: FollowUp) -> FoldPredictions:
    prediction = next(p.prediction for p in result.predictions if p.split == "test")
    place = np.searchsorted(cohort.cases, prediction.ids)
    order = np.argsort(place)
    return FoldPredictions(line, (0, fold), place[order], prediction.risk[None, None, order])
