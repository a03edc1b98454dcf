"""Follow-up of a case table: months and whether the event was observed; every bad cell named by its row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fusionbench.builtin.table.column_selection import Problems
from fusionbench.builtin.table.schema import OutcomeSchema
from fusionbench.builtin.table.sheets import Sheet
from fusionbench.builtin.table.values import as_texts, number
from fusionbench.core.types import SurvivalTarget

DAYS_PER_MONTH = 30.4375
MONTHS: Mapping[str, float] = {
    "day": 1 / DAYS_PER_MONTH,
    "week": 7 / DAYS_PER_MONTH,
    "month": 1.0,
    "year": 12.0,
}
"""Unit to its length in months."""


def targets(
    sheet: Sheet, schema: OutcomeSchema | None, missing: Sequence[str], problems: Problems
) -> list[SurvivalTarget | None]:
    """The target of each row; None where both cells are empty, and in all rows where the TOML has no outcome.

    Args:
        problems: gets one line per column and kind: no time, a value without meaning, only one of two cells filled.
    """
    if schema is None or not {schema.time, schema.flag} <= set(sheet.columns):
        return [None] * len(sheet.frame)
    times = as_texts(sheet.frame[schema.time], missing)
    flags = as_texts(sheet.frame[schema.flag], missing)
    months = _months(sheet, schema, times, problems)
    events = _events(sheet, schema, flags, problems)
    half = [i for i in range(len(times)) if (times[i] is None) != (flags[i] is None)]
    if half:
        empty, other = (schema.time, schema.flag) if times[half[0]] is None else (schema.flag, schema.time)
        problems.append(
            f"{sheet.name}, {_row(sheet, half)}: {empty!r} is empty and {other!r} is not; fill it, or empty both and "
            "the case has no follow-up"
        )
    return [
        None if month is None or event is None else SurvivalTarget(month, event)
        for month, event in zip(months, events, strict=True)
    ]


def _months(sheet: Sheet, schema: OutcomeSchema, texts: Sequence[str | None], problems: Problems) -> list[float | None]:
    times = [None if text is None else number(text) for text in texts]
    for what, odd in (
        ("is no number", [i for i, t in enumerate(texts) if t is not None and times[i] is None]),
        ("is no time", [i for i, v in enumerate(times) if v is not None and not (v >= 0 and math.isfinite(v))]),
    ):
        if odd:
            problems.append(
                f"{sheet.name}, column {schema.time!r}, {_row(sheet, odd)}: {texts[odd[0]]!r} {what}; write "
                f"{schema.unit}s since entry, 0 or more, or leave the case out"
            )
    return [None if value is None else value * MONTHS[schema.unit] for value in times]


def _events(sheet: Sheet, schema: OutcomeSchema, texts: Sequence[str | None], problems: Problems) -> list[bool | None]:
    meaning = _meaning(schema)
    events = [None if text is None else meaning.get(_plain(text)) for text in texts]
    odd = [i for i, text in enumerate(texts) if text is not None and events[i] is None]
    if odd:
        seen = sorted({str(text) for text in texts if text is not None})
        listed = ", ".join(map(repr, seen[:6])) + (", ..." if len(seen) > 6 else "")
        problems.append(
            f"{sheet.name}, column {schema.flag!r}, {_row(sheet, odd)}: {texts[odd[0]]!r} says neither observed nor "
            f"censored; the column has {len(seen)} values ({listed}): say which mean what with observed = [...] and "
            "censored = [...] under [outcome]"
        )
    return events


def _meaning(schema: OutcomeSchema) -> dict[str, bool]:
    """Cell to whether the event was observed."""
    one = schema.event is not None
    if not schema.observed:
        return {"1": one, "0": not one}
    observed, censored = ([_plain(str(value)) for value in values] for values in (schema.observed, schema.censored))
    return {**dict.fromkeys(censored, False), **dict.fromkeys(observed, True)}


def _plain(text: str) -> str:
    """1, 1.0 and True are one value."""
    value = number(text)
    return text if value is None else f"{value:g}"


def _row(sheet: Sheet, rows: Sequence[int]) -> str:
    more: Any = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"row {sheet.frame.index[rows[0]]}{more}"
