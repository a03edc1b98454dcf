"""Numbers of a table's cells: numeric columns as they are, texts as codes without order, NaN where nothing is known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.builtin.table.cells import CellForm, Reading, suggest
from fusionbench.builtin.table.sheets import Sheet, count
from fusionbench.core.data_warning import Fix
from fusionbench.data.fixes import Problem

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOSTLY = 0.5
"""A column is numeric where at most this share of its cells are texts; a text in it is then an error, no level."""
_CODE = re.compile(r"[0-9]+[eE][0-9]+")
"""A code of a plate or a sample rather than a number; programs write 1e+05."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Some columns as numbers.

    Attributes:
        values: (row, column) float64; NaN = not known.
        categorical: the columns that hold codes without order.
        levels: such a column to its codes, each with the text that stands for it.
        readings: column of texts that look like numbers to what would read them so.
    """

    values: Floats
    categorical: frozenset[str]
    levels: Mapping[str, Mapping[float, str]] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)


def numbers(
    sheet: Sheet, columns: Sequence[str], categorical: Collection[str], problems: list[str], where: str = ""
) -> Cells:
    """Read columns.

    A text becomes a code that depends on nothing but the text, so that new patients' tables are coded alike.

    Args:
        categorical: columns of codes; those of text are added.
        problems: gets a line for each column with a text among numbers, a date, or an infinite value.
        where: name of the modality, for what answers a problem.
    """
    import pandas as pd

    values = np.full((len(sheet.frame), len(columns)), np.nan)
    levels: dict[str, dict[float, str]] = {}
    readings: dict[str, Reading] = {}
    for i, name in enumerate(columns):
        column, form = sheet.frame[name], sheet.form(name)
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            problems.append(
                Problem(
                    f"{sheet.name}, column {name!r} holds dates; exclude it, or write a number, such as an age",
                    Fix(("modality", where), "exclude", [name]),
                )
            )
        elif name not in categorical and _is_numeric(column):
            values[:, i] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            texts = as_texts(column, form)
            if name in categorical or _is_text(texts, form):
                values[:, i], levels[name] = _coded(texts)
                reading = None if name in categorical else suggest([text for text in texts if text], form)
                readings |= {name: reading} if reading else {}
            else:
                values[:, i] = _numeric(sheet, name, texts, problems, where)
        infinite = np.flatnonzero(np.isinf(values[:, i]))
        if infinite.size:
            problems.append(
                f"{sheet.name}, column {name!r}, row {sheet.frame.index[infinite[0]]}: an infinite value; leave the "
                "cell empty where it is not known"
            )
            values[infinite, i] = np.nan
    return Cells(values, frozenset(levels), levels, readings)


def _is_numeric(column: pd.Series[Any]) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype))


def as_texts(column: pd.Series[Any], form: CellForm) -> list[str | None]:
    """The cells as text without spaces around them; None where nothing is known."""
    return list(map(form.text, column))


def code(text: str) -> float:
    """The number itself, or one made of the text's sha256: exact as float64, the same in every table."""
    known = None if _CODE.fullmatch(text) else _PLAIN.number(text)
    return float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")) if known is None else known


_PLAIN = CellForm()


def _is_text(texts: Sequence[str | None], form: CellForm) -> bool:
    known = [text for text in texts if text is not None]
    return sum(form.number(text) is None for text in known) > MOSTLY * len(known)


def _coded(texts: Sequence[str | None]) -> tuple[Floats, dict[float, str]]:
    codes = {text: code(text) for text in dict.fromkeys(texts) if text is not None}
    levels: dict[float, str] = {}
    for text, value in codes.items():
        levels.setdefault(value, text)
    return np.array([np.nan if text is None else codes[text] for text in texts]), levels


def _numeric(sheet: Sheet, name: str, texts: Sequence[str | None], problems: list[str], where: str) -> Floats:
    form = sheet.form(name)
    values = [None if text is None else form.number(text) for text in texts]
    odd = [i for i, text in enumerate(texts) if text is not None and values[i] is None]
    if odd:
        known = [text for text in texts if text is not None]
        place = f"{sheet.name}, column {name!r}, row {sheet.frame.index[odd[0]]}: {texts[odd[0]]!r} is no number"
        reading = suggest(known, form)
        if reading is not None:
            values = [None if text is None else reading.form.number(text) for text in map(reading.form.text, texts)]
        problems.append(_odd_number(place, name, known, len(odd), reading, where))
    return np.array([np.nan if value is None else value for value in values])


def _odd_number(place: str, name: str, known: Sequence[str], odd: int, reading: Reading | None, where: str) -> Problem:
    """A text among numbers: how the column could be read, or what to do with the text."""
    if reading is not None:
        return Problem(f"{place}; {described(reading)}", *column_fixes(name, reading))
    form = CellForm()
    strange = list(dict.fromkeys(text for text in known if form.number(text) is None))
    return Problem(
        f"{place}, as {len(known) - odd} of {len(known)} cells are; write a number or leave it empty, add the text to "
        "`missing`, or name the column under categorical",
        Fix(("column", name), "missing", strange),
    )


def described(reading: Reading) -> str:
    """What reads a column's texts as numbers, in words."""
    said = ", ".join(f"{key} = {_toml(value)}" for key, value in reading.keys.items() if key != "replace")
    if reading.units:
        units = ", ".join(f"{unit!r} ({n})" for unit, n in reading.units.items())
        how = f"say {said} and replace the others" if reading.keys else "write all numbers in one unit"
        return f"their units differ: {units}; {how}"
    also = ", ".join(f"{key} = {_toml(value)}" for key, value in reading.otherwise.items())
    words = [f"say {said}" if said else "", f"or {also}, if that is meant" if also else ""]
    if "replace" in reading.keys:
        words.append("write all numbers in one way")
    if reading.odd:
        words.append(f"{count(len(reading.odd), 'text')} ({', '.join(map(repr, reading.odd[:3]))}) then mean not known")
    return "; ".join(filter(None, words))


def _toml(value: Any) -> str:
    return repr(value) if isinstance(value, str) else "[" + ", ".join(map(repr, value)) + "]"


def column_fixes(name: str, reading: Reading) -> list[Fix]:
    """The keys under `[column.NAME]` that read a column as numbers."""
    fixes = [Fix(("column", name), key, value) for key, value in reading.keys.items()]
    return [*fixes, Fix(("column", name), "missing", list(reading.odd))] if reading.odd else fixes


def spelt(text: str, said: Iterable[str]) -> str | None:
    """The one of the texts said that a text is but for case and spaces."""
    return next(
        (value for value in said if "".join(value.split()).casefold() == "".join(text.split()).casefold()), None
    )


def row_text(sheet: Sheet, rows: Sequence[int]) -> str:
    """`row 7 and 2 more`, as people number them."""
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"row {sheet.frame.index[rows[0]]}{more}"


def without(rows: Sequence[int], ids: Sequence[str]) -> Fix:
    """Leaves the cases of some rows out."""
    return Fix((), "exclude", [ids[i] for i in rows if ids[i]])
