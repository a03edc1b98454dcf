"""What comes with fusionbench, through the same hooks that third-party plugins use."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fusionbench.core.hookspecs import hookimpl

if TYPE_CHECKING:
    from fusionbench.core.executor import Executor
    from fusionbench.core.interfaces import Dataset, Modality
    from fusionbench.core.metric import Metric


@hookimpl
def fusionbench_modalities() -> Iterable[type[Modality]]:
    """Vectors, bags and grids."""
    from fusionbench.builtin.bag import Bag
    from fusionbench.builtin.grid import Grid
    from fusionbench.builtin.vector import Vector

    return [Vector, Bag, Grid]


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    """The synthetic cohort, the breast cancer cohorts of scikit-survival and scikit-learn, a user's own tables."""
    from fusionbench.builtin.breast_cancer import BreastCancer
    from fusionbench.builtin.synthetic import Synthetic
    from fusionbench.builtin.table.dataset import Table
    from fusionbench.builtin.wisconsin import Wisconsin

    return [Synthetic, BreastCancer, Wisconsin, Table]


@hookimpl
def fusionbench_metrics() -> Iterable[type[Metric]]:
    """Of survival: concordance, time-dependent AUC, integrated Brier score, calibration; and those of classes."""
    from fusionbench.builtin.class_metrics import CLASS_METRICS
    from fusionbench.builtin.metrics import METRICS

    return [*METRICS, *CLASS_METRICS]


@hookimpl
def fusionbench_executors() -> Iterable[type[Executor]]:
    """One cell after the other, and Ray where it is installed."""
    from fusionbench.execution.executors.ray import Ray
    from fusionbench.execution.executors.serial import Serial

    return [Serial, Ray] if find_spec("ray") else [Serial]


@hookimpl
def fusionbench_suites() -> Iterable[Traversable]:
    """The suites of `benchmarks/`."""
    return sorted((f for f in _suite_folder().iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)


def _suite_folder() -> Traversable:
    """`benchmarks/` lies inside the package in a wheel and beside it in a checkout."""
    shipped = files("fusionbench") / "_suites"
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "benchmarks"
