"""The command line: one small module a verb; `verbs` adds those of plugins. Heavy imports stay inside
the verbs, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fusionbench.cli import (
    audit,
    check,
    compare,
    data,
    doctor,
    explain,
    ls,
    new_plugin,
    plugins,
    predict,
    profile,
    publish,
    report,
    run,
    status,
    table,
    tune,
    validate,
    why,
)
from fusionbench.cli import mlflow as tracking
from fusionbench.cli.plugin_commands import Verbs
from fusionbench.core.errors import FusionBenchError

app = typer.Typer(
    name="fusionbench",
    cls=Verbs,
    help="A benchmark suite for multimodal fusion in survival prediction.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: its frames cost as much start-up as all else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_state = {"debug": False}


def _version(wanted: bool) -> None:
    if wanted:
        from fusionbench import __version__

        typer.echo(f"fusionbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    _state["debug"] = debug


for verb in (
    *(run, status, why, ls, plugins, validate, table, report, audit, compare, predict),
    *(publish, explain, profile, tune, tracking, data, doctor, new_plugin, check),
):
    verb.register(app)


def main() -> None:
    """Entry point. Exit status: 0 all done, 1 some cells failed, 2 the request was wrong, 130 interrupted."""
    try:
        app()
    except FusionBenchError as error:
        if _state["debug"]:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
