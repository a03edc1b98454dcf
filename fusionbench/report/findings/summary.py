"""Each cohort of a suite in a few facts, with the verdicts on it: what the first screen and the report begin with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fusionbench.data.inspection.summary import median_follow_up
from fusionbench.report.analysis import Analysis
from fusionbench.report.findings.evidence import verdicts
from fusionbench.report.findings.external_verdict import external_sentences
from fusionbench.report.model import unique
from fusionbench.report.predictions import follow_up_of
from fusionbench.results.frames import LABEL
from fusionbench.suites.lock import classes_of, leaks_of

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
        cases, events: of the cohort; cases are slides where a slide is the unit. No events where it has classes.
        median_follow_up: in months, by the reverse Kaplan-Meier estimator; None where it is not reached.
        modalities: name to how many cases have it; empty where that was not stored.
        classes: class to how many cases are of it; empty for survival.
        external: what each external cohort says of its models, in a sentence or two.
    """

    dataset: str
    title: str
    cases: int
    events: int
    median_follow_up: float | None
    modalities: Mapping[str, int]
    verdicts: tuple[VariantVerdict, ...]
    classes: Mapping[str, int] = field(default_factory=dict)
    external: tuple[str, ...] = ()

    @property
    def outcomes(self) -> str:
        """How many cases had which outcome: `51 events`, or `81 no, 66 yes`."""
        return ", ".join(f"{n} {name}" for name, n in self.classes.items()) or f"{self.events} events"

    @property
    def texts(self) -> tuple[str, ...]:
        """The verdicts in full, each with its variant's name where there are several; then the external cohorts."""
        several = len(self.verdicts) > 1
        return (*(f"{v.variant}: {v.text}" if several else v.text for v in self.verdicts), *self.external)


def summaries(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortSummary]:
    """Every dataset of a suite, in the order of the table."""
    targets = analysis.stored.targets
    for dataset in unique(analysis.stored.cells["dataset"]):
        known = lock["datasets"].get(dataset, {})
        leaks = len(leaks_of(lock).get(dataset, ()))
        of = targets[targets["dataset"] == dataset]
        cohort, names = follow_up_of(analysis.stored, dataset), classes_of(lock, dataset)
        yield CohortSummary(
            dataset=dataset,
            title=str(known.get("title", "")),
            cases=len(of),
            events=int(cohort.event.sum()),
            median_follow_up=median_follow_up(cohort.time, cohort.event) if len(of) and not names else None,
            classes={name: int((of[LABEL] == name).sum()) for name in names},
            modalities=dict(known.get("modalities", {})),
            verdicts=tuple(
                VariantVerdict(variant, str(v.outcome), v.answer, v.text)
                for variant, v in verdicts(analysis, dataset, leaks).items()
            ),
            external=tuple(external_sentences(analysis, dataset)),
        )


def summary_json(cohorts: Iterable[CohortSummary]) -> str:
    """The content of the summary file."""
    optional = ("classes", "external")
    written = ({k: v for k, v in asdict(cohort).items() if k not in optional or v} for cohort in cohorts)
    return json.dumps(list(written), indent=1, allow_nan=False) + "\n"


def stored_summary(folder: Path) -> Sequence[CohortSummary]:
    """The summary beside a suite's table, or else beside its partial table; empty where an older version wrote it."""
    paths = (folder / f"{kind}.{SUMMARY}" for kind in ("table", "table.partial"))
    path = next((path for path in paths if path.is_file()), None)
    return () if path is None else read_summary(path.read_text(encoding="utf-8"))


def read_summary(text: str) -> Sequence[CohortSummary]:
    """What `summary_json` wrote."""
    return [
        CohortSummary(
            **{
                **of,
                "verdicts": tuple(VariantVerdict(**v) for v in of["verdicts"]),
                "external": tuple(of.get("external", ())),
            }
        )
        for of in json.loads(text)
    ]
