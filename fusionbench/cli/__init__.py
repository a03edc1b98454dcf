"""The command line. Heavy imports stay inside the commands, so that `--help` is quick."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from fusionbench.cli import (
    checks,
    compare,
    data,
    explain,
    mlflow,
    new_plugin,
    plugins,
    predict,
    profile,
    run,
    status,
    table,
    tune,
)
from fusionbench.cli.output import checked_output
from fusionbench.cli.plugin_commands import Verbs
from fusionbench.core.errors import FusionBenchError, system_problem

app = typer.Typer(
    name="fusionbench",
    cls=Verbs,
    help="A benchmark suite for multimodal fusion in survival prediction and classification.",
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


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run.run,
    "status": status.status,
    "why": status.why,
    "ls": plugins.ls,
    "plugins": plugins.plugins,
    "validate": checks.validate,
    "table": table.table,
    "report": table.report,
    "audit": checks.audit,
    "compare": compare.compare,
    "score": compare.score,
    "import": compare.import_,
    "predict": predict.predict,
    "publish": table.publish,
    "explain": explain.explain,
    "profile": profile.profile,
    "tune": tune.tune,
    "sync": mlflow.sync,
    "ui": mlflow.ui,
    "doctor": checks.doctor,
    "new-plugin": new_plugin.new_plugin,
    "check": plugins.check,
}
"""The commands in the order of `--help`; `data` has subcommands and is added last."""

for name, function in COMMANDS.items():
    app.command(name)(function)
app.add_typer(data.data, name="data")


def main() -> None:
    """Entry point. Exit status: 0 all done, 1 some cells failed, 2 the request was wrong, 130 interrupted.

    2 also where the output could not be written, and 141 where its reader went away; see `checked_output`.
    """
    with checked_output():
        try:
            app()
        except FusionBenchError as error:
            if _state["debug"]:
                raise
            _end(str(error))
        except OSError as error:  # where a file is opened says more; this is for the rest
            if _state["debug"]:
                raise
            command = shlex.join(["fusionbench", *sys.argv[1:]])
            _end(system_problem(error, f"{command} in {_working_directory()}"))


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "a folder that has been removed"


def _end(problem: str) -> NoReturn:
    typer.echo(f"error: {problem}", err=True)
    sys.exit(2)
