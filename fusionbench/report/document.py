"""Content of a table or report before any format: sections with headings, grids of marked entries, notes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pandas as pd

from fusionbench.core.cell_result import AFTER
from fusionbench.core.plural import plural
from fusionbench.core.rounding import ROUNDING
from fusionbench.report.model import (
    AUPRC,
    BELIEVABLE,
    FULL,
    IMPORTED,
    RANKINGS,
    ComparisonTable,
    FoldCount,
    MeanKey,
    ProtocolSummary,
    RowKey,
    is_oracle,
    row_keys,
    unique,
)
from fusionbench.report.order import best_first
from fusionbench.report.ranking import ALPHA
from fusionbench.results.frames import OWN_RECIPE, ROW


@dataclass(frozen=True)
class Entry:
    """A cell of a grid.

    Attributes:
        strong: the best of its column.
        mark: letter of its tie group.
    """

    text: str
    strong: bool = False
    mark: str = ""


NONE = Entry("-")
"""A cell without a value."""


@dataclass(frozen=True)
class Section:
    """A heading with a text, a grid and notes.

    Attributes:
        level: 1 = the suite, 2 = a dataset, 3 = a missing-modality pattern.
    """

    level: int
    title: str
    text: str = ""
    header: tuple[str, ...] = ()
    lines: tuple[tuple[Entry, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def folded(self, *columns: str) -> Section:
        """The section with those of `columns` that are equal in every line written once, below the heading."""
        same = [
            i
            for i, name in enumerate(self.header)
            if name in columns and len(self.lines) > 1 and len({line[i].text for line in self.lines}) == 1
        ]
        if not same:
            return self
        shared = "; ".join(f"{self.header[i]}: {self.lines[0][i].text}" for i in same)
        kept = [i for i in range(len(self.header)) if i not in same]
        return replace(
            self,
            text=f"{self.text} {shared}".strip(),
            header=tuple(self.header[i] for i in kept),
            lines=tuple(tuple(line[i] for i in kept) for line in self.lines),
        )


class Grid:
    """Lines of a section, each beginning with a row's model and modalities, and its variant where there are several."""

    def __init__(self, rows: Sequence[RowKey], *columns: str) -> None:
        self._variants = len({row[3] for row in rows}) > 1
        self.header = ("model", "modalities", *(["variant"] if self._variants else []), *columns)
        self.lines: list[tuple[Entry, ...]] = []

    def add(self, row: RowKey, entries: Iterable[Entry]) -> None:
        """One line: the names of the row, then `entries`."""
        names = (row[1], row[2], *([row[3]] if self._variants else []))
        self.lines.append((*map(Entry, names), *entries))


def entries(*texts: object, strong: Sequence[int] = ()) -> tuple[Entry, ...]:
    """A line of a grid."""
    return tuple(Entry(str(text), i in strong) for i, text in enumerate(texts))


def document(
    table: ComparisonTable,
    title: str,
    notes: Mapping[str, Sequence[str]],
    findings: Sequence[Section] = (),
    verdicts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[Section]:
    """The table as sections: the suite, each dataset with a grid for each pattern, findings, and how to read it.

    Args:
        notes: dataset to lines of its own, printed under its grids.
        verdicts: dataset to the verdicts on it, printed above its grids.
    """
    sections = [Section(1, title)] if title else []
    for dataset in table.progress:
        rows = table.rows[table.rows["dataset"] == dataset]
        sections.append(Section(2, dataset, _head(table, dataset)))
        sections += [Section(3, "", text) for text in verdicts.get(dataset, ())]
        shown = rows[(rows["n_cases"] > 0) | (rows["n_failed"] > 0)]
        # What is predicted after steps of a model has a section of its own.
        patterns = [p for p in unique(shown["pattern"]) if not p.startswith(AFTER)]
        for pattern in patterns:
            part = best_first(shown[shown["pattern"] == pattern], table.directions)
            name = f"pattern {pattern}" if len(patterns) > 1 or pattern != FULL else ""
            header, lines = _grid(table, part)
            compared = (*_detectable(table, dataset, pattern), *_incomplete(table, dataset, pattern))
            sections.append(Section(3, name, "", header, lines, compared))
        below = (
            *_outcomes(table, dataset),
            *_undefined(table, dataset),
            *_partly(table, dataset),
            *_draws(table, dataset),
            *_implausible(rows),
            *_imported(rows),
            *notes.get(dataset, ()),
        )
        sections.append(Section(3, "", notes=below))
    sections += findings
    sections.append(Section(2, "How to read this", notes=tuple(_legend(table))))
    return sections


def _head(table: ComparisonTable, dataset: str) -> str:
    heads = [head for head in table.protocols if head.dataset == dataset]
    done, wanted = table.progress[dataset]
    parts = list(dict.fromkeys(map(_made, heads)))
    if len(parts) > 1:
        parts = [f"{head.variant}: {_made(head)}" for head in heads]
    return "; ".join(parts) + ("" if done == wanted else f"; {done} of {plural(wanted, 'cell')}")


def _made(head: ProtocolSummary) -> str:
    folds = f"{head.repeats} x {head.folds} {head.fold_source} folds"
    return f"protocol {head.protocol}, {folds}, unit {head.unit}"


def _grid(table: ComparisonTable, part: pd.DataFrame) -> tuple[tuple[str, ...], tuple[tuple[Entry, ...], ...]]:
    """Header and one line a row; columns with the usual value in all rows are left out."""
    metrics = [name for name in table.directions if name in set(part["metric"])]
    optional = {"variant": "base", "train_pattern": FULL, "tuned": "default"}
    names = ["model", "modalities"]
    names += [name for name, usual in optional.items() if set(part[name]) != {usual}]
    names += ["protocol", "unit"] if part["protocol"].nunique() > 1 or part["unit"].nunique() > 1 else []
    names += ["policy", "n_cases"]
    names += [name for name in ("n_failed", "n_skipped") if (part[name] > 0).any()]
    lines: dict[RowKey, dict[str, Entry]] = {}
    for row, record in zip(row_keys(part), part.to_dict("records"), strict=True):
        line = lines.setdefault(row, {name: Entry(str(record[name])) for name in names})
        line[record["metric"]] = _entry(record, (row, record["pattern"], record["metric"]), table)
    columns = [*names[:2], *metrics, *names[2:]]
    return tuple(columns), tuple(tuple(line.get(c, Entry("-")) for c in columns) for line in lines.values())


def _entry(record: Mapping[Any, Any], place: MeanKey, table: ComparisonTable) -> Entry:
    """`mean ± sd [low, high]`, as far as they are defined, and of how many folds where some are lacking."""
    if math.isnan(record["mean"]):
        return Entry("undefined" if record["n_cases"] else "failed")
    text = f"{record['mean']:.3f}"
    if not math.isnan(record["sd"]):
        text += f" ± {record['sd']:.3f}"
    if not math.isnan(record["ci_low"]):
        text += f" [{record['ci_low']:.3f}, {record['ci_high']:.3f}]"
    if place in table.incomplete:
        text += f" ({table.incomplete[place]})"
    return Entry(text, place in table.best, record["tie_group"])


def _detectable(table: ComparisonTable, dataset: str, pattern: str) -> Iterator[str]:
    tests = table.tests[(table.tests["dataset"] == dataset) & (table.tests["pattern"] == pattern)]
    tests = tests[tests["p_holm"].notna()]
    found = {m: tests.loc[tests["metric"] == m, "detectable"].dropna() for m in unique(tests["metric"])}
    texts = [
        f"{metric} {sizes.median():.3f}" + (f" ({sizes.min():.3f} to {sizes.max():.3f})" if len(sizes) > 1 else "")
        for metric, sizes in found.items()
        if len(sizes)
    ]
    if texts:
        yield "smallest detectable difference from the best, median (range) over rows: " + "; ".join(texts)


def _incomplete(table: ComparisonTable, dataset: str, pattern: str) -> Iterator[str]:
    """What becomes of rows that lack folds: each beside the best row, on the folds that both have."""
    tests = table.tests[(table.tests["dataset"] == dataset) & (table.tests["pattern"] == pattern)]
    names = [f"{name}_b" for name in ROW[1:]]
    beside = {
        ((dataset, *map(str, key[:3])), pattern, str(key[3])): record
        for key, record in zip(
            tests[[*names, "metric"]].itertuples(index=False, name=None), tests.to_dict("records"), strict=True
        )
    }
    lacking: dict[RowKey, list[str]] = {}
    for place, count in table.incomplete.items():
        if place[0][0] == dataset and place[1] == pattern:
            lacking.setdefault(place[0], []).append(f"{place[2]} {_beside_best(beside.get(place), count)}")
    for row, texts in lacking.items():
        yield f"lacks folds, so not ranked: {_who(dict(zip(ROW, row, strict=True)))}: {'; '.join(texts)}"


def _beside_best(test: Mapping[Any, Any] | None, count: FoldCount) -> str:
    if test is None or math.isnan(test["difference"]):
        return f"has {count}"
    p = "" if math.isnan(test["p"]) else f" (p = {test['p']:.3f}, not adjusted)"
    part = FoldCount(test["n_folds"], count.n_wanted)
    return f"has {count}; on {part}, {test['model_a']} minus this row is {test['difference']:+.3f}{p}"


def _who(record: Mapping[Any, Any]) -> str:
    variant = "" if record["variant"] == "base" else f" ({record['variant']})"
    return f"{record['model']} on {record['modalities']}{variant}"


def _implausible(rows: pd.DataFrame) -> Iterator[str]:
    """Rows whose test c-index or AUROC is too high to be believed; the truth of a simulated cohort may be."""
    highest = rows["metric"].map(BELIEVABLE)
    high = rows[(rows["mean"] > highest + ROUNDING) & ~rows["model"].map(is_oracle)]
    for record in high.to_dict("records"):
        yield (
            f"implausible: {_who(record)}: {record['metric']} {record['mean']:.3f} under {record['pattern']} is above "
            f"{BELIEVABLE[record['metric']]}; look for an input that knows the outcome"
        )


def _imported(rows: pd.DataFrame) -> Iterator[str]:
    models = unique(rows.loc[rows["policy"].str.startswith(IMPORTED), "model"])
    if models:
        yield f"imported: the predictions of {', '.join(models)} were brought as a file and not computed here"


def _outcomes(table: ComparisonTable, dataset: str) -> Iterator[str]:
    """Failed and skipped cells with their reasons."""
    for record in table.unsuccessful[table.unsuccessful["dataset"] == dataset].to_dict("records"):
        yield f"{record['status']}: {_who(record)}, {plural(record['n_cells'], 'cell')}: {record['reason']}"


def _undefined(table: ComparisonTable, dataset: str) -> Iterator[str]:
    """Undefined values with their reasons; rows with the same reason share a line."""
    of = table.undefined[table.undefined["dataset"] == dataset]
    for key, part in of.groupby(["metric", "pattern", "reason"], sort=False):
        metric, pattern, reason = (str(part) for part in key)
        where = f"{plural(int(part['n_folds'].sum()), 'fold')} of {plural(len(part), 'row')}"
        yield f"{metric} undefined under {pattern} in {where}: {reason}"


def _partly(table: ComparisonTable, dataset: str) -> Iterator[str]:
    """Values that are means over some of their draws only; one line a metric and pattern, with all reasons."""
    of = table.partly_undefined[table.partly_undefined["dataset"] == dataset]
    for key, part in of.groupby(["metric", "pattern"], sort=False):
        metric, pattern = (str(name) for name in key)
        places, reasons = (
            f"{plural(int(part['n_folds'].sum()), 'fold')} of {plural(len(set(row_keys(part))), 'row')}",
            "; ".join(unique(part["reason"])),
        )
        yield f"{metric} under {pattern} is a mean over the defined draws in {places}: {reasons}"


def _draws(table: ComparisonTable, dataset: str) -> Iterator[str]:
    if dataset in table.no_interval:
        yield f"no intervals: {table.no_interval[dataset]}"
    elif table.redrawn[dataset]:
        yield f"{table.redrawn[dataset]} bootstrap draws without a comparable pair were redrawn"


def _population(table: ComparisonTable) -> str:
    return ", ".join(unique(pd.Series([head.variant for head in table.protocols if head.sd_ddof == 0])))


def _ranked(table: ComparisonTable) -> str:
    """Names of the metrics that have intervals."""
    return " and ".join(metric for metric in RANKINGS if metric in set(table.rows["metric"]))


def _shares(prevalence: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in prevalence.items())


def _legend(table: ComparisonTable) -> Iterator[str]:
    ddof = {head.sd_ddof: head.variant for head in table.protocols}
    spread = "ddof 1" if set(ddof) == {1} else "ddof 0" if set(ddof) == {0} else f"ddof 1 (0 of {_population(table)})"
    yield f"mean ± sd: mean over folds, then over repeats; sd with {spread} over all fold values"
    if any(head.published for head in table.protocols):
        yield "published folds: sd and tests average the repeats of a fold first, and count it once"
    if table.rows["ci_low"].notna().any():
        yield (
            f"[low, high] of {_ranked(table)}: 95 % percentile bootstrap, {table.draws:,} draws; "
            "sampling of test patients, models fixed"
        )
    if len(table.tests) and not table.tests["df"].any():
        why = "too few outcomes" if table.no_interval else "one fold"
        yield f"bold: best mean of a dataset and pattern; with {why} nothing can be tested, so no row is marked a"
    elif len(table.tests):
        yield (
            "bold: best mean of a dataset and pattern; a: the best and those not different from it by the corrected "
            f"resampled t-test (Nadeau and Bengio 2003), Holm-adjusted, at {ALPHA:.0%}"
        )
        if table.incomplete:
            yield "rows that lack folds are neither bold nor a: failing on a fold is no way to a better mean"
        yield (
            "tied rows may still differ: the design detects only differences above the smallest detectable one, 2.8 "
            "corrected standard errors"
        )
    if table.rows["tuned"].astype(str).str.contains(OWN_RECIPE).any():
        yield f"{OWN_RECIPE}: trained by the model's published recipe (recipe=own), the other rows by the suite's"
    if AUPRC in set(table.rows["metric"]):
        known = (f"{name}: {_shares(of)}" for name, of in table.prevalence.items())
        yield (
            f"{AUPRC}: a model without knowledge has the share of cases of the class, and the mean share where there "
            f"are more than two; {'; '.join(known)}"
        )
    said = "prediction" if table.prevalence else "risk"
    yield (
        "n_cases: cases scored in one repeat; prior: cases with none of the row's modalities visible; they get the "
        f"average training {said}"
    )
