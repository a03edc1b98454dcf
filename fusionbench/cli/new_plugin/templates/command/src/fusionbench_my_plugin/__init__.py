"""The plugin `my-plugin`: what fusionbench finds when it looks for plugins."""

from __future__ import annotations

from collections.abc import Iterable

import typer
from fusionbench import hookimpl


@hookimpl
def fusionbench_commands() -> Iterable[typer.Typer]:
    # Imported in here, since every verb of the command line looks for plugins.
    from fusionbench_my_plugin.command import app

    return [app]
