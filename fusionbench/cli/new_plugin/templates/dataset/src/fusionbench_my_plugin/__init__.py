"""The plugin `my-plugin`: what fusionbench finds when it looks for plugins."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable

from fusionbench import Dataset, hookimpl


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    from fusionbench_my_plugin.cohort import CsvCohort

    return [CsvCohort]


@hookimpl
def fusionbench_suites() -> Iterable[Traversable]:
    return [files(__name__) / "my-plugin.toml"]
