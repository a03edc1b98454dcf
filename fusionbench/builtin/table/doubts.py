"""Warnings about how the cells of a cohort's files were read: as texts or as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fusionbench.builtin.table.values import column_fixes, described
from fusionbench.core.data_warning import DataWarning, Fix

if TYPE_CHECKING:
    from fusionbench.builtin.table.read import CohortFiles


def doubts(files: CohortFiles) -> Iterator[DataWarning]:
    """Columns of texts that look like numbers, and columns of numbers that look like codes."""
    for (name, column), reading in files.readings.items():
        yield DataWarning(
            "texts-for-numbers",
            name,
            f"{name}: column {column!r} holds texts that look like numbers ({reading.example!r}), each a level of its "
            f'own; {described(reading)} (under [column."{column}"])',
            (column,),
            tuple(column_fixes(column, reading)),
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
