"""A figure of the calibration, what is wanted of it, and the report of all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

KINDS: Mapping[str, Callable[[float], str]] = {
    "share": lambda value: f"{100 * value:.1f} %",
    "c": lambda value: f"{value:.4f}",
    "number": lambda value: f"{value:.2f}",
    "seconds": lambda value: f"{value:.2f} s",
    "times": lambda value: f"{value:.0f} x",
    "gap": lambda value: f"{value:.0e}" if value else "0",
}
"""Kind of value to how it is written."""


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        part: the table it stands in.
        error: Monte-Carlo standard error; None where nothing is drawn.
        low, high: the range wanted of the value; None where none is.
    """

    part: str
    name: str
    value: float
    kind: str
    error: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> str:
        """pass, MISS, or empty where nothing is wanted."""
        if self.low is None and self.high is None:
            return ""
        above = self.low is None or self.value >= self.low
        below = self.high is None or self.value <= self.high
        return "pass" if above and below else "MISS"

    @property
    def wanted(self) -> str:
        low, high = (None if limit is None else self._told(limit) for limit in (self.low, self.high))
        if low and high:
            return f"{low} to {high}"
        return f"at most {high}" if high else f"at least {low}" if low else ""

    def row(self) -> str:
        error = "" if self.error is None else self._told(self.error)
        return f"| {self.name} | {self._told(self.value)} | {error} | {self.wanted} | {self.verdict} |"

    def _told(self, value: float) -> str:
        return KINDS[self.kind](value)


def share(part: str, name: str, hits: Sequence[bool], low: float | None = None, high: float | None = None) -> Figure:
    """How often something happened, with its binomial error."""
    rate = sum(map(bool, hits)) / len(hits)
    return Figure(part, name, rate, "share", math.sqrt(rate * (1 - rate) / len(hits)), low, high)


def parts(figures: Iterable[Figure]) -> dict[str, str]:
    """Part to its table in markdown."""
    head = ["| figure | value | Monte-Carlo error | wanted | verdict |", "|---|---|---|---|---|"]
    rows: dict[str, list[str]] = {}
    for figure in figures:
        rows.setdefault(figure.part, []).append(figure.row())
    return {part: "\n".join([*head, *lines]) for part, lines in rows.items()}


@dataclass(frozen=True)
class Report:
    """All figures and what they were made with.

    Attributes:
        about: command, scale, versions, machine; seconds that passed, and those of the processors.
    """

    about: Mapping[str, Any]
    figures: tuple[Figure, ...]

    def as_json(self) -> str:
        rows = [{**asdict(figure), "verdict": figure.verdict} for figure in self.figures]
        return json.dumps({**self.about, "figures": rows}, indent=1) + "\n"

    def as_markdown(self) -> str:
        tables = (f"## {part}\n\n{table}" for part, table in parts(self.figures).items())
        return "\n\n".join(["# Calibration of the statistics", *_about(self.about), *tables]) + "\n"


def read_report(text: str) -> Report:
    """The inverse of `as_json`."""
    about = json.loads(text)
    rows = about.pop("figures")
    figures = ({name: value for name, value in row.items() if name != "verdict"} for row in rows)
    return Report(about, tuple(Figure(**figure) for figure in figures))


def _about(about: Mapping[str, Any]) -> list[str]:
    scale = ", ".join(f"{name} {value:,}" for name, value in about["scale"].items())
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    machine = ", ".join(f"{name} {value}" for name, value in about["machine"].items())
    return [
        f"`{about['command']}`",
        f"{scale}; {about['seconds'] / 60:.0f} minutes, {about['cpu_seconds'] / 60:.0f} of a core.",
        f"{machine}; {versions}.",
    ]
