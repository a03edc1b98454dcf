"""The first screen of a report: each cohort with its facts, the verdict, and its best rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Entry
from fusionbench.report.findings.summary import CohortSummary, VariantVerdict
from fusionbench.report.html.page import escaped, heading, items, paragraph, short_names, table
from fusionbench.report.model import FULL, SHORT_NAMES, unique
from fusionbench.report.order import best_first
from fusionbench.report.ranking import TIED, primary_metrics
from fusionbench.suites.lock import leaks_of

if TYPE_CHECKING:
    from fusionbench.results.audit_verdict import Audit

ROWS = 3
"""Best rows of each set of modalities; the other rows stand in the tables below."""

SHORTENED = "An ellipsis (\N{HORIZONTAL ELLIPSIS}) shortens a long name: a pointer over it in a table shows all of it."

STATUS = {
    "ok": "ran",
    "failed": "failed",
    "skipped": "do not apply (reasons below the tables)",
    "missing": "have not run yet",
}


def first_screen(
    analysis: Analysis, cohorts: Sequence[CohortSummary], lock: Mapping[str, Any], title: str, audit: Audit | str
) -> Iterator[str]:
    """HTML before the links to the sections.

    Args:
        audit: or why there is none.
    """
    yield f"<h1>{escaped(title)}</h1>"
    leaks = leaks_of(lock)
    for cohort in cohorts:
        yield from _cohort(analysis, cohort, leaks.get(cohort.dataset, ()))
    tied = (analysis.table.rows["tie_group"] == TIED).any()
    marked = "shaded, marked a: not significantly different from the best row (corrected t-test)"
    yield paragraph(
        f"Bold: best mean; {marked if tied else 'rows were not tested against each other'}. A click on a column's name "
        f"sorts its table. {SHORTENED if short_names(unique(analysis.table.rows['model'])) else ''}"
    )
    yield paragraph(f"Suite {lock['suite']['name']}: {_cells(analysis)} {_audited(audit)}")


def _cohort(analysis: Analysis, cohort: CohortSummary, leaks: Sequence[str]) -> Iterator[str]:
    yield heading(2, f"{cohort.title} ({cohort.dataset})" if cohort.title else cohort.dataset)
    yield paragraph(_facts(analysis, cohort))
    yield from map(_verdict, cohort.texts, cohort.verdicts)
    yield from map(paragraph, cohort.external)
    if leaks:
        yield paragraph("Signs of leakage, which the numbers below may come from:")
        yield items(leaks)
    metric = primary_metrics(analysis.table.rows, analysis.table.directions).get(cohort.dataset)
    lines = [] if metric is None else list(_lines(analysis, cohort.dataset, metric))
    if metric is not None and lines:
        header = ("model", "modalities", SHORT_NAMES.get(metric, metric), "95 % interval")
        yield table(f"best rows of {cohort.dataset}", header, lines)


def _verdict(text: str, verdict: VariantVerdict) -> str:
    """The answer in bold; before it the variant's name where there are several, after it what limits it."""
    before, _, after = (escaped(part) for part in text.partition(verdict.answer))
    return f'<p class="verdict">{before} <strong>{escaped(verdict.answer)}</strong> {after}</p>'


def _facts(analysis: Analysis, cohort: CohortSummary) -> str:
    """Dataset, cases, events, follow-up, and how many cases have each modality."""
    slides = (analysis.stored.cells.loc[analysis.stored.cells["dataset"] == cohort.dataset, "unit"] == "slide").any()
    follow_up = cohort.median_follow_up
    known = ", median follow-up not reached" if follow_up is None else f", median follow-up {follow_up:.0f} months"
    known = "" if cohort.classes else known
    facts = f"{cohort.cases} {'slides' if slides else 'patients'}, {cohort.outcomes}{known}."
    having = ", ".join(f"{name} {n}" for name, n in cohort.modalities.items())
    return f"{facts} With {having}." if having else facts


def _lines(analysis: Analysis, dataset: str, metric: str) -> Iterator[tuple[Entry, ...]]:
    """The best rows of each set of modalities under the first variant."""
    rows = analysis.table.rows
    chosen = rows[(rows["dataset"] == dataset) & (rows["pattern"] == FULL) & (rows["metric"] == metric)]
    chosen = chosen[chosen["mean"].notna()]
    if chosen.empty:
        return
    chosen = best_first(chosen[chosen["variant"] == unique(chosen["variant"])[0]], analysis.table.directions)
    best = {key[0] for key in analysis.table.best if key[1:] == (FULL, metric)}
    for record in _top(chosen).to_dict("records"):
        row = (dataset, str(record["model"]), str(record["modalities"]), str(record["variant"]))
        interval = "-" if math.isnan(record["ci_low"]) else f"{record['ci_low']:.3f} to {record['ci_high']:.3f}"
        mean = Entry(f"{record['mean']:.3f}", row in best, str(record["tie_group"]))
        yield Entry(row[1]), Entry(row[2]), mean, Entry(interval)


def _top(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby("modalities", sort=False).head(ROWS)


def _cells(analysis: Analysis) -> str:
    status = Counter(analysis.stored.cells["status"].astype(str))
    counts = ", ".join(f"{status[name]} {word}" for name, word in STATUS.items() if status[name])
    models = analysis.stored.cells["model"].nunique()
    return f"{models} model{'' if models == 1 else 's'}; of {len(analysis.stored.cells)} cells {counts}."


def _audited(audit: Audit | str) -> str:
    if isinstance(audit, str):
        return "Not audited here."
    counts = Counter(line.verdict for line in audit.lines)
    if set(counts) == {"pass"}:
        return f"Audit: all {len(audit.lines)} checks passed."
    return "Audit: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) + "."
