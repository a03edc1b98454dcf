"""Anytime predictions: c after each step of the models that read one modality after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fusionbench.core.cell_result import AFTER
from fusionbench.report.analysis import Analysis
from fusionbench.report.document import NONE, Entry, Grid, Section
from fusionbench.report.findings.estimates import c_estimate, fold_c
from fusionbench.report.findings.select_rows import patterns_of, scored_rows
from fusionbench.report.model import FULL, unique

_TEXT = (
    "{score} after each step of models that read one modality after the other; nothing is trained again and nothing is "
    "hidden. A patient who does not take a step is predicted as after the last step that they have taken, and gets the "
    "{prior} before the first one; how many did on average a fold stands in parentheses. `final` is the row's own "
    "prediction."
)


def anytime_predictions(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """A section on every dataset with rows that predict after each of their steps; none where no row does."""
    sections = [s for dataset in unique(analysis.stored.cells["dataset"]) for s in _of_dataset(analysis, dataset)]
    if sections:
        yield Section(2, "Anytime predictions")
        yield from sections


def _of_dataset(analysis: Analysis, dataset: str) -> Iterator[Section]:
    kind = AFTER.rstrip(":")
    # A single step is the prediction itself.
    rows = [row for row in scored_rows(analysis, dataset) if len(patterns_of(analysis, [row], kind)) > 1]
    if not rows:
        return
    patterns = patterns_of(analysis, rows, kind)
    folds = analysis.stored.folds[analysis.stored.folds["dataset"] == dataset]
    priors = folds.groupby(["model", "modalities", "variant", "pattern"], observed=True)["n_prior"].mean().to_dict()
    grid = Grid(rows, *(f"after {p.removeprefix(AFTER)}" for p in patterns), "final")
    for row in rows:
        entries = []
        for pattern in patterns:
            known = bool(fold_c(analysis, (row, pattern)))
            shown = c_estimate(analysis, (row, pattern)).entry() if known else NONE
            n = priors.get((*row[1:], pattern), 0)
            entries.append(Entry(f"{shown.text} ({n:.0f})") if n and known else shown)
        grid.add(row, [*entries, c_estimate(analysis, (row, FULL)).entry()])
    words = analysis.words(dataset)
    text = _TEXT.format(score=words.score, prior=words.prior)
    yield Section(3, f"{dataset}: after each step", text, grid.header, tuple(grid.lines))
