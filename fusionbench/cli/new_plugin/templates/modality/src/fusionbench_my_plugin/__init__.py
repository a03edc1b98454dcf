"""The plugin `my-plugin`: what fusionbench finds when it looks for plugins."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable

from fusionbench import Dataset, Modality, hookimpl


@hookimpl
def fusionbench_modalities() -> Iterable[type[Modality]]:
    from fusionbench_my_plugin.visits import Visits

    return [Visits]


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    from fusionbench_my_plugin.cohort import VisitCohort

    return [VisitCohort]


@hookimpl
def fusionbench_suites() -> Iterable[Traversable]:
    return [files(__name__) / "my-plugin.toml"]
