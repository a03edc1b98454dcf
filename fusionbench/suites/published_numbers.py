"""Published numbers beside a suite: what a paper reports, what it claims and what it counted, in our names.

Three CSV files, named by a suite's keys `reference`, `claims` and `counts`; comment lines (#) say how the names were
translated and are printed with the numbers. They decide nothing that is computed, so no cell's key knows them; the lock
holds their content, so that tables can be made from published results alone.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusionbench.core.errors import FusionBenchError, SuiteError, did_you_mean
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.data.patterns import check_pattern

if TYPE_CHECKING:
    from fusionbench.core.registry import Registry
    from fusionbench.suites.suite import Suite

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "reference": ("dataset", "model", "modalities", "pattern", "metric", "mean", "sd"),
    "claims": (
        *("id", "where", "claim", "number", "checked_by", "kind", "datasets", "model", "modalities", "pattern"),
        *("variant", "against", "threshold"),
    ),
    "counts": ("dataset", "unit", "property", "value", "plus"),
}
"""Keys of a suite and the columns of the file each names; a list in a cell is separated by spaces."""

OF_VARIANTS = ("steadier-agreement", "steadier-score", "later-rise", "sensitive", "learns")
OF_ROWS = (
    *("gain-over-best", "mean-gain-over-best", "nearly-equal", "lower-spread", "better-under-pattern"),
    "no-worse-alone",
)
KINDS = (*OF_ROWS, *OF_VARIANTS, "counts")
"""Kinds of claim that results can answer; those of variants hold one variant against others. A claim without a kind
is shown and not checked."""

PROPERTIES = ("rows", "slides", "columns", "censored", "bins")
UNITS = ("patient", "slide")
_HAVING = re.compile(r"having:[\w-]+")  # cases that have a modality, as `having:omic`


@dataclass(frozen=True)
class Published:
    """One file: its rows as text, and its comment lines."""

    file: str
    sha256: str
    rows: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As the lock holds it."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "notes": list(self.notes),
            "rows": [dict(row) for row in self.rows],
        }


def read(suite: Suite) -> dict[str, Published]:
    """The files that a suite names, by key; read, not yet checked.

    Raises:
        SuiteError: a file is not there, or its columns are not those of its kind.
    """
    names = {kind: getattr(suite, kind) for kind in COLUMNS}
    return {kind: _read(suite, kind) for kind, name in names.items() if name is not None}


def units(suite: Suite) -> tuple[str, ...]:
    """The units that published counts are of: those cohorts are counted, whether or not a cell reads them."""
    if suite.counts is None:
        return ()
    rows = _read(suite, "counts").rows
    return tuple(dict.fromkeys(row["unit"] for row in rows))


def _read(suite: Suite, kind: str) -> Published:
    where, text = suite.read_beside(kind, getattr(suite, kind))
    return parse(kind, text, where)


def parse(kind: str, text: str, where: str) -> Published:
    """A file from its text; `where` names it in messages.

    Raises:
        SuiteError: its columns are not those of its kind, or a row is longer or shorter than the header.
    """
    lines = text.splitlines()
    notes = tuple(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    header, *body = list(csv.reader(line for _, line in numbered)) or [[]]
    wanted = COLUMNS[kind]
    odd = [did_you_mean("column", name, wanted) for name in header if name not in wanted]
    odd += [f"no column {name!r}" for name in wanted if name not in header]
    if odd:
        raise SuiteError(f"{where}: {'; '.join(odd)}")
    for (line, _), cells in zip(numbered[1:], body, strict=True):
        if len(cells) != len(header):
            raise SuiteError(f"{where}, line {line}: {len(cells)} cells under {len(header)} columns")
    rows = tuple(dict(zip(header, (cell.strip() for cell in cells), strict=True)) for cells in body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Published(where.rpartition("/")[2], digest, rows, notes)


def problems(suite: Suite, registry: Registry) -> Iterator[str]:
    """Everything in a suite's published numbers that names what does not exist: file, row, choices."""
    try:
        found = read(suite)
    except SuiteError as error:
        yield str(error)
        return
    checks = {"reference": _reference, "claims": _claims, "counts": _counts}
    known = _Known(suite, registry)
    for kind, of in found.items():
        for number, row in enumerate(of.rows, 1):
            yield from (f"{of.file}, row {number}: {problem}" for problem in checks[kind](row, known))
        yield from _twice(kind, of)


def _twice(kind: str, of: Published) -> Iterator[str]:
    keys = {"reference": COLUMNS["reference"][:5], "claims": ("id",), "counts": ("dataset", "unit", "property")}[kind]
    places = [tuple(row[key] for key in keys) for row in of.rows]
    yield from (f"{of.file}: {' · '.join(p)} is there twice" for p in dict.fromkeys(places) if places.count(p) > 1)


class _Known:
    """What a row may name."""

    def __init__(self, suite: Suite, registry: Registry) -> None:
        sets = suite.modalities
        each = sets.values() if isinstance(sets, Mapping) else [sets]
        self.modalities = tuple(dict.fromkeys(m for of in each for names in of for m in names))
        self.registry, self.suite = registry, suite.name
        self.variants = tuple(dict.fromkeys(v.name for v in suite.variants()))

    def plugin(self, kind: str, text: str) -> Iterator[str]:
        """A dataset or model, with or without options."""
        try:
            self.registry.get(kind, PluginRef.parse(text).name)
        except FusionBenchError as error:
            yield str(error)

    def choice(self, what: str, name: str, choices: Sequence[str]) -> Iterator[str]:
        if name not in choices:
            yield did_you_mean(what, name, choices)

    def sets(self, text: str) -> Iterator[str]:
        for name in text.split("+"):
            yield from self.choice("modality of this suite", name, self.modalities)


def _reference(row: Mapping[str, str], known: _Known) -> Iterator[str]:
    yield from known.plugin("datasets", row["dataset"])
    yield from known.plugin("models", row["model"])
    yield from known.sets(row["modalities"])
    yield from known.choice("metric", row["metric"], known.registry.names("metrics"))
    yield from _pattern(row["pattern"], known)
    yield from _number("mean", row["mean"])
    yield from _number("sd", row["sd"]) if row["sd"] else ()


def _claims(row: Mapping[str, str], known: _Known) -> Iterator[str]:
    """A claim that another suite checks may name what only that suite has."""
    if not row["kind"]:
        return
    yield from known.choice("kind of claim", row["kind"], KINDS)
    for name in row["datasets"].split():
        yield from known.plugin("datasets", name)
    yield from _number("threshold", row["threshold"]) if row["threshold"] else ()
    if known.suite in row["checked_by"].split():
        yield from _checked(row, known)


def _checked(row: Mapping[str, str], known: _Known) -> Iterator[str]:
    yield from known.plugin("models", row["model"]) if row["model"] else ()
    yield from known.sets(row["modalities"]) if row["modalities"] else ()
    yield from _pattern(row["pattern"], known)
    across = row["kind"] in OF_VARIANTS
    yield from known.choice("variant of this suite", row["variant"], known.variants) if row["variant"] else ()
    for other in row["against"].split():
        model, _, sets = other.partition("@")
        yield from known.choice("variant of this suite", other, known.variants) if across else ()
        yield from known.plugin("models", model) if not across else ()
        yield from known.sets(sets) if sets else ()


def _counts(row: Mapping[str, str], known: _Known) -> Iterator[str]:
    yield from known.plugin("datasets", row["dataset"])
    yield from known.choice("unit", row["unit"], UNITS)
    if not _HAVING.fullmatch(row["property"]):
        yield from known.choice("property", row["property"], (*PROPERTIES, "having:MODALITY"))
    if (row["property"], row["unit"]) == ("slides", "patient"):
        yield "property slides belongs to unit slide, not patient"
    for value in row["value"].split():
        yield from _number("value", value)
    yield from _number("plus", row["plus"]) if row["plus"] else ()


def _pattern(pattern: str, known: _Known) -> Iterator[str]:
    try:
        check_pattern(pattern, known.modalities, single=True)
    except SuiteError as error:
        yield str(error)


def _number(what: str, text: str) -> Iterator[str]:
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        finite = False
    if not finite:
        yield f"{what} is {text!r}, which is no number"
