"""fusionbench compare SUITE MODEL_A MODEL_B, fusionbench score SUITE --metric NAME, fusionbench import SUITE FILE"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fusionbench.cli.options import OUT, Json, Out, SuiteName, To, names_of, open_session, print_json, print_table

EXTERNAL = " -> "
"""Stands between the two cohorts of an external test."""


def compare(
    suite: SuiteName,
    model_a: Annotated[str, typer.Argument(help="A model as the table names it.")],
    model_b: Annotated[str, typer.Argument(help="The other one.")],
    other: Annotated[
        Path | None, typer.Option("--other", help="Take MODEL_B from this results root.", readable=False)
    ] = None,
    as_json: Json = False,
    out: Out = OUT,
) -> None:
    """Paired differences of two models: interval over test patients, corrected t-test, smallest detectable one."""
    pairs = open_session(out).compare(suite, model_a, model_b, other)
    records = pairs.to_dict("records")
    if as_json:
        print_json(records)
        return
    header = ("dataset", "pattern", "metric", "modalities", "variant", "a", "b", "a - b", "p (Holm)", "detectable", "n")
    print_table(header, [_line(record) for record in records])
    for record in records:
        if record["reason"]:
            typer.echo(f"{record['dataset']}, {record['pattern']}, {record['metric']}: {record['reason']}")
    typer.echo(
        "a - b: [95 % bootstrap interval, sampling of test patients, models fixed]; p: corrected resampled t-test"
    )
    if any(EXTERNAL in record["dataset"] for record in records):
        typer.echo(
            "FITTED -> TESTED: an external cohort, mean over fold models; p: z-test with the bootstrap's standard error"
        )


def _line(record: dict[Any, Any]) -> tuple[str, ...]:
    of_b = "" if record["modalities_a"] == record["modalities_b"] else f" against {record['modalities_b']}"
    interval = "" if record["ci_low"] != record["ci_low"] else f" [{record['ci_low']:+.3f}, {record['ci_high']:+.3f}]"
    numbers = (f"{record['mean_a']:.3f}", f"{record['mean_b']:.3f}", f"{record['difference']:+.3f}{interval}")
    return (
        *(record["dataset"], record["pattern"], record["metric"], f"{record['modalities_a']}{of_b}"),
        *(record["variant_a"], *numbers, f"{record['p_holm']:.3f}", f"{record['detectable']:.3f}"),
        str(record["n_cases"]),
    )


def score(
    suite: SuiteName,
    metric: Annotated[str, typer.Option("--metric", help="A metric.", autocompletion=names_of("metrics"))],
    to: To = None,
    out: Out = OUT,
) -> None:
    """Score stored predictions by a further metric; nothing is trained again."""
    from fusionbench.report.build import scored_table
    from fusionbench.tools.reports import complete_results

    session = open_session(out)
    folds = session.score(suite, metric, to)
    store = complete_results(suite, out, session.resources)
    typer.echo(scored_table(store, metric, folds, session.registry).rstrip())
    typer.echo(f"\nfold values: {(to or store.folder) / 'scores' / metric}.csv")


def import_(
    suite: SuiteName,
    file: Annotated[
        Path,
        typer.Argument(help="Predictions: CSV or parquet with the columns of predictions.parquet.", readable=False),
    ],
    out: Out = OUT,
) -> None:
    """Bring somebody else's predictions into a suite's table."""
    from fusionbench.tools.stored_table import StoredTable

    session = open_session(out)
    names = session.import_predictions(suite, file)
    table = StoredTable.of(suite, out, session.registry).file("md")
    typer.echo(f"imported {', '.join(names)}; the table: {table}")
