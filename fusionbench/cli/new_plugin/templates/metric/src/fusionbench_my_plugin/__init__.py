"""The plugin `my-plugin`: what fusionbench finds when it looks for plugins."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable

from fusionbench import Metric, hookimpl


@hookimpl
def fusionbench_metrics() -> Iterable[type[Metric]]:
    from fusionbench_my_plugin.landmark import LandmarkConcordance

    return [LandmarkConcordance]


@hookimpl
def fusionbench_suites() -> Iterable[Traversable]:
    return [files(__name__) / "my-plugin.toml"]
