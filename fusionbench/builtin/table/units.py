"""Units behind the numbers of a column: which are there, and the factors between those of one dimension."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

SPACES = dict.fromkeys(map(ord, "\u00a0\u202f\u2009"), " ")
MINUS = {ord("\u2212"): "-"}
_BODY = re.compile(r"[+-]?[0-9][0-9., ']*?\s*([^\W\d_]+[^\W\d_/.*²³]*(?:/[^\W_]+)?[²³]?|%|°C?|)")
"""A number and the unit behind it: letters, also by something (mg/dl, ml/min), a percent sign, degrees."""
_DAYS: Mapping[float, tuple[str, ...]] = {
    1 / 1440: ("min", "mins", "minute", "minutes"),
    1 / 24: ("h", "hr", "hrs", "hour", "hours"),
    1: ("d", "day", "days", "tag", "tage"),
    7: ("w", "wk", "wks", "week", "weeks", "woche", "wochen"),
    30.4375: ("m", "mo", "mos", "mth", "mths", "month", "months", "monat", "monate"),
    365.25: ("y", "yr", "yrs", "year", "years", "jahr", "jahre"),
}
_DIMENSIONS: tuple[Mapping[float, tuple[str, ...]], ...] = (
    {0.001: ("μm", "um"), 1: ("mm",), 10: ("cm",), 100: ("dm",), 1000: ("m",), 25.4: ("in", "inch", "inches")},
    {1e-6: ("μg", "ug", "mcg"), 0.001: ("mg",), 1: ("g",), 1000: ("kg",), 453.59237: ("lb", "lbs")},
    {0.001: ("μl", "ul"), 1: ("ml", "cc"), 10: ("cl",), 100: ("dl",), 1000: ("l",)},
    _DAYS,
)
"""Lengths (millimetres = 1), masses (grams), volumes (millilitres), times (days): factor to the units that have it."""


def units_of(texts: Iterable[str]) -> Counter[str]:
    """Each unit, as written, with the number of texts that are a number and it; "" is a number alone."""
    matches = (_BODY.fullmatch(text.translate(SPACES).translate(MINUS)) for text in texts)
    return Counter(match[1] for match in matches if match)


def unit_of(text: str) -> str:
    """The unit behind a number; empty where there is none."""
    return next(iter(units_of([text])), "")


def factors(units: Iterable[str]) -> dict[str, float] | None:
    """Unit to its factor, where all are of one dimension; None where they are not, or one is not known here."""
    plain = {unit: unicodedata.normalize("NFKC", unit).casefold() for unit in units}
    for dimension in _DIMENSIONS:
        known = {unit: factor for factor, written in dimension.items() for unit in written}
        if known.keys() >= set(plain.values()):
            return {unit: known[name] for unit, name in plain.items()}
    return None


def different(units: Iterable[str]) -> bool:
    """Whether units differ by more than case."""
    return len({unicodedata.normalize("NFKC", unit).casefold() for unit in units}) > 1
