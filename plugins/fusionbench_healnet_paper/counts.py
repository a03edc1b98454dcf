"""How large the cohorts are, beside the published counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusionbench import PluginRef
from fusionbench.report.api import Analysis, Entry, Section, entries

PublishedRow = Mapping[str, str]
OURS = frozenset({"clinical_stage"})
"""Modalities of our suites whose columns the published tables lack."""
HEADER = ("dataset", "unit", "property", "published", "here", "same")


def counts(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """A line for each published count."""
    stored = lock.get("counts")
    if stored:
        read = [row for row in stored["rows"] if here(row, lock) is not None]
        absent = dict.fromkeys(_unread(stored["rows"], read))
        not_read = [f"not read here: {', '.join(absent)}"] if absent else []
        lines = tuple(_line(row, lock) for row in read)
        yield Section(2, "Counts beside the published ones", "", HEADER, lines, (*stored["notes"], *not_read))


def _unread(rows: Sequence[PublishedRow], read: Sequence[PublishedRow]) -> Iterator[str]:
    """Datasets without any count, and single properties of the others."""
    partly = {row["dataset"] for row in read}
    for row in rows:
        if row not in read:
            yield f"{row['property']} of {row['dataset']}" if row["dataset"] in partly else row["dataset"]


def agreeing(lock: Mapping[str, Any]) -> tuple[int, int, int]:
    """(published counts that are the same here, that are known here, all)."""
    rows = lock.get("counts", {}).get("rows", [])
    known = [(row, found) for row in rows if (found := here(row, lock)) is not None]
    return sum(_same(row, found) for row, found in known), len(known), len(rows)


def _line(row: PublishedRow, lock: Mapping[str, Any]) -> tuple[Entry, ...]:
    found = here(row, lock) or []
    place = (row["dataset"], row["unit"], row["property"], row["value"])
    return entries(*place, _formatted(row, found), "yes" if _same(row, found) else "no")


def here(row: PublishedRow, lock: Mapping[str, Any]) -> list[float] | None:
    """The numbers of one property; None where the cohort was not read under that unit, or lacks the modality."""
    of = {PluginRef.parse(name).name: dataset for name, dataset in lock["datasets"].items()}
    counted = of.get(row["dataset"], {}).get("counts", {}).get(row["unit"])
    if counted is None:
        return None
    name, _, modality = row["property"].partition(":")
    if name == "having":
        having = counted.get("having", {}).get(modality)
        return None if having is None else [having]
    cases = counted["cases"]
    known: dict[str, list[float]] = {
        "rows": [cases],
        "slides": [cases],  # each case of unit slide is one slide; `plus` counts the slides without a case
        "columns": [sum(n for of, n in counted["columns"].items() if of not in OURS)],
        "censored": [1 - counted["events"] / cases],
        "bins": counted["bins"],
    }
    return known[name]


def _plus(row: PublishedRow) -> float:
    return float(row["plus"] or 0)


def _same(row: PublishedRow, found: list[float]) -> bool:
    """To the digits that are published."""
    published = row["value"].split()
    digits = max(len(text.partition(".")[2]) for text in published)
    return [round(n + _plus(row), digits) for n in found] == [float(text) for text in published]


def _formatted(row: PublishedRow, found: list[float]) -> str:
    texts = [f"{n:.3f}" if row["property"] == "censored" else f"{n:g}" for n in found]
    plus = _plus(row)
    return " ".join(texts) + (f" + {plus:g} = {found[0] + plus:g}" if plus else "")
