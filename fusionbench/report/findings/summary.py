"""Each cohort of a suite in a few facts, with the verdicts on it: what the first screen and the report begin with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fusionbench.data.inspection.summary import median_follow_up
from fusionbench.report.analysis import Analysis
from fusionbench.report.findings.evidence import verdicts
from fusionbench.report.model import unique
from fusionbench.suites.lock import leaks_of

SUMMARY = "summary.json"
"""Ending of the file beside a table: `table.summary.json`."""


@dataclass(frozen=True)
class VariantVerdict:
    """A verdict under one variant.

    Attributes:
        answer: whether fusion helps, in a sentence.
        text: the answer, and what limits it.
    """

    variant: str
    outcome: str
    answer: str
    text: str


@dataclass(frozen=True)
class CohortSummary:
    """A cohort of a suite.

    Attributes:
        dataset: as the suite writes it.
        title: the dataset's own; empty where it was not stored.
        cases, events: of the cohort; cases are slides where a slide is the unit.
        median_follow_up: in months, by the reverse Kaplan-Meier estimator; None where it is not reached.
        modalities: name to how many cases have it; empty where that was not stored.
    """

    dataset: str
    title: str
    cases: int
    events: int
    median_follow_up: float | None
    modalities: Mapping[str, int]
    verdicts: tuple[VariantVerdict, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The verdicts in full, each with its variant's name where there are several."""
        several = len(self.verdicts) > 1
        return tuple(f"{v.variant}: {v.text}" if several else v.text for v in self.verdicts)


def summaries(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortSummary]:
    """Every dataset of a suite, in the order of the table."""
    targets = analysis.stored.targets
    for dataset in unique(analysis.stored.cells["dataset"]):
        known = lock["datasets"].get(dataset, {})
        leaks = len(leaks_of(lock).get(dataset, ()))
        of = targets[targets["dataset"] == dataset]
        time, event = of["time"].to_numpy(dtype=float), of["event"].to_numpy(dtype=bool)
        yield CohortSummary(
            dataset=dataset,
            title=str(known.get("title", "")),
            cases=len(of),
            events=int(event.sum()),
            median_follow_up=median_follow_up(time, event) if len(of) else None,
            modalities=dict(known.get("modalities", {})),
            verdicts=tuple(
                VariantVerdict(variant, str(v.outcome), v.answer, v.text)
                for variant, v in verdicts(analysis, dataset, leaks).items()
            ),
        )


def summary_json(cohorts: Iterable[CohortSummary]) -> str:
    """The content of the summary file."""
    return json.dumps([asdict(cohort) for cohort in cohorts], indent=1, allow_nan=False) + "\n"


def stored_summary(folder: Path) -> Sequence[CohortSummary]:
    """The summary beside a suite's table, or else beside its partial table; empty where an older version wrote it."""
    paths = (folder / f"{kind}.{SUMMARY}" for kind in ("table", "table.partial"))
    path = next((path for path in paths if path.is_file()), None)
    return () if path is None else read_summary(path.read_text(encoding="utf-8"))


def read_summary(text: str) -> Sequence[CohortSummary]:
    """What `summary_json` wrote."""
    return [
        CohortSummary(**{**of, "verdicts": tuple(VariantVerdict(**v) for v in of["verdicts"])})
        for of in json.loads(text)
    ]
