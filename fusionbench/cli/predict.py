"""fusionbench predict CELL COHORT, fusionbench predict SUITE COHORT --model M"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionbench.cli.options import OUT, DatasetName, Device, Out, dataset_ref, names_of, open_session, print_table
from fusionbench.core.plural import plural

if TYPE_CHECKING:
    from fusionbench.tools.cohort_scores import CohortScore
    from fusionbench.tools.predict_rows import PredictedRow


def predict(
    what: Annotated[
        str,
        typer.Argument(
            metavar="{cell|suite}",
            help="Key of a finished cell (its beginning is enough), or SUITE/KEY; with --model or --all-rows a suite.",
        ),
    ],
    cohort: DatasetName,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Model of the suite, as the results table names it: the mean of its fold models predicts.",
            autocompletion=names_of("models"),
        ),
    ] = None,
    modalities: Annotated[
        str | None, typer.Option("--modalities", help="Modality set, joined with +; by default the model's largest.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Trained on this dataset, where the suite has several.")
    ] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="Variant of the suite; by default base.")] = None,
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Every row of the suite: a table of its metrics.")
    ] = False,
    to: Annotated[Path | None, typer.Option("--to", help="Write CSV there instead of printing it.")] = None,
    out: Out = OUT,
    device: Device = "auto",
) -> None:
    """Predict the cases of a cohort with a finished cell or a row of a suite, and score them where outcomes are known.

    Columns are matched by name. Predictions are printed, or written with --to; what differs from the training cases,
    and every metric with its interval, is said beside them.
    """
    from fusionbench.core.errors import SuiteError
    from fusionbench.tools.predict_rows import RowRequest

    session = open_session(out, device)
    if model is None and not all_rows:
        if modalities or dataset or variant:
            raise SuiteError("--modalities, --dataset and --variant belong to --model or --all-rows")
        rows = session.predict(what, dataset_ref(cohort))
    else:
        if model is not None and all_rows:
            raise SuiteError("give either --model or --all-rows")
        request = RowRequest(what, model, tuple(modalities.split("+")) if modalities else (), dataset, variant)
        rows = session.predict(request, dataset_ref(cohort), _say if all_rows else None)
    for line in dict.fromkeys(note for row in rows for note in row.notes):
        _say(line)
    if all_rows:
        _write_all(rows, to)
        first = next((row.scores[0].metric for row in rows if row.scores), None)
        rises = first is None or session.registry.metric(first).higher_is_better is not False
        _print_all(rows, best=1 if rises else -1)
        return
    _write(rows[0], to)
    if rows[0].scores:
        _print_scores(rows[0], quiet=to is None)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _write(row: PredictedRow, to: Path | None) -> None:
    if to is None:
        typer.echo(row.frame.to_csv(index=False).rstrip())
        return
    row.frame.to_csv(to, index=False)
    typer.echo(f"{plural(len(row.frame), 'case')} predicted: {to}")


def _write_all(rows: Sequence[PredictedRow], to: Path | None) -> None:
    """Every row's predictions below one another, with model and modalities in front."""
    import pandas as pd

    if to is None:
        return
    frames = [row.frame.assign(model=row.row[1], trained_on=row.row[2]) for row in rows if not row.reason]
    whole = pd.concat(frames, ignore_index=True)
    whole[["model", "trained_on", *(c for c in whole.columns if c not in ("model", "trained_on"))]].to_csv(
        to, index=False
    )
    typer.echo(f"{len(whole)} predictions of {plural(len(frames), 'row')}: {to}")


def _print_scores(row: PredictedRow, *, quiet: bool) -> None:
    """Every metric; beside predictions on stdout the lines go to stderr."""
    models = plural(row.n_models, "fold model")
    lines = [
        f"{row.row[1]} on {row.row[2]}, trained on {row.row[0]}, {models}; "
        f"{plural(row.scores[0].n_cases, 'case')} scored"
    ]
    for score in row.scores:
        if math.isnan(score.value):
            lines.append(f"{score.metric}: undefined: {score.reason}")
            continue
        alone = f"; each model alone {score.mean:.3f} ± {score.sd:.3f}" if row.n_models > 1 else ""
        why = f" ({score.reason})" if score.reason else ""
        lines.append(f"{score.metric}: {_with_interval(score)}{alone}{why}")
    for line in lines:
        typer.echo(line, err=quiet)


def _print_all(rows: Sequence[PredictedRow], best: int) -> None:
    """The rows, best first by their first metric; rows that do not fit the cohort are told with their reason.

    Args:
        best: 1 where a higher value is better, -1 where a lower one is.
    """
    scored = [row for row in rows if row.scores]
    if scored:
        from fusionbench.report.model import SHORT_NAMES

        names = [score.metric for score in scored[0].scores]
        values = [row.scores[0].value for row in scored]
        keys = [-best * value if math.isfinite(value) else math.inf for value in values]
        order = [row for _, row in sorted(zip(keys, scored, strict=True), key=lambda pair: pair[0])]
        head = [SHORT_NAMES.get(names[0], names[0]), "95 % interval", "of fold models", *names[1:]]
        cells = [[*row.row[1:3], *_cells(row.scores)] for row in order]
        print_table(["model", "modalities", *head], cells)
    for row in rows:
        if row.reason:
            _say(f"{row.row[1]} on {row.row[2]}: {row.reason}")


def _cells(scores: Sequence[CohortScore]) -> list[str]:
    first = scores[0]
    interval = f"{first.low:.3f} to {first.high:.3f}" if math.isfinite(first.low) else "-"
    alone = f"{first.mean:.3f} ± {first.sd:.3f}"
    return [f"{first.value:.3f}", interval, alone, *(f"{score.value:.3f}" for score in scores[1:])]


def _with_interval(score: CohortScore) -> str:
    if not math.isfinite(score.low):
        return f"{score.value:.3f}"
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"
