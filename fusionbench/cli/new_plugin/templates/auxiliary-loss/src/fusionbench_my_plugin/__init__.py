"""The plugin `my-plugin`: what fusionbench finds when it looks for plugins."""

from __future__ import annotations

from collections.abc import Iterable

from fusionbench import FusionModel, hookimpl


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    # Imported in here, since it loads torch, which `fusionbench ls suites` can do without.
    from fusionbench_my_plugin.fusion import Reconstructing

    return [Reconstructing]
