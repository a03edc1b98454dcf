"""The outcome of a case table: follow-up in months and whether the event was observed, or classes; bad cells by row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusionbench.builtin.table.cells import plain, suggest
from fusionbench.builtin.table.class_column import read_classes
from fusionbench.builtin.table.column_selection import Problems
from fusionbench.builtin.table.outcome_schema import ClassOutcomeSchema, OutcomeSchema
from fusionbench.builtin.table.sheets import Sheet
from fusionbench.builtin.table.values import as_texts, column_fixes, described, row_text, spelt, without
from fusionbench.core.data_warning import Fix
from fusionbench.core.types import SurvivalTarget, Target
from fusionbench.data.fixes import Problem

DAYS_PER_MONTH = 30.4375
MONTHS: Mapping[str, float] = {
    "day": 1 / DAYS_PER_MONTH,
    "week": 7 / DAYS_PER_MONTH,
    "month": 1.0,
    "year": 12.0,
}
"""Unit to its length in months."""


@dataclass(frozen=True)
class OutcomeOfRows:
    """What a case table says of the outcome.

    Attributes:
        targets: of each row; None where nothing is known.
        faulty: ids of the cases whose cells cannot be read.
        classes: names of the classes; empty for survival, and where nothing says what they are.
    """

    targets: Sequence[Target | None]
    faulty: frozenset[str] = frozenset()
    classes: tuple[str, ...] = ()


def read_outcome(
    sheet: Sheet, schema: OutcomeSchema | ClassOutcomeSchema | None, ids: Sequence[str], problems: Problems
) -> OutcomeOfRows:
    """The outcome of each row; none where the TOML has no outcome, or the table not its columns.

    Args:
        ids: of the rows.
        problems: gets one line per column and kind of fault.
    """
    if schema is None or not set(schema.columns) <= set(sheet.columns):
        return OutcomeOfRows([None] * len(sheet.frame), frozenset() if schema is None else frozenset(ids))
    if isinstance(schema, ClassOutcomeSchema):
        found = read_classes(sheet, schema, ids, problems)
        return OutcomeOfRows(found.targets, found.faulty, found.classes)
    return OutcomeOfRows(*targets(sheet, schema, ids, problems))


def targets(
    sheet: Sheet, schema: OutcomeSchema, ids: Sequence[str], problems: Problems
) -> tuple[list[SurvivalTarget | None], frozenset[str]]:
    """The follow-up of each row, and the ids of cases whose cells are faulty.

    A target is None where the time is empty (no follow-up).

    Args:
        ids: of the rows.
        problems: gets one line per column and kind: no time, a value without meaning, a time without an event.
    """
    times = as_texts(sheet.frame[schema.time], sheet.form(schema.time))
    flags = as_texts(sheet.frame[schema.flag], sheet.form(schema.flag))
    months = _months(sheet, schema, times, ids, problems)
    events = _events(sheet, schema, flags, ids, problems)
    half = [i for i in range(len(times)) if times[i] is not None and flags[i] is None]
    if half:
        problems.append(
            Problem(
                f"{sheet.name}, {row_text(sheet, half)}: {schema.flag!r} is empty and {schema.time!r} is not; fill it, "
                "or leave the case out",
                without(half, ids),
            )
        )
    made = [
        None if month is None or event is None else SurvivalTarget(month, event)
        for month, event in zip(months, events, strict=True)
    ]
    faulty = {ids[i] for i, target in enumerate(made) if target is None and times[i] is not None}
    return made, frozenset(faulty)


def _months(
    sheet: Sheet, schema: OutcomeSchema, texts: Sequence[str | None], ids: Sequence[str], problems: Problems
) -> list[float | None]:
    form = sheet.form(schema.time)
    times = [None if text is None else form.number(text) for text in texts]
    odd = [i for i, text in enumerate(texts) if text is not None and times[i] is None]
    reading = suggest([text for text in texts if text is not None], form, schema.unit) if odd else None
    advice = f"write {schema.unit}s since entry, 0 or more, or leave the case out"
    if reading is not None:
        where = f"{sheet.name}, column {schema.time!r}, {row_text(sheet, odd)}: {texts[odd[0]]!r} is no number"
        problems.append(Problem(f"{where}; {described(reading)}", *column_fixes(schema.time, reading)))
        times = [None if text is None else reading.form.number(text) for text in map(reading.form.text, texts)]
    elif odd:
        where = f"{sheet.name}, column {schema.time!r}, {row_text(sheet, odd)}: {texts[odd[0]]!r} is no number"
        problems.append(Problem(f"{where}; {advice}", without(odd, ids)))
    wrong = [i for i, v in enumerate(times) if v is not None and not (v >= 0 and math.isfinite(v))]
    if wrong:
        where = f"{sheet.name}, column {schema.time!r}, {row_text(sheet, wrong)}: {texts[wrong[0]]!r} is no time"
        problems.append(Problem(f"{where}; {advice}", without(wrong, ids)))
    return [None if value is None or i in wrong else value * MONTHS[schema.unit] for i, value in enumerate(times)]


def _events(
    sheet: Sheet, schema: OutcomeSchema, texts: Sequence[str | None], ids: Sequence[str], problems: Problems
) -> list[bool | None]:
    meaning = _meaning(schema)
    events = [None if text is None else meaning.get(plain(text)) for text in texts]
    odd = [i for i, text in enumerate(texts) if text is not None and events[i] is None]
    if odd:
        seen = sorted({str(text) for text in texts if text is not None})
        listed = ", ".join(map(repr, seen[:6])) + (", ..." if len(seen) > 6 else "")
        strange = list(dict.fromkeys(str(texts[i]) for i in odd))
        said = [*map(str, (*schema.observed, *schema.censored))]
        same = {text: alike for text in strange if (alike := spelt(text, said)) is not None}
        unknown = [i for i in odd if texts[i] not in same]
        fixes = [Fix(("column", schema.flag), "replace", same)] if same else []
        fixes += [without(unknown, ids)] if unknown and len(unknown) < len(texts) / 2 else []
        problems.append(
            Problem(
                f"{sheet.name}, column {schema.flag!r}, {row_text(sheet, odd)}: {texts[odd[0]]!r} says neither "
                f"observed nor censored; the column has {len(seen)} values ({listed}): say which mean what with "
                "observed = [...] and censored = [...] under [outcome]",
                *fixes,
            )
        )
        events = [meaning.get(plain(same[t])) if t in same else e for t, e in zip(texts, events, strict=True)]
    return events


def _meaning(schema: OutcomeSchema) -> dict[str, bool]:
    """Cell to whether the event was observed."""
    one = schema.event is not None
    if not schema.observed:
        return {"1": one, "0": not one}
    observed, censored = ([plain(str(value)) for value in values] for values in (schema.observed, schema.censored))
    return {**dict.fromkeys(censored, False), **dict.fromkeys(observed, True)}
