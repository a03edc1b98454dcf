"""fusionbench audit, fusionbench doctor, fusionbench validate"""

from __future__ import annotations

from typing import Annotated

import typer

from fusionbench.cli.options import OUT, Json, Out, SuiteName, names_of, open_session, print_json


def audit(
    suite: SuiteName,
    replay: Annotated[
        int, typer.Option("--replay", min=0, help="Predict so many cells again from their weights, in a new process.")
    ] = 0,
    refit: Annotated[bool, typer.Option("--refit", help="With --replay: train these cells again instead.")] = False,
    as_json: Json = False,
    out: Out = OUT,
) -> None:
    """Check stored results: the protocol, the files, the scores; pass, DECLARED or BREACH, one line a rule.

    Exit status 1 on a breach.
    """
    if refit and not replay:
        raise typer.BadParameter("--refit: say how many cells with --replay N")
    found = open_session(out).audit(suite, replay, refit=refit)
    if as_json:
        print_json(found.lines)
    else:
        for line in found.lines:
            typer.echo(f"{line.verdict:8}  {line.rule}: {line.seen}")
    raise typer.Exit(0 if found.passed else 1)


def doctor(
    suite: Annotated[
        str | None,
        typer.Argument(
            help="Compare what is installed with what this suite's results were made with.",
            autocompletion=names_of("suites"),
        ),
    ] = None,
    as_json: Json = False,
    out: Out = OUT,
) -> None:
    """Look at versions, devices, threads, data and places, or at what would change a suite's results; exit 1 if bad."""
    from fusionbench.tools.doctor import examine

    session = open_session(out)
    lines = list(examine(session.registry, session.home, out, suite))
    if as_json:
        print_json(lines)
    else:
        for line in lines:
            typer.echo(f"{line.verdict:8} {line.what}: {line.text}")
    raise typer.Exit(1 if any(line.verdict == "problem" for line in lines) else 0)


def validate(suite: SuiteName, out: Out = OUT) -> None:
    """Check a suite's text, names and options; reads no data."""
    from fusionbench.suites.validation import check_names

    session = open_session(out)
    loaded = session.suite(suite)
    check_names(loaded, session.registry)
    sets = {modalities for dataset in loaded.datasets for modalities in loaded.sets_of(dataset.name)}
    sizes = (
        (len(loaded.datasets), "cohort"),
        (len(loaded.models), "model"),
        (len(sets), "modality set"),
        (len(loaded.variants()), "variant"),
    )
    typer.echo(f"OK: {', '.join(f'{n} {noun}' if n == 1 else f'{n} {noun}s' for n, noun in sizes)}")
