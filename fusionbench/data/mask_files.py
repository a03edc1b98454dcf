"""Masks as a CSV has them: a row hides a modality of a case, in one fold or in all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fusionbench.core.errors import SuiteError, did_you_mean
from fusionbench.core.types import MaskRow
from fusionbench.data.masks import Hidden

NEEDED = ("case", "modality")
COLUMNS = (*NEEDED, "fold", "repeat")


@dataclass(frozen=True)
class MaskTable:
    """Rows of masks.

    Attributes:
        where: the file, or the published masks, as messages show it.
    """

    where: str
    rows: tuple[MaskRow, ...]

    @cached_property
    def hides(self) -> Mapping[str, frozenset[str]]:
        """Case to the modalities that are hidden in any fold."""
        return _by_case(self.rows)

    def hidden(self, repeat: int, fold: int) -> Hidden:
        """What is hidden in a fold."""
        return _by_case(row for row in self.rows if row.fold in (None, fold) and row.repeat in (None, repeat))

    def place(self, row: MaskRow) -> str:
        """Where a row stands, for messages."""
        return f"{self.where}, line {row.line}" if row.line else self.where


def _by_case(rows: Iterator[MaskRow] | Sequence[MaskRow]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.case, set()).add(row.modality)
    return {case: frozenset(modalities) for case, modalities in found.items()}


def parse_masks(text: str, where: str) -> MaskTable:
    """Masks from the text of a CSV with the columns case and modality, and fold and repeat where they differ.

    Args:
        where: names the file in messages.

    Raises:
        SuiteError: columns that are not these, no row, a row that is longer or shorter than the header, an empty case
            or modality, a fold or repeat that is no number, or a row that says again what another one says.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise SuiteError(f"{where}, line {reader.line_num}: no CSV: {error}") from error
    lines = [(line, cells) for line, cells in lines if any(cells)]
    header = lines[0][1] if lines else []
    if odd := _header_problem(header):
        raise SuiteError(f"{where}: {odd}")
    rows = tuple(_row(header, cells, line, where) for line, cells in lines[1:])
    if not rows:
        raise SuiteError(f"{where}: no row below the header; write a row for each hidden modality of a case")
    for first, again in _repeated(rows):
        raise SuiteError(
            f"{where}, line {again.line}: case {again.case!r}, modality {again.modality!r} stands in line {first.line} "
            "for the same fold; keep one of them"
        )
    return MaskTable(where, rows)


def _header_problem(header: Sequence[str]) -> str:
    shown = f"the first line is {','.join(header)[:80]!r}; write {', '.join(COLUMNS)}, separated by commas"
    absent = [name for name in NEEDED if name not in header]
    if absent:
        return f"no column {' and '.join(map(repr, absent))}; {shown} (fold and repeat may be left out)"
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        return f"two columns {twice[0]!r}; {shown}"
    odd = [name for name in header if name not in COLUMNS]
    # A column "Fold" that nobody reads would hide in every fold.
    return did_you_mean("column", odd[0], COLUMNS) if odd else ""


def _row(header: Sequence[str], cells: Sequence[str], line: int, where: str) -> MaskRow:
    if len(cells) != len(header):
        raise SuiteError(f"{where}, line {line}: {len(cells)} cells under {len(header)} columns")
    found = dict(zip(header, cells, strict=True))
    for name in NEEDED:
        if not found[name]:
            raise SuiteError(f"{where}, line {line}: {name} is empty")
    fold, repeat = (_number(name, found.get(name, ""), f"{where}, line {line}") for name in ("fold", "repeat"))
    return MaskRow(found["case"], found["modality"], fold, repeat, line)


def _number(name: str, text: str, where: str) -> int | None:
    """A number from 0; None where it is empty. A column with empty cells is often written as 0.0, 1.0."""
    if not text:
        return None
    digits = text.removesuffix(".0")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise SuiteError(f"{where}: {name} is {text!r}; write a number from 0, or nothing for every {name}")
    return int(digits)


def _repeated(rows: Sequence[MaskRow]) -> Iterator[tuple[MaskRow, MaskRow]]:
    """Pairs of rows that hide a modality of a case in one and the same fold."""
    seen: dict[tuple[str, str], list[MaskRow]] = {}
    for row in rows:
        same = seen.setdefault((row.case, row.modality), [])
        yield from ((one, row) for one in same if _meet(one.fold, row.fold) and _meet(one.repeat, row.repeat))
        same.append(row)


def _meet(one: int | None, other: int | None) -> bool:
    return one == other or one is None or other is None
