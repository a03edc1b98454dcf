"""The verbs of the command line: the core's, then those that plugins bring.

Plugins are looked at only for a name that is not the core's, and for the list of `--help`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from fusionbench.cli.signals import interruptible
from fusionbench.core.errors import PluginError

if TYPE_CHECKING:
    from fusionbench.core.registry import Registry


class Verbs(TyperGroup):
    """A group of commands that plugins add to."""

    @cached_property
    def registry(self) -> Registry:
        """The plugins' commands, looked for once.

        Raises:
            PluginError: a plugin's command has the name of one of fusionbench's own.
        """
        from fusionbench.core.registry import discover

        registry = discover(("commands",))
        for name, (_, plugin) in registry.found["commands"].items():
            if name in self.commands:
                raise PluginError(
                    f"plugin {plugin!r} brings a command {name!r}, which fusionbench has itself; rename it"
                )
        return registry

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *self.registry.names("commands")]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """fusionbench's own verb of that name, else a plugin's."""
        return super().get_command(ctx, cmd_name) or self._from_plugin(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Call the verb; a signal that ends it is one line and its exit status, in every verb."""
        with interruptible():
            return super().invoke(ctx)

    def _from_plugin(self, name: str) -> Any:
        if not self.registry.knows("commands", name):
            for plugin in self.registry.plugins:
                if plugin.status == "broken":
                    typer.echo(f"plugin {plugin.name!r} is broken: {plugin.reason}", err=True)
            return None
        command = typer.main.get_command(self.registry.get("commands", name))
        command.name = name
        return command
