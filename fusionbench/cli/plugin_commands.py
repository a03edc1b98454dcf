"""The verbs of the command line: the core's, then those that plugins bring.

Plugins are looked at only for a name that is not the core's, and for the list of `--help`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from fusionbench.cli.signals import interruptible

if TYPE_CHECKING:
    from fusionbench.core.registry import Registry


class Verbs(TyperGroup):
    """A group of commands that plugins add to."""

    @cached_property
    def registry(self) -> Registry:
        """The plugins' commands, looked for once."""
        from fusionbench.core.registry import discover

        return discover(("commands",))

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
        """A plugin's command; None, told on standard error, where no plugin brings it or typer cannot make it."""
        if not self.registry.knows("commands", name):
            for plugin in self.registry.plugins:
                if plugin.status == "broken":
                    typer.echo(f"plugin {plugin.name!r} is broken: {plugin.reason}", err=True)
            return None
        try:
            command = typer.main.get_command(self.registry.get("commands", name))
        # A plugin is third-party code and may fail in any way; the other commands are shown and run.
        except Exception as error:  # noqa: BLE001
            plugin = self.registry.owner("commands", name)
            typer.echo(f"plugin {plugin.name!r} is broken: command {name!r}: {error}", err=True)
            return None
        command.name = name
        return command
