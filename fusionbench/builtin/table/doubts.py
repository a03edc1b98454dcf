"""Warnings about how the cells of a cohort's files were read: as texts or as numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from fusionbench.builtin.table.values import column_fixes, described
from fusionbench.core.data_warning import DataWarning, Fix
from fusionbench.data.cohort import listed

if TYPE_CHECKING:
    from fusionbench.builtin.table.cells import Reading
    from fusionbench.builtin.table.read import CohortFiles


ALIKE = 5
"""Columns of a table that are to be read in one way from which on the key is the table's, not each column's."""


def doubts(files: CohortFiles) -> Iterator[DataWarning]:
    """Columns of texts that look like numbers, and columns of numbers that look like codes."""
    readings = _of_one_hand(files.readings)
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (name, column), reading in readings.items():
        alike[name, repr((reading.keys, reading.odd))].append(column)
    for (name, _), columns in alike.items():
        reading = readings[name, columns[0]]
        whole = len(columns) >= ALIKE and not reading.odd and "replace" not in reading.keys
        file = files.schema.modality[name].table or files.schema.table
        for told in [columns] if whole else [[column] for column in columns]:
            what = f"{len(told)} columns ({listed(told)}) hold" if whole else f"column {told[0]!r} holds"
            place = f'[file."{file}"]' if whole else f'[column."{told[0]}"]'
            in_file = tuple(Fix(("file", file), key, value) for key, value in reading.keys.items())
            yield DataWarning(
                "texts-for-numbers",
                name,
                f"{name}: {what} texts that look like numbers ({reading.example!r}), each a level of its own; "
                f"{described(reading)}{f' (under {place})' if reading.keys else ''}",
                tuple(told),
                in_file if whole else tuple(column_fixes(told[0], reading)),
            )
    for (name, column), cell in files.codes.items():
        yield DataWarning(
            "numbers-for-codes",
            name,
            f"{name}: column {column!r} was read as numbers and has cells such as {cell!r}; if they are codes, name "
            "the column under categorical",
            (column,),
            (Fix(("modality", name), "categorical", [column]),),
        )


def _of_one_hand(readings: Mapping[tuple[str, str], Reading]) -> dict[tuple[str, str], Reading]:
    """Columns that could be read in two ways are read as the other columns of the modality have to be."""
    sure = {(name, repr(reading.keys)) for (name, _), reading in readings.items() if not reading.otherwise}
    return {
        (name, column): replace(reading, keys=reading.otherwise, otherwise={})
        if reading.otherwise and (name, repr(reading.otherwise)) in sure
        else reading
        for (name, column), reading in readings.items()
    }
