"""Table rows as MLflow shows them: metrics, one line of results, a description."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fusionbench.report.mlflow.names import TAG_LENGTH, score_name

Row = tuple[str, str, str, str]
"""Dataset, model, modalities, variant."""


def row_of(fields: Mapping[str, Any]) -> Row:
    """The table row of a run's tags or of a line of table.csv."""
    return str(fields["dataset"]), str(fields["model"]), str(fields["modalities"]), str(fields["variant"])


def table_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """mean, sd and interval of one table row per metric and pattern, and the number of folds behind them."""
    values: dict[str, float] = {}
    for row in rows:
        name = score_name(row["metric"], row["pattern"])
        values |= {f"{name}.{part}": float(row[part]) for part in ("mean", "sd", "ci_low", "ci_high")}
    first = rows[0]
    return values | {part: float(first[part]) for part in ("n_folds", "n_failed", "n_skipped")}


def table_line(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line of result: every metric on full test cases."""
    full = [r for r in rows if r["pattern"] == "full"] or list(rows)[:1]
    n_folds, n_failed, n_skipped = (int(full[0][n]) for n in ("n_folds", "n_failed", "n_skipped"))
    more = [f"{n} {what}" for n, what in ((n_failed, "failed"), (n_skipped, "skipped")) if n]
    return "; ".join(f"{r['metric']} {_number(r)}" for r in full) + f" ({', '.join([f'{n_folds} folds', *more])})"


def table_note(title: str, rows: Iterable[Mapping[str, Any]], verdicts: Sequence[str] = ()) -> str:
    """A suite's description: title, verdicts, and as much of its table as a description holds, without skipped rows."""
    columns = ("dataset", "model", "modalities", "variant", "pattern", "metric")
    head = [
        title,
        "",
        *(line for text in verdicts for line in (text, "")),
        f"| {' | '.join(columns)} | mean ± sd [95 % interval] |",
        "|" + "---|" * (len(columns) + 1),
    ]
    ran = [row for row in rows if row["n_folds"] or row["n_failed"]]
    body = ["| " + " | ".join([*(str(r[c]).replace("|", r"\|") for c in columns), _number(r)]) + " |" for r in ran]
    rest, room = "\n\n… and more: see table.md of the results", TAG_LENGTH - len("\n".join(head))
    if sum(len(line) + 1 for line in body) > room:
        room -= len(rest)
        while sum(len(line) + 1 for line in body) > room:
            body.pop()
        return "\n".join([*head, *body]) + rest
    return "\n".join([*head, *body])


def _number(row: Mapping[str, Any]) -> str:
    """mean ± sd [interval], as far as there is one."""
    if math.isnan(row["mean"]):
        return "undefined"
    spread = "" if math.isnan(row["sd"]) else f" ± {row['sd']:.3f}"
    return f"{row['mean']:.3f}{spread}" + (
        "" if math.isnan(row["ci_low"]) else f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    )
