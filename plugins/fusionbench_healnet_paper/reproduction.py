"""Published numbers beside ours, claims with a verdict on each, and what was done otherwise.

Nothing is called reproduced that was not run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusionbench.report.api import Analysis, Entry, RowMean, Section, entries, matching_rows, row_means
from fusionbench_healnet_paper import claims, deviations

PublishedRow = Mapping[str, str]
CLAIM_HEADER = ("claim", "says", "number", "here", "verdict")


def reproduction(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """Of a suite that carries published numbers or claims."""
    stored = lock.get("reference")
    if stored:
        yield _card(analysis, stored)
    if lock.get("claims"):
        yield _claims(analysis, lock)
    if stored or lock.get("claims"):
        yield Section(3, "What was done otherwise than published", notes=tuple(deviations.deviations(lock)))


def _card(analysis: Analysis, stored: Mapping[str, Any]) -> Section:
    rows = {
        key: row_means(analysis, *key) for key in dict.fromkeys((r["pattern"], r["metric"]) for r in stored["rows"])
    }
    found = [
        (r, matching_rows(rows[r["pattern"], r["metric"]], r["dataset"], r["model"], r["modalities"]))
        for r in stored["rows"]
    ]
    names = ["dataset", "model", "modalities"]
    names += [name for name in ("pattern", "metric") if len({r[name] for r in stored["rows"]}) > 1]
    several = any(m.variant != "base" for _, of in found for m in of)
    lines = tuple(line for row, of in found for line in _lines(row, of, names, several=several))
    header = (*names, *(("variant",) if several else ()), "published", "here", "difference", "inside interval")
    run = sum(bool(of) for _, of in found)
    text = f"{run} of {len(found)} published rows were run; measured here: mean ± sd over folds [95 % interval]"
    return Section(2, "Published numbers", text, header, lines, tuple(stored["notes"]))


def _lines(row: PublishedRow, found: list[RowMean], names: list[str], *, several: bool) -> Iterator[tuple[Entry, ...]]:
    spread = f" ± {float(row['sd']):.3f}" if row["sd"] else ""
    published = f"{float(row['mean']):.3f}{spread}"
    if not found:
        blank = ("-",) if several else ()
        yield entries(*(row[name] for name in names), *blank, published, "not run", "-", "-")
    for mine in found:
        place = [{"dataset": mine.row[0], "model": mine.row[1]}.get(name, row[name]) for name in names]
        variant = (mine.variant,) if several else ()
        gap = mine.mean - float(row["mean"])
        yield entries(*place, *variant, published, mine.text, f"{gap:+.3f}", _inside(float(row["mean"]), mine))


def _inside(published: float, mine: RowMean) -> str:
    if math.isnan(mine.low):
        return "no interval"
    return "yes" if mine.low <= published <= mine.high else "no"


def _claims(analysis: Analysis, lock: Mapping[str, Any]) -> Section:
    rows, notes = lock["claims"]["rows"], lock["claims"]["notes"]
    lines = tuple(_claim(row, analysis, lock) for row in rows if claims.is_checked(row, lock))
    others = _of_other_suites([row for row in rows if not claims.is_checked(row, lock)])
    unchecked = [f"not checked by this suite: {others}"] if others else []
    return Section(2, "Published claims", "", CLAIM_HEADER, lines, (*notes, *unchecked))


def _of_other_suites(rows: Sequence[PublishedRow]) -> str:
    """Claims by the suite that checks them; `(no rule)` where none can yet."""
    of: dict[str, list[str]] = {}
    for row in rows:
        by = row["checked_by"].replace(" ", ", ") or "no suite"
        of.setdefault(by + ("" if row["kind"] else ", no rule yet"), []).append(row["id"])
    return "; ".join(f"{', '.join(ids)} ({by})" for by, ids in of.items())


def _claim(row: PublishedRow, analysis: Analysis, lock: Mapping[str, Any]) -> tuple[Entry, ...]:
    found = claims.judge(row, analysis, lock)
    return entries(row["id"], f"{row['where']}: {row['claim']}", row["number"] or "-", found.ours, found.verdict)
