"""A CSV file as rows that know where they stand, so that a message can say where a cell is wrong."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionbench import DataError


@dataclass(frozen=True)
class Row:
    """A line of a file: column to text."""

    where: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        if self.cells.get(column) is None:
            raise DataError(f"{self.where}: nothing under {column!r}; the columns are {', '.join(self.cells)}")
        return self.cells[column].strip()

    def number(self, column: str) -> float:
        """The number of a cell; NaN where it is empty."""
        try:
            return float(self[column] or "nan")
        except ValueError:
            raise DataError(f"{self.where}: {column} is {self[column]!r}; write a number or leave it empty") from None


def read_table(path: Path) -> Sequence[Row]:
    """Every line below the header.

    Raises:
        DataError: the file is absent or no text.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restkey="surplus")
            return [Row(f"{path}, line {reader.line_num}", cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); check the option `folder`") from error
