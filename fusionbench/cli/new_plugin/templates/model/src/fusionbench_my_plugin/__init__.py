"""The plugin `my-plugin`: what fusionbench finds when it looks for plugins."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable

from fusionbench import FusionModel, hookimpl


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    # Imported in here, since it loads torch, which `fusionbench ls suites` can do without.
    from fusionbench_my_plugin.fusion import MeanFusion

    return [MeanFusion]


@hookimpl
def fusionbench_suites() -> Iterable[Traversable]:
    return [files(__name__) / "my-plugin.toml"]
