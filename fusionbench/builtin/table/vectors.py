"""Modalities that are columns of the case table, or of another table with one row per case, or with a bag of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.builtin.table.cells import Reading
from fusionbench.builtin.table.column_selection import Problems
from fusionbench.builtin.table.schema import ModalitySchema
from fusionbench.builtin.table.sheets import Sheet, count, examples, nearest
from fusionbench.builtin.table.values import Cells, numbers
from fusionbench.core.data_warning import Fix
from fusionbench.core.types import ModalityUse
from fusionbench.data.fixes import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


LONG = 0.5
"""Share of the ids of a table with several rows from which on it is not a row a case with a few ids repeated."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """A modality of columns.

    Attributes:
        of_case: case to its (column,) float64, or for a bag (row, column); a case without any known cell lacks it.
        notes: one line where rows were ignored.
        readings: column of texts that look like numbers to what would read them so.
    """

    use: ModalityUse
    of_case: Mapping[str, Floats]
    notes: tuple[str, ...]
    readings: Mapping[str, Reading]


def read_ids(
    sheet: Sheet, column: str, problems: Problems, remedy: str = "use a feature folder", *, several: bool = False
) -> list[str]:
    """The id of each row; empty ids, and ids of several rows unless these are allowed, are a problem each.

    Args:
        remedy: for ids of several rows, beside aggregating them.
        several: whether an id may have several rows.
    """
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
    if twice and not several:
        id_, (first, second) = next(iter(twice.items()))
        ids = "1 id has" if len(twice) == 1 else f"{len(twice)} ids have"
        where = (
            f"{sheet.name}, column {column!r}: {ids} several rows (first: {id_!r}, rows {first} and {second}). "
            "Aggregate to one row per patient"
        )
        if len(twice) > LONG * len(rows):
            # Reading the first row of each would leave one of many values, so that no key is proposed.
            problems.append(f"{where} (of a table with a row a value, make a column a value), or {remedy}")
        else:
            keep = f'say repeated = "first" under [file."{sheet.name}"] to read the first of each'
            problems.append(Problem(f"{where}, {keep}, or {remedy}", Fix(("file", sheet.name), "repeated", "first")))
    return [id_ or "" for id_ in sheet.frame[column]]


def read_vectors(
    name: str,
    schema: ModalitySchema,
    sheet: Sheet,
    ids: Sequence[str],
    columns: Sequence[str],
    groups: Mapping[str, tuple[str, ...]],
    cases: Sequence[str],
    problems: Problems,
) -> Vectors:
    """The values of a modality's columns, by case: a vector, or a bag of all rows of the case, in the table's order.

    Args:
        ids: of the table's rows; `cases`: of the case table.
        groups: of the columns.
    """
    cells = numbers(sheet, columns, schema.categorical, problems, name)
    known, notes = frozenset(cases), []
    unknown = [(row, id_) for row, id_ in zip(sheet.frame.index, ids, strict=True) if id_ and id_ not in known]
    if unknown:
        row, id_ = unknown[0]
        rows = count(len(unknown), "row")
        line = f"modality.{name}: {sheet.name} has {rows} of cases that the case table does not have"
        if len(unknown) == len(list(filter(None, ids))):
            # Ignoring all rows would leave nothing: the ids are what has to be mended, which no key does.
            problems.append(
                f"modality.{name}: no case of {sheet.name} is in the case table {examples(set(ids), cases)}; write "
                "them alike"
            )
        elif schema.unknown == "ignore":
            notes.append(f"{line}: ignored")
        else:
            near = nearest(id_, cases)
            problems.append(
                Problem(
                    f'{line}, the first is {id_!r} in row {row}{near}; add them, or say unknown = "ignore"',
                    Fix(("modality", name), "unknown", "ignore"),
                )
            )
    having = np.flatnonzero(~np.isnan(cells.values).all(axis=1)).tolist()
    if schema.bag:
        problems += _not_whole(name, sheet, columns, cells, having)
        use, bags = _bags(schema, columns, cells, [i for i in having if ids[i] in known], ids)
        return Vectors(use, bags, tuple(notes), cells.readings)
    use = ModalityUse(
        "vector",
        len(columns),
        options=dict(schema.options),
        features=tuple(columns),
        categorical=cells.categorical,
        groups={group: there for group, names in groups.items() if (there := tuple(c for c in names if c in columns))},
        levels=cells.levels,
    )
    of_case = {ids[i]: cells.values[i] for i in having if ids[i] in known}
    return Vectors(use, of_case, tuple(notes), cells.readings)


def _bags(
    schema: ModalitySchema, columns: Sequence[str], cells: Cells, rows: Sequence[int], ids: Sequence[str]
) -> tuple[ModalityUse, dict[str, Floats]]:
    """The bags of rows, in the table's order."""
    of_case: dict[str, list[int]] = {}
    for row in rows:
        of_case.setdefault(ids[row], []).append(row)
    use = ModalityUse("bag", len(columns), options=dict(schema.options), features=tuple(columns))
    return use, {id_: cells.values[of] for id_, of in of_case.items()}


def _not_whole(name: str, sheet: Sheet, columns: Sequence[str], cells: Cells, rows: Sequence[int]) -> Iterator[str]:
    """Lines for columns of text, and for empty cells in the rows of a bag: nothing is imputed within a bag."""
    texts = [column for column in columns if column in cells.categorical]
    if texts:
        yield f"modality.{name}: column {texts[0]!r} of {sheet.name} holds text; a bag is of numbers: exclude it"
    empty = np.argwhere(np.isnan(cells.values[rows]))
    if len(empty):
        row, column = empty[0]
        yield (
            f"{sheet.name}, column {columns[column]!r}, row {sheet.frame.index[rows[row]]}: empty, as "
            f"{count(len(empty), 'cell')} of {count(len(set(empty[:, 1].tolist())), 'column')} are; a bag has no "
            "missing cells: fill them, leave the rows out, or exclude the columns"
        )
