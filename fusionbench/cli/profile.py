"""fusionbench profile SUITE -m MODEL"""

from __future__ import annotations

from typing import Annotated

import typer

from fusionbench.cli.options import (
    OUT,
    Device,
    Json,
    Out,
    SuiteName,
    Threads,
    names_of,
    open_session,
    print_json,
    print_table,
)


def profile(
    suite: SuiteName,
    model: Annotated[
        str, typer.Option("--model", "-m", help="As the table writes it.", autocompletion=names_of("models"))
    ],
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="The suite's first one.")] = None,
    modalities: Annotated[
        str | None, typer.Option("--modalities", help="Joined with +; the largest set that the model takes.")
    ] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="A variant of the suite; base.")] = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Which repeat, from 0.")] = 0,
    fold: Annotated[int, typer.Option("--fold", help="Which fold, from 0.")] = 0,
    out: Out = OUT,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Show where the time and the memory of one cell go; nothing that is stored changes."""
    from fusionbench.tools import profile as profiles
    from fusionbench.tools.explain import Request

    names = tuple(modalities.split("+")) if modalities else ()
    request = Request(suite, model, dataset=dataset, modalities=names, variant=variant, repeat=repeat)
    session = open_session(out, device, threads=threads)
    made = session.profile(request, fold, lambda line: typer.echo(line, err=True))
    if as_json:
        print_json({**profiles.as_json(made.profile), "folder": made.folder})
        return
    print_table(profiles.header(made.profile), profiles.lines(made.profile))
    for line in (*profiles.summary(made.profile), f"table: {made.folder}"):
        typer.echo(line)
