"""What a table rests on: the code that computed its cells, and what else of the suite is stored beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from fusionbench.core.errors import AccessError, ResultsError
from fusionbench.core.plural import plural
from fusionbench.report.document import Section
from fusionbench.report.model import RowKey, row_key, row_keys, unique
from fusionbench.results.frames import ROW
from fusionbench.results.store import Store

TITLE = "What these numbers rest on"
DIRTY = "-dirty"
"""Ends the commit of cells that were computed with uncommitted changes."""


def rests_on(cells: pd.DataFrame, store: Store, lock: Mapping[str, Any]) -> Iterator[Section]:
    """A section on what computed the cells and on the cells stored beside them; none where neither is known.

    Args:
        cells: of the shown rows (`Frames.cells`).
        lock: its `differences` are versions and machines that are not the same in all cells, a line each; its
            `added_models` those that runs added to the suite's file.
    """
    computed = (f"not computed with one version or on one machine: {line}" for line in lock.get("differences", ()))
    added = [name for name in lock.get("added_models", ()) if name in set(cells["model"])]
    extended = [f"added to the suite's rows by a run (-m): {', '.join(added)}"] if added else []
    notes = (*extended, *code_notes(cells), *computed, *beside_notes(cells, store, int(lock["suite"]["seed"])))
    if notes:
        yield Section(2, TITLE, notes=notes)


def code_notes(cells: pd.DataFrame) -> Iterator[str]:
    """Rows whose cells were computed by several states of the code, or with uncommitted changes; one line a kind."""
    if not {"source", "git_commit"} <= set(cells.columns):
        return  # stored before the columns were
    by_row = dict(iter(cells.fillna({"source": "", "git_commit": ""}).groupby(ROW, sort=False, observed=True)))
    found: dict[str, list[str]] = {}
    for key, of_row in by_row.items():
        sources, commits = (set(unique(of_row[name])) - {""} for name in ("source", "git_commit"))
        n = sum(str(commit).endswith(DIRTY) for commit in of_row["git_commit"])
        row = f"{key[1]} on {key[2]}, {key[0]}" + ("" if key[3] == "base" else f" ({key[3]})")
        if len(sources) > 1:
            found.setdefault("a model's code changed between cells", []).append(f"{row}: {', '.join(sorted(sources))}")
        if len(commits) > 1:
            found.setdefault("cells are of several commits of fusionbench", []).append(f"{row} ({len(commits)})")
        if n:
            found.setdefault("computed with uncommitted changes", []).append(
                f"{row} ({n} of {plural(len(of_row), 'cell')})"
            )
    for kind, rows in found.items():
        yield f"{kind}: {'every row' if 1 < len(by_row) == len(rows) else '; '.join(rows)}"


class _Stored(NamedTuple):
    """A stored cell that is not shown."""

    row: RowKey
    seed: int


def beside_notes(cells: pd.DataFrame, store: Store, seed: int) -> Iterator[str]:
    """One line that counts what is stored of the suite and not shown: seeds, option sets, rows, older results.

    Whoever runs five seeds, or ten option sets, and shows the best leaves them here, unless they are deleted.
    """
    if not store.cells.is_dir():
        return  # published results come without their cells
    others = list(_not_shown(store, set(cells["key"].astype(str))))
    shown = set(row_keys(cells))
    configured = {_without_options(row) for row in shown}
    with_seed = [of for of in others if of.seed == seed]
    options = [of for of in with_seed if of.row not in shown and _without_options(of.row) in configured]
    rows = [of for of in with_seed if _without_options(of.row) not in configured]
    seeds = sorted({of.seed for of in others} - {seed})
    counts = (
        _counted(len(others) - len(with_seed), len(seeds), "other seed", f" ({', '.join(map(str, seeds))})"),
        _counted(len(options), len({of.row for of in options}), "other option set", _named(options)),
        _counted(len(rows), len({of.row for of in rows}), "other row", _named(rows)),
        _older(sum(of.row in shown for of in with_seed)),
    )
    told = "; ".join(filter(None, counts)) or "no other seed, option set or row of this suite"
    yield f"stored beside the cells of these rows: {told}"


def _not_shown(store: Store, shown: Collection[str]) -> Iterator[_Stored]:
    """The stored cells that are neither of the rows nor members of one; damaged ones are left out."""
    records: dict[str, Mapping[str, object]] = {}
    members: set[str] = set()
    for key in store.keys():  # noqa: SIM118  # a store is no mapping
        try:
            about = store.record(key)["record"]
        except AccessError:
            raise
        except ResultsError:
            continue  # `status` names it
        if key in shown:
            members.update(member["key"] for member in about.get("members", ()))
        else:
            records[key] = about.get("cell", {})
    for key, cell in records.items():
        if key not in members and cell.keys() >= {*ROW, "seed"}:
            yield _Stored(row_key(str(cell[name]) for name in ROW), int(str(cell["seed"])))


def _without_options(row: RowKey) -> tuple[str, ...]:
    dataset, model, modalities, variant = row
    return dataset.partition("[")[0], model.partition("[")[0], modalities, variant


def _counted(n_cells: int, n: int, what: str, names: str) -> str:
    return f"{plural(n_cells, 'cell')} of {n} {what}{'' if n == 1 else 's'}{names}" if n_cells else ""


def _older(n: int) -> str:
    return f"{plural(n, 'cell')} of these rows by other code, data or settings" if n else ""


def _named(stored: Sequence[_Stored], most: int = 3) -> str:
    """The first few rows in words."""
    names = list(dict.fromkeys(f"{of.row[1]} on {of.row[2]}, {of.row[0]}" for of in stored))
    return f" ({'; '.join(names[:most])}{'; ...' if len(names) > most else ''})"
