"""The plugin `my-plugin`: what fusionbench finds when it looks for plugins."""

from __future__ import annotations

from collections.abc import Iterable

from fusionbench import Executor, hookimpl


@hookimpl
def fusionbench_executors() -> Iterable[type[Executor]]:
    # Imported in here, since every verb of the command line looks for plugins.
    from fusionbench_my_plugin.pool import Pool

    return [Pool]
