"""Numbers of a table's cells: numeric columns as they are, texts as codes without order, NaN where nothing is known."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.builtin.table.column_selection import Problems
from fusionbench.builtin.table.sheets import Sheet, text_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOSTLY = 0.5
"""A column is numeric where at most this share of its cells are texts; a text in it is then an error, no level."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Some columns as numbers.

    Attributes:
        values: (row, column) float64; NaN = not known.
        categorical: the columns that hold codes without order.
        level_names: of these, column to its codes' texts.
    """

    values: Floats
    categorical: frozenset[str]
    level_names: Mapping[str, Mapping[float, str]]


def numbers(
    sheet: Sheet, columns: Sequence[str], categorical: Collection[str], missing: Sequence[str], problems: Problems
) -> Cells:
    """Read columns.

    A text becomes a code that depends on nothing but the text, so that new patients' tables are coded alike.

    Args:
        categorical: columns of codes; those of text are added.
        missing: texts that stand for "not known".
        problems: gets a line for each column with a text among numbers, a date, or an infinite value.
    """
    import pandas as pd

    values = np.full((len(sheet.frame), len(columns)), np.nan)
    codes = set(categorical)
    level_names: dict[str, dict[float, str]] = {}
    for i, name in enumerate(columns):
        column = sheet.frame[name]
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            problems.append(f"{sheet.name}, column {name!r} holds dates; write a number, such as an age in years")
        elif pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
            values[:, i] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            texts = as_texts(column, missing)
            if name not in codes and _is_text(texts):
                codes.add(name)
            if name in codes:
                of_text = {text: code(text) for text in sorted({text for text in texts if text is not None})}
                values[:, i] = [np.nan if text is None else of_text[text] for text in texts]
                level_names[name] = {value: text for text, value in of_text.items()}
            else:
                values[:, i] = _numeric(sheet, name, texts, problems)
        infinite = np.flatnonzero(np.isinf(values[:, i]))
        if infinite.size:
            problems.append(
                f"{sheet.name}, column {name!r}, row {sheet.frame.index[infinite[0]]}: an infinite value; leave the "
                "cell empty where it is not known"
            )
    return Cells(values, frozenset(codes), level_names)


def as_texts(column: pd.Series[Any], missing: Sequence[str]) -> list[str | None]:
    """The cells as text without spaces around them; None where nothing is known."""
    cells = map(text_of, column)
    return [None if not cell or cell in missing else cell for cell in cells]


def number(text: str) -> float | None:
    """The number a text is, as a spreadsheet writes it; None where it is none."""
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(text)
    except ValueError:
        return None


def code(text: str) -> float:
    """The number itself, or one made of the text's sha256: exact as float64, the same in every table."""
    known = number(text)
    return float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")) if known is None else known


def _is_text(texts: Sequence[str | None]) -> bool:
    known = [text for text in texts if text is not None]
    return sum(number(text) is None for text in known) > MOSTLY * len(known)


def _numeric(sheet: Sheet, name: str, texts: Sequence[str | None], problems: Problems) -> Floats:
    values = [None if text is None else number(text) for text in texts]
    odd = [i for i, text in enumerate(texts) if text is not None and values[i] is None]
    if odd:
        known = sum(text is not None for text in texts)
        problems.append(
            f"{sheet.name}, column {name!r}, row {sheet.frame.index[odd[0]]}: {texts[odd[0]]!r} is no number, as "
            f"{known - len(odd)} of {known} cells are; write a number or leave it empty, add the text to `missing`, or "
            "name the column under categorical"
        )
    return np.array([np.nan if value is None else value for value in values])
