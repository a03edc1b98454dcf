"""The table cohort for tables of any content: the order of rows does not matter, reserved columns stay out."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusionbench.builtin.table.cells import CellForm, text_of
from fusionbench.builtin.table.column_selection import select_columns
from fusionbench.builtin.table.outcome import targets
from fusionbench.builtin.table.outcome_schema import OutcomeSchema
from fusionbench.builtin.table.read import read_cohort
from fusionbench.builtin.table.schema import CohortSchema, ModalitySchema
from fusionbench.builtin.table.sheets import Sheet
from fusionbench.builtin.table.values import as_texts, code, numbers
from fusionbench.data.inspection.leakage import REVEALING, predicts_event, predicts_time
from fusionbench.data.inspection.summary import median_follow_up

FORM = CellForm(missing=frozenset(CohortSchema.model_fields["missing"].default))
levels = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=8).filter(
    lambda t: t.strip() == t and t not in FORM.missing and FORM.number(t) is None
)
floats = st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 4))


def sheet(columns: dict[str, Any]) -> Sheet:
    frame = pd.DataFrame(columns)
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    return Sheet("table.csv", frame, lambda column: FORM)


@given(st.lists(levels | st.none(), min_size=1, max_size=20))
def test_a_level_has_the_same_code_in_every_table(texts: list[str | None]) -> None:
    problems: list[str] = []
    together = numbers(sheet({"x": pd.Series(texts, dtype=object)}), ["x"], ["x"], problems).values[:, 0]
    alone = [np.nan if text is None else code(text) for text in texts]
    assert not problems
    assert np.array_equal(together, alone, equal_nan=True)
    assert len({*together[~np.isnan(together)]}) == len({text for text in texts if text is not None})


@given(st.lists(floats | st.none(), min_size=1, max_size=20))
def test_numbers_stay_what_they_are_however_a_file_stores_them(values: list[float | None]) -> None:
    as_numbers = pd.Series(values, dtype=float)
    as_text = pd.Series([None if v is None else repr(v) for v in values], dtype=object)
    problems: list[str] = []
    made = numbers(sheet({"a": as_numbers, "b": as_text}), ["a", "b"], [], problems)
    assert not problems
    assert np.array_equal(made.values[:, 0], made.values[:, 1], equal_nan=True)
    assert np.array_equal(made.values[:, 0], as_numbers, equal_nan=True)
    assert not made.categorical


@given(st.lists(floats, min_size=4, max_size=20), levels, st.data())
def test_one_text_among_numbers_is_named_by_its_row(values: list[float], text: str, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(values) - 1))
    cells = [repr(v) for v in values]
    cells[row] = text
    problems: list[str] = []
    numbers(sheet({"a": pd.Series(cells, dtype=object)}), ["a"], [], problems)
    assert len(problems) == 1
    assert f"column 'a', row {row + 2}: {text!r} is no number" in problems[0]


names = st.text("abc_", min_size=1, max_size=4)


@given(st.lists(names, min_size=2, max_size=12, unique=True), st.lists(names, max_size=2), st.lists(names, max_size=2))
def test_a_claim_is_what_matches_in_the_tables_order_and_never_reserved(
    columns: list[str], prefixes: list[str], suffixes: list[str]
) -> None:
    first, second = columns[:2]
    schema = ModalitySchema(table="t.csv", prefix=tuple(prefixes), suffix=tuple(suffixes))
    problems: list[str] = []
    mine = select_columns("m", schema, sheet({c: [1] for c in columns}), first, {second: "the time"}, problems, [])
    if prefixes or suffixes:
        match = [c for c in columns if c.startswith(tuple(prefixes)) or c.endswith(tuple(suffixes))]
    else:
        match = [c for c in columns if c != first]
    assert list(mine) == [c for c in match if c != second]
    assert (second in match) == any("is the time; a model must not see it" in p for p in problems)


@given(st.lists(st.tuples(st.integers(0, 5000), st.booleans()), min_size=1, max_size=30))
def test_event_and_censorship_are_each_other_the_other_way_round(rows: list[tuple[int, bool]]) -> None:
    table = sheet({"t": [t for t, _ in rows], "e": [int(e) for _, e in rows]})
    for flag, observed in (("event", True), ("censorship", False)):
        problems: list[str] = []
        schema = OutcomeSchema(time="t", unit="month", **{flag: "e"})
        found, faulty = targets(table, schema, [str(i) for i in range(len(rows))], problems)
        assert not problems
        assert not faulty
        assert [(t.time, t.event) for t in found if t] == [(float(t), e is observed) for t, e in rows]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_order_of_rows_does_not_matter(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 8))
    order = data.draw(st.permutations(range(n)))
    table = pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(n)],
            "t": data.draw(st.lists(st.integers(1, 999), min_size=n, max_size=n)),
            "e": [i % 2 for i in range(n)],
            "x": data.draw(st.lists(floats, min_size=n, max_size=n)),
            "sex": data.draw(st.lists(st.sampled_from("fm"), min_size=n, max_size=n)),
        }
    )
    outcome = 'time = "t"\nunit = "day"\nevent = "e"'
    text = f'table = "t.csv"\nid = "id"\n[outcome]\n{outcome}\n[modality.m]\ncolumns = ["x", "sex"]'
    reads = []
    for rows in (range(n), order):
        with tempfile.TemporaryDirectory() as folder:
            table.iloc[list(rows)].to_csv(Path(folder) / "t.csv", index=False)
            (Path(folder) / "c.toml").write_text(text)
            reads.append({case.id: case for case in read_cohort(Path(folder) / "c.toml").cases})
    for id_, case in reads[0].items():
        other = reads[1][id_]
        assert case.target == other.target
        assert np.array_equal(case.refs["m"], other.refs["m"])


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=5))
def test_a_cell_as_text_is_read_back(cell: float | int | str) -> None:
    text = text_of(cell)
    assert text == text.strip()
    if isinstance(cell, float):
        assert float(text) == cell
    assert as_texts(pd.Series([cell], dtype=object), CellForm()) == [text or None]


@settings(deadline=None)  # the first example imports scikit-survival
@example([(1, False)] * 4 + [(2, False), (3, False)] + [(4, False)] * 6)  # exactly a half at 3
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=25))
def test_median_follow_up_against_the_product_written_out(rows: list[tuple[int, bool]]) -> None:
    time, event = np.array([t for t, _ in rows], dtype=float), np.array([e for _, e in rows])
    share, expected = Fraction(1), None
    for at in sorted(set(time)):
        share *= 1 - Fraction(int((~event & (time == at)).sum()), int((time >= at).sum()))
        if share <= Fraction(1, 2):
            expected = at
            break
    assert median_follow_up(time, event) == expected


@settings(deadline=None)
@given(st.data())
def test_leaks_are_found_as_each_column_alone_would_show_them(data: st.DataObject) -> None:
    """All columns at once against the definition, column by column."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n = data.draw(st.integers(34, 50))
    time, event = rng.integers(1, 99, n).astype(float), rng.random(n) < 0.5
    noise = rng.normal(size=n)
    assume(12 <= event.sum() <= n - 12)  # so that chance divides no column
    knowing = [time + 5 * noise, -time, event + 0.4 * noise, event * 3.0]
    table = np.column_stack([*knowing, noise, rng.integers(0, 3, n), np.ones(n)])
    table[rng.random(table.shape) < data.draw(st.sampled_from([0.0, 0.1]))] = np.nan
    everybody = np.ones(n, dtype=bool)
    by_time = [max(_beyond(x, time, event), _beyond(x, time, everybody)) for x in table.T]
    by_event = [_beyond(x, 1.0 - event, event) for x in table.T]
    for found, beyond in ((predicts_time(table, time, event), by_time), (predicts_event(table, event), by_event)):
        clear = [abs(b) > 0.01 for b in beyond]  # pairs are drawn: nearer to the limit either is right
        assert [bool(f) for f, c in zip(found, clear, strict=True) if c] == [
            b > 0 for b, c in zip(beyond, clear, strict=True) if c
        ]


def _beyond(x: NDArray[np.float64], time: NDArray[np.float64], event: NDArray[np.bool_]) -> float:
    """How far the concordance of the values or of their absolute values lies beyond the limit, over all pairs."""
    best, known = -1.0, ~np.isnan(x)
    comparable = (event & known)[:, np.newaxis] & known & (time > time[:, np.newaxis])
    for values in (x, np.abs(x)):
        if comparable.any():
            first = values[:, np.newaxis]
            c = ((first > values) + 0.5 * (first == values))[comparable].mean()
            best = max(best, abs(c - 0.5) - (REVEALING - 0.5))
    return float(best)
