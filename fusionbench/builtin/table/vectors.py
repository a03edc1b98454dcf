"""Modalities that are columns of the case table, or of another table with one row per case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.builtin.table.cells import Reading
from fusionbench.builtin.table.column_selection import Problems
from fusionbench.builtin.table.schema import ModalitySchema
from fusionbench.builtin.table.sheets import Sheet, count, nearest
from fusionbench.builtin.table.values import numbers
from fusionbench.core.data_warning import Fix
from fusionbench.core.types import ModalityUse
from fusionbench.data.fixes import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Vectors:
    """A modality of columns.

    Attributes:
        of_case: case to its (column,) float64; a case without any known cell lacks the modality.
        notes: one line where rows were ignored.
        readings: column of texts that look like numbers to what would read them so.
    """

    use: ModalityUse
    of_case: Mapping[str, Floats]
    notes: tuple[str, ...]
    readings: Mapping[str, Reading]


def read_ids(sheet: Sheet, column: str, problems: Problems) -> list[str]:
    """The id of each row; empty ids and ids of several rows are added to the problems, one line each."""
    rows: dict[str, int] = {}
    empty: list[int] = []
    twice: dict[str, tuple[int, int]] = {}
    for row, id_ in zip(sheet.frame.index, sheet.frame[column], strict=True):
        if not id_:
            empty.append(row)
        elif id_ in rows:
            twice.setdefault(id_, (rows[id_], row))
        else:
            rows[id_] = row
    if empty:
        problems.append(
            f"{sheet.name}, column {column!r}, row {empty[0]}: no id ({count(len(empty), 'row')} so); give each one"
        )
    if twice:
        id_, (first, second) = next(iter(twice.items()))
        ids = "1 id has" if len(twice) == 1 else f"{len(twice)} ids have"
        problems.append(
            f"{sheet.name}, column {column!r}: {ids} several rows (first: {id_!r}, rows {first} and "
            f"{second}). Aggregate to one row per patient, or use a feature folder"
        )
    return [id_ or "" for id_ in sheet.frame[column]]


def read_vectors(
    name: str,
    schema: ModalitySchema,
    sheet: Sheet,
    ids: Sequence[str],
    columns: Sequence[str],
    cases: Sequence[str],
    problems: Problems,
) -> Vectors:
    """The values of a modality's columns, by case.

    Args:
        ids: of the table's rows; `cases`: of the case table.
    """
    cells = numbers(sheet, columns, schema.categorical, problems, name)
    known, notes = frozenset(cases), []
    unknown = [(row, id_) for row, id_ in zip(sheet.frame.index, ids, strict=True) if id_ and id_ not in known]
    if unknown:
        row, id_ = unknown[0]
        rows = count(len(unknown), "row")
        line = f"modality.{name}: {sheet.name} has {rows} of cases that the case table does not have"
        if schema.unknown == "ignore":
            notes.append(f"{line}: ignored")
        else:
            near = nearest(id_, cases)
            # Ignoring all rows would leave nothing: then the ids are what has to be mended.
            fixes = [Fix(("modality", name), "unknown", "ignore")] if known.intersection(ids) else []
            problems.append(
                Problem(f'{line}, the first is {id_!r} in row {row}{near}; add them, or say unknown = "ignore"', *fixes)
            )
    having = np.flatnonzero(~np.isnan(cells.values).all(axis=1)).tolist()
    use = ModalityUse(
        "vector",
        len(columns),
        options=dict(schema.options),
        features=tuple(columns),
        categorical=cells.categorical,
        groups={g: there for g, cs in schema.groups.items() if (there := tuple(c for c in cs if c in columns))},
        levels=cells.levels,
    )
    of_case = {ids[i]: cells.values[i] for i in having if ids[i] in known}
    return Vectors(use, of_case, tuple(notes), cells.readings)
