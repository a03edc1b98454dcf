"""fusionbench status SUITE, fusionbench why CELL"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusionbench.cli.options import OUT, PLANNED, Json, Out, SuiteName, open_session, print_json
from fusionbench.core.commands import command
from fusionbench.core.plural import plural

if TYPE_CHECKING:
    from pathlib import Path

    from fusionbench.tools.status import CellReport, RunningCells, Status
    from fusionbench.tools.status.status import CellStatus
    from fusionbench.tools.status.stored import StoredCell


_REASONS = 8
"""Reasons of a state that are shown; --json has all."""


def status(
    suite: SuiteName,
    as_json: Json = False,
    prune_stale: Annotated[
        bool, typer.Option("--prune-stale", help="Delete the outdated cells that `status` lists, and say which.")
    ] = False,
    out: Out = OUT,
) -> None:
    """Show what of a suite is done, running, failed, to score, stale and to do, with reasons; exit 1 if cells failed.

    Computes nothing, and works while a run is going on.
    """
    from fusionbench.tools.status import suite_status
    from fusionbench.tools.status.outdated import prune

    found, running, store = suite_status(suite, out, open_session(out, kinds=PLANNED).resources)
    removed: list[StoredCell] = []
    if prune_stale:
        prune(found.outdated, store, removed.append)
    if as_json:
        print_json(_json(found, running, removed))
    else:
        _show(found, running, removed, out)
    raise typer.Exit(1 if found.failed else 0)


def _json(found: Status, running: RunningCells, removed: list[StoredCell]) -> dict[str, Any]:
    from fusionbench.tools.status.status import STATES

    return {
        "suite": found.suite,
        "counts": {state: found.count(state) for state in STATES},
        "seconds_left": found.seconds_left,
        "running_by": running.by,
        "cells": list(found.rows),
        "skipped": [{"row": row, "reason": reason, "cells": n} for row, reason, n in found.skipped],
        "outdated": [{"key": s.key, "label": s.label, "seed": s.seed} for s in found.outdated],
        "removed": [s.key for s in removed],
        "extra": found.extra,
        "kept": found.kept,
        "uninstalled": dict(found.uninstalled),
        "suite_changes": list(found.suite_changes),
        "unread": dict(found.unread),
        "lost": dict(running.lost),
        "problem": running.problem,
    }


def _show(found: Status, running: RunningCells, removed: list[StoredCell], out: Path) -> None:
    name = found.suite
    again = command(out, "run", found.called)
    typer.echo(f"{name}: {found.count('done')} of {len(found.rows)} cells are done{_time_left(found)}")
    if running.by:
        typer.echo(f"  a run is going on: {running.by}")
    for state, hint in (
        ("running", ""),
        ("failed", f"; again: {again} --retry failed"),
        ("to score", f"; {again} scores the stored predictions, without training"),
        ("stale", "; their results have other inputs, and are in no table"),
        ("damaged", ""),
        ("to do", f"; {again}"),
    ):
        rows = [row for row in found.rows if row.state == state]
        if rows:
            typer.echo(f"{state}: {len(rows)}{hint}")
            _reasons(rows, out, name)
    if found.skipped:
        typer.echo(f"skipped: {sum(n for _, _, n in found.skipped)}")
        _counted(Counter({f"{row}: {reason}": n for row, reason, n in found.skipped}))
    _beside(found, running, removed, command(out, "status", found.called, "--prune-stale"))


def _reasons(rows: list[CellStatus], out: Path, suite: str) -> None:
    first = {row.reason: f"  [{row.label}; {command(out, 'why', f'{suite}/{row.key}')}]" for row in reversed(rows)}
    _counted(Counter(row.reason for row in rows if row.reason), first)


def _counted(reasons: Counter[str], more: Mapping[str, str] = MappingProxyType({})) -> None:
    for reason, n in reasons.most_common(_REASONS):
        typer.echo(f"  {n} x {reason}{more.get(reason, '')}")
    if len(reasons) > _REASONS:
        typer.echo(f"  and {len(reasons) - _REASONS} further reasons; --json has all")


def _beside(found: Status, running: RunningCells, removed: list[StoredCell], prune: str) -> None:
    """What lies beside the suite's cells, or differs from its last run."""
    for key, known in running.lost.items():
        typer.echo(f"without a result: {key}: {known}")
    if running.problem:
        typer.echo(f"what is running cannot be told: {running.problem}")
    for change in found.suite_changes:
        typer.echo(f"changed since the last run: {change}")
    for dataset, reason in found.unread.items():
        typer.echo(f"not counted, since it cannot be read here: {dataset}: {reason}")
    for model, distribution in found.uninstalled.items():
        typer.echo(f"not counted, since its plugin or file is gone or broken: {model}, brought by {distribution}")
    if found.kept:
        typer.echo(f"kept: {plural(found.kept, 'stored cell')} of plugins that are not installed here, or broken")
    if found.extra:
        typer.echo(
            f"beside them: {plural(found.extra, 'stored cell')} of rows, repeats or seeds the suite does not ask for"
        )
    if removed:
        for stored in removed:
            typer.echo(f"removed: {stored.key}  {stored.label}")
    elif found.outdated:
        typer.echo(f"outdated: {len(found.outdated)} stored cells are in no table any more; delete them with {prune}")


def _time_left(found: Status) -> str:
    if not found.seconds_left:
        return ""
    return f"; about {duration(found.seconds_left)} of one process to go"


def duration(seconds: float) -> str:
    """A duration as text: seconds below two minutes, minutes below two hours, then hours."""
    if seconds < 1.5:
        return "a second"
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def why(
    cell: Annotated[
        list[str],
        typer.Argument(help="A cell's key or its first digits, SUITE/KEY, or: SUITE DATASET MODEL MODALITIES FOLD."),
    ],
    repeat: Annotated[int, typer.Option(min=0, help="With SUITE DATASET ...: which repeat.")] = 0,
    variant: Annotated[str, typer.Option(help="With SUITE DATASET ...: which variant.")] = "base",
    as_json: Json = False,
    out: Out = OUT,
) -> None:
    """Say what a cell is and why: its result, its failure, or which input changed against the stored result."""
    from fusionbench.tools import status
    from fusionbench.tools.status.why import parse_selector

    answer = status.why(parse_selector(cell, repeat, variant), out, open_session(out, kinds=PLANNED).resources)
    if as_json:
        print_json(answer)
    else:
        _show_report(answer)


def _show_report(answer: CellReport) -> None:
    typer.echo(f"{answer.suite}: {answer.label}")
    typer.echo(f"key: {answer.key}")
    typer.echo(f"state: {answer.state}")
    if answer.folder is not None:
        typer.echo(f"result: {answer.folder}")
    if answer.state == "done":
        typer.echo("changed: nothing")
    for change in answer.changes:
        typer.echo(f"changed: {change}")
    if answer.reason:
        typer.echo(f"reason: {answer.reason}")
    if answer.raised_at:
        typer.echo(f"raised at: {answer.raised_at}")
    for score in answer.scores:
        typer.echo(f"score: {score}")
    if answer.advice:
        typer.echo(f"to do: {answer.advice}")
